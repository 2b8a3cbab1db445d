"""Hotwords as an automaton over tokens, which a search adds to its scores."""
