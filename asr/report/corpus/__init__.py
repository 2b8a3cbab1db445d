"""A prepared corpus as a page to look through before training on it."""
