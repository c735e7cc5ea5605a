"""Smaller versions of published models: how their weights lie, how they are made, and what they cost and gain."""
