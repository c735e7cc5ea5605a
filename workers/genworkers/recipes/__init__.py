"""Model families, one a file. They know torch, and neither Ray nor the platform."""
