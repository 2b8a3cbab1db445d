"""Export of a trained model to one ONNX file, and use of such a file as a model."""
