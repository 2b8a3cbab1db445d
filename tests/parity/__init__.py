"""Our modules against those of other libraries, with the same weights."""
