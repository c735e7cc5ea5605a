"""How good a model is: standard metrics of what it draws, each beside anchors that give it a scale."""
