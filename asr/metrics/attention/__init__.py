"""What the attention maps of one utterance say: likeness, locality, and who looks at whom."""
