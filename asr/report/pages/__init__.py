"""Pages of a comparison, an analysis and a corpus: one HTML file each, which loads nothing."""
