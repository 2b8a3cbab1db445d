"""What the attention of a trained model does: measured, printed, and drawn on one page."""
