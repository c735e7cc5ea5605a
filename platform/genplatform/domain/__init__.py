"""The nouns: job, run, shard, model, endpoint, lease, retry, event. Standard library only."""
