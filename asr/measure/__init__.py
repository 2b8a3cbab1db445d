"""Models under the instrument: what is measured becomes records."""
