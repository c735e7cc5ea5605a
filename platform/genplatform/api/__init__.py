"""HTTP: /api/v1 for people and programs, /internal/v1 for nodes, /v1 as OpenAI has it. The only home of FastAPI."""
