"""Charts of records as matplotlib figures, and those figures as SVG for pages."""
