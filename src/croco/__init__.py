"""CroCo: cross-lingual contrastive preference tuning of language models on their own answers."""

__version__ = "0.1.0"
