"""Analysis of a trained model's attention, and proposals which layers could share it."""
