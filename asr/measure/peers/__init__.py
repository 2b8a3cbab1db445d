"""Encoders of other libraries, with the dimensions of a recipe, timed beside ours."""
