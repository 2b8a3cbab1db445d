"""Two ways to the same numbers: every reuse method and kernel against each other."""
