"""How a generate Job's items are cut into Shards: fixed ranges, multiples of the tile."""

from __future__ import annotations

from dataclasses import dataclass

# A shard should be long enough to hide a claim's cost and short enough to lose little.
DEFAULT_SHARD_ITEMS = 128


@dataclass(frozen=True)
class ShardRange:
    """Items `start` to `start + count - 1` of a job."""

    index: int
    start: int
    count: int


def shard_size(tile: int, batch_size: int | None = None) -> int:
    """Return the items of one shard: the batch size (or the default) rounded up to whole tiles.

    Depends on the model's tile and the spec alone, never on workers, so that a plan is the
    same wherever it is made.
    """
    wanted = batch_size or DEFAULT_SHARD_ITEMS
    return max(1, -(-wanted // tile)) * tile


def plan_shards(count: int, tile: int, batch_size: int | None = None) -> list[ShardRange]:
    """Cut `count` items into ranges; only the last may be shorter than the others."""
    size = shard_size(tile, batch_size)
    return [
        ShardRange(index=i, start=start, count=min(size, count - start))
        for i, start in enumerate(range(0, count, size))
    ]
