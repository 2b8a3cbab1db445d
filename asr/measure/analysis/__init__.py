"""What the attention of a trained model does, and which layers might share it."""
