"""Charts of records as matplotlib figures, and their conversion to SVG for pages."""
