"""Ray Serve deployments: a published model behind HTTP."""
