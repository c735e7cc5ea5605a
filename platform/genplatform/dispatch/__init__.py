"""The loops: they ask scheduling, obey, and record."""
