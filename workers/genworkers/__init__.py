"""genworkers: what runs on a node (recipes, training, generating, serving)."""

__version__ = "0.1.0"
