"""The `asr` command: one module per verb, behind a frame that loads only the one asked for."""
