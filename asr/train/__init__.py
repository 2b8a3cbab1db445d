"""Training: one call, :func:`asr.train.fit.fit`, from a model and two loaders to trained weights.

The only package that imports Lightning.
"""
