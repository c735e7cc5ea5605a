"""The one way items are drawn: batch jobs, serving and sample sheets all come through here.

Every forward pass has exactly `tile` rows, the last one filled up, because the bits of a
matrix product depend on its size. So an item is the same whatever it is drawn with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from genplatform.errors import BadRequest
from genworkers.images import Payload
from genworkers.recipes.base import Condition, Recipe
from genworkers.recipes.slots import Slots
from genworkers.references import References
from genworkers.texts import utf8_rows

# What one item is wished to be, as it was asked for; None asks for just anything.
Wish = Mapping[str, Any] | None


class Sampler:
    """Draws from one model. Not for several threads at once."""

    def __init__(
        self, recipe: Recipe[Any], modules: nn.ModuleDict, tile: int, references: References | None = None
    ) -> None:
        if tile < 1:
            raise ValueError(f"A tile has at least one row; this model says {tile}.")
        self.recipe = recipe
        self.modules = modules
        self.tile = tile
        self.references = references or References()

    @torch.inference_mode()
    def draw(self, seeds: Sequence[int], cond: Sequence[Wish] | None = None) -> list[Payload]:
        """Return each seed's payload, in order: item i is a function of (weights, seeds[i], cond[i]).

        Raises BadRequest for a condition that the model does not take.
        """
        return [payload for payload, _ in self.told(seeds, cond)]

    @torch.inference_mode()
    def told(self, seeds: Sequence[int], cond: Sequence[Wish] | None = None) -> list[tuple[Payload, dict[str, Any]]]:
        """Return what `draw` does, each with what is to be told of it: of a text, its tokens, and why it ended."""
        wishes = self._checked(seeds, cond)
        slots = self.recipe.slots(self.modules, self.tile)
        if slots is not None and wishes is not None:
            return self._grown(slots, seeds, wishes)
        payloads: list[Payload] = []
        for start in range(0, len(seeds), self.tile):
            chunk = list(seeds[start : start + self.tile])
            filler = self.tile - len(chunk)
            rows = torch.tensor(chunk + [0] * filler, dtype=torch.int64)
            conditions = None if wishes is None else wishes[start : start + self.tile]
            if conditions is not None:
                conditions += conditions[-1:] * filler
            out = self.recipe.sample(self.modules, rows, conditions)
            payloads += self.recipe.payloads(out[: len(chunk)])
        return [(payload, {}) for payload in payloads]

    def _grown(self, slots: Slots, seeds: Sequence[int], wishes: Sequence[Any]) -> list[tuple[Payload, dict[str, Any]]]:
        """Grow items in slots: as one ends, the next begins in its place, and the others go on."""
        waiting = iter(range(len(seeds)))
        index_of: dict[int, int] = {}
        texts, told = [b""] * len(seeds), [dict[str, Any]() for _ in seeds]

        def begin(slot: int) -> None:
            index = next(waiting, None)
            if index is not None:
                index_of[slot] = index
                slots.prefill(slot, self.recipe.beginning(seeds[index], wishes[index]))

        for slot in range(self.tile):
            begin(slot)
        while index_of:
            for grown in slots.decode_step():
                if grown.ended is not None:
                    index = index_of.pop(grown.slot)
                    texts[index], told[index] = slots.text(grown.slot), slots.told(grown.slot)
                    begin(grown.slot)
        return list(zip(self.recipe.payloads(utf8_rows(texts)), told, strict=True))

    def condition(self, wish: Wish) -> Condition | None:
        """Return a wish with its defaults and its pictures read; None when the model takes none. Raises BadRequest."""
        schema = self.recipe.conditions
        if schema is None:
            if wish:
                raise BadRequest(f"A model of this kind ({self.recipe.name}) takes no condition.", "Leave `cond` out.")
            return None
        try:
            return self.references.read(schema.model_validate(wish or {}))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(["cond", *map(str, first["loc"])])
            raise BadRequest(f"{where}: {first['msg']}.", "`genctl models show NAME@V` tells what it takes.") from error

    def wish_of(self, wish: Wish, index: int) -> Wish:
        """Return the wish of a job's item: where it names a folder of pictures, with the one that is this item's."""
        return self.references.of_item(self.recipe.conditions, wish, index)  # type: ignore[no-any-return]

    def _checked(self, seeds: Sequence[int], cond: Sequence[Wish] | None) -> list[Condition] | None:
        checked: list[Condition] = []
        last: tuple[Wish, Condition | None] | None = None
        for wish in cond or [None] * len(seeds):
            # Most often all rows of a job share one.
            if last is None or wish is not last[0]:
                last = wish, self.condition(wish)
            if last[1] is not None:
                checked.append(last[1])
        return checked or None
