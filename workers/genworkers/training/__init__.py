"""One training loop around a recipe, and the actor that runs it."""
