"""Records as tables, charts and pages; no model is run here."""
