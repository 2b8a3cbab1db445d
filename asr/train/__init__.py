"""Training: :func:`asr.train.fit.fit` trains a model on two loaders; the only user of Lightning."""
