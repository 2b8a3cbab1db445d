"""Language models and hotwords, whose scores a search adds to the model's."""
