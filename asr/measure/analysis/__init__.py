"""Analyses the attention of a trained model and proposes which layers could share it."""
