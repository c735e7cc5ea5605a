"""The gateway: the OpenAI surface under /v1."""
