"""Features to encoder frames: a stack of layers with a reuse schedule."""
