"""Encoders of other libraries, built at a recipe's dimensions to be timed beside ours."""
