"""Workers that load a model once and make shards of a generate job's items."""
