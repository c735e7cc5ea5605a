"""genplatform: the platform behind genctl (catalog, queues, scheduling, dispatch, API)."""

__version__ = "0.1.0"
