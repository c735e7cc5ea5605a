"""One claimed shard: its items drawn, written as files, and listed in a manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genplatform.domain import layout
from genplatform.domain.keys import ClaimKey
from genplatform.domain.seeds import item_seed
from genplatform.errors import BadRequest
from genworkers.images import Payload, payload_sha256
from genworkers.sampler import Sampler, Wish


def claim_key(order: Mapping[str, Any]) -> ClaimKey:
    """Return the claim that a shard's order gives."""
    return ClaimKey(order["tenant"], order["job_id"], int(order["run"]), int(order["shard"]), int(order["claim"]))


def drawn_together(orders: Sequence[Mapping[str, Any]], sampler: Sampler) -> dict[ClaimKey, list[Payload]]:
    """Draw the items of shards that are smaller than a tile, in tiles that they share; returns them by claim.

    An item is the same whatever it is drawn with: a forward pass for each of them would mostly make rows for nobody.
    """
    small = [order for order in orders if int(order["count"]) < sampler.tile]
    if len(small) < 2:
        return {}
    seeds = [seed for order in small for seed in _seeds(order, _indices(order))]
    conditions = [sampler.wish_of(order["cond"], index) for order in small for index in _indices(order)]
    drawn = iter(sampler.draw(seeds, conditions))
    return {claim_key(order): [next(drawn) for _ in _indices(order)] for order in small}


def _indices(order: Mapping[str, Any]) -> range:
    return range(int(order["start"]), int(order["start"]) + int(order["count"]))


def _seeds(order: Mapping[str, Any], indices: range) -> list[int]:
    return [item_seed(int(order["seed"]), index) for index in indices]


def write_shard(
    order: Mapping[str, Any],
    sampler: Sampler,
    folder: Path,
    should_stop: Callable[[], bool],
    drawn: Sequence[Payload] | None = None,
) -> int | None:
    """Write a shard's items and its manifest into the empty `folder`; return the bytes, manifest and all.

    Items are drawn a tile at a time, so a wish to stop is heard within one; then None is
    returned and the folder is to be thrown away. Those of a shard smaller than a tile may be
    `drawn` already. Bytes depend on the order's seed, indices and lineage alone.
    """
    form = order["format"] or sampler.recipe.formats[0]
    if form not in sampler.recipe.formats:
        raise BadRequest(
            f"The recipe {sampler.recipe.name!r} cannot write {form!r}.",
            f"Formats it writes: {', '.join(sampler.recipe.formats)}.",
        )
    name, start, count = layout.shard_name(claim_key(order)), int(order["start"]), int(order["count"])
    lines, size = [], 0
    for first in range(start, start + count, sampler.tile):
        if should_stop():
            return None
        indices = range(first, min(first + sampler.tile, start + count))
        seeds = _seeds(order, indices)
        wishes = [sampler.wish_of(order["cond"], index) for index in indices]
        payloads = drawn or sampler.draw(seeds, wishes)
        for index, seed, cond, payload in zip(indices, seeds, _told(sampler, wishes), payloads, strict=True):
            file = sampler.recipe.encode(payload, form, _origin(order["lineage"], index, seed, cond))
            named = f"{index:06d}.{file.extension}"
            (folder / named).write_bytes(file.data)
            digests = {"sha256": hashlib.sha256(file.data).hexdigest(), "payload_sha256": payload_sha256(payload)}
            lines.append(_line(index, seed, cond, {"path": f"{name}/{named}", **digests, "mime": file.mime}))
            size += len(file.data)
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode()
    (folder / layout.MANIFEST).write_bytes(text)
    return size + len(text)


def _told(sampler: Sampler, wishes: Sequence[Wish]) -> Iterator[dict[str, Any] | None]:
    """Return what the files say of their conditions; of one that all share, it is found out once."""
    last: tuple[Wish, dict[str, Any] | None] | None = None
    for wish in wishes:
        if last is None or wish is not last[0]:
            condition = sampler.condition(wish)
            last = wish, None if condition is None else condition.model_dump(mode="json", by_alias=True)
        yield last[1]


def _origin(lineage: Mapping[str, Any], index: int, seed: int, cond: Mapping[str, Any] | None) -> dict[str, Any]:
    wished = {} if cond is None else {"cond": dict(cond)}
    code = {"code": lineage["code"]} if lineage.get("code") else {}
    return {
        "job": lineage["job"],
        "item": index,
        "seed": seed,
        **wished,
        "model": lineage["model"],
        "model_digest": lineage["model_digest"],
        "data_digest": lineage["data_digest"],
        "recipe": lineage["recipe"],
        **code,
        "code_version": lineage["code_version"],
    }


def _line(index: int, seed: int, cond: Mapping[str, Any] | None, file: Mapping[str, str]) -> dict[str, Any]:
    return {
        "index": index,
        "custom_id": None,
        "seed": seed,
        "cond": cond,
        "status": "ok",
        "files": [dict(file)],
        "path": file["path"],
        "sha256": file["sha256"],
        "error": None,
    }
