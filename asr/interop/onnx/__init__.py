"""A trained model as one ONNX file, and such a file as a model."""
