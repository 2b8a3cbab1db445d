"""Public corpora: downloading, verifying, unpacking and preparing them.

``parts`` lists archives, ``download`` fetches them, ``archives`` verifies and unpacks them;
``librispeech``, ``an4`` and ``sounds`` write manifests. ``recipes`` wraps lhotse's recipes.
"""
