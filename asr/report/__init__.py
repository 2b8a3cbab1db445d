"""What a run was, and how runs compare: records, rows, hypotheses and tables."""
