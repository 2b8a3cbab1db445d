"""Audio to text: chunks, search, times, and the forms a transcript is written in."""
