"""Attention reuse: which layers compute attention, and what the others take over from them."""
