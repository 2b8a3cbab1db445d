"""Runs whose numbers are kept in files."""
