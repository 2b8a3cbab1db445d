"""Encoders of other libraries, built at the dimensions of a recipe and timed beside ours."""
