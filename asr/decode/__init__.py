"""Token probabilities to text."""
