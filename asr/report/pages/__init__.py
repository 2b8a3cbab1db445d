"""Pages of a comparison, an analysis and a corpus: one self-contained HTML file each."""
