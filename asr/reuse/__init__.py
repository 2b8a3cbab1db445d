"""Attention reuse: which layers compute attention, and what the other layers reuse of it."""
