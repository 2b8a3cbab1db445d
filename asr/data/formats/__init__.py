"""Manifests of other toolkits: NeMo's JSON lines and Kaldi's data folders, read and written."""
