"""Files of other programs: ONNX."""
