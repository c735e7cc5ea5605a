"""Where training data comes from, how it is split, and in which order it is read."""
