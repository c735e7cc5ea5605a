"""The workers of one run as each of them sees them: which rows are its own, and what they tell one another.

The whole gang does the arithmetic of one worker. A step's batch and its noise are those of one worker, cut by
rows; gradients are summed over the workers, weighted by how many rows each has. What is left between one worker and
several is the order in which floats are added. Speaks through torch.distributed's default group, whoever made it;
every worker calls the same methods in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from genplatform.errors import Unavailable


class WorkerLost(Unavailable):
    """Another worker of the gang is gone, or did not come to where all meet."""


@contextmanager
def meeting() -> Iterator[None]:
    """Wait for the others; raises WorkerLost when one does not come."""
    try:
        yield
    except RuntimeError as error:  # which is all that a backend raises, whatever happened
        raise WorkerLost(f"Another worker of the gang was lost: {str(error).splitlines()[0][:200]}") from error


Draw = Callable[[tuple[int, ...]], Tensor]


@dataclass(frozen=True)
class Rows:
    """Which of a batch's `whole` rows are this worker's: every `size`-th, from `rank` on."""

    whole: int
    rank: int = 0
    size: int = 1

    @property
    def own(self) -> int:
        """How many they are."""
        return len(range(self.rank, self.whole, self.size))

    @property
    def share(self) -> float:
        """What a mean over them weighs in the mean over all rows."""
        return self.own / self.whole

    def draw(self, shape: Sequence[int], draw: Draw) -> Tensor:
        """Return what `draw` gives these rows of the whole batch, as one worker would have drawn it.

        A shape that begins with the number of own rows, or a multiple of it (several draws a row, end to end), is
        cut by rows. Of any other shape every worker gets a draw of its own.
        """
        if self.size == 1:
            return draw(tuple(shape))
        first, rest = (shape[0], tuple(shape[1:])) if len(shape) else (0, ())
        times, left = divmod(first, self.own)
        if not times or left:
            return draw((self.size, *shape))[self.rank]
        drawn = draw((times * self.whole, *rest)).view(times, self.whole, *rest)
        return drawn[:, self.rank :: self.size].reshape(first, *rest)


@dataclass(frozen=True)
class Gang:
    """One worker's place among them. A gang of one says nothing to anybody."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the worker that reports, saves, evaluates and publishes."""
        return self.rank == 0

    def rows(self, whole: int) -> Rows:
        """Return this worker's part of so many rows."""
        return Rows(whole, self.rank, self.size)

    @torch.no_grad()
    def sums(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the sum of each tensor over all workers: one message for each sort of number."""
        if self.size == 1:
            return tensors
        sorts: dict[tuple[torch.dtype, torch.device], list[int]] = {}
        for place, tensor in enumerate(tensors):
            sorts.setdefault((tensor.dtype, tensor.device), []).append(place)
        found = list(tensors)
        for places in sorts.values():
            flat = torch.cat([tensors[place].flatten() for place in places])
            with meeting():
                distributed.all_reduce(flat)
            for place, total in zip(places, torch.split(flat, [tensors[p].numel() for p in places]), strict=True):
                found[place] = total.view(tensors[place].shape)
        return found

    def told(self, word: Any) -> Any:
        """Return the leader's `word` (JSON); that of the others is not asked for."""
        return self.all(word if self.leads else None)[0]

    def all(self, word: Any) -> list[Any]:
        """Return every worker's `word` (JSON), by rank."""
        if self.size == 1:
            return [word]
        data = torch.frombuffer(bytearray(json.dumps(word).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.long) for _ in range(self.size)]
        with meeting():
            distributed.all_gather(lengths, torch.tensor([len(data)]))
        longest = max(int(length) for length in lengths)
        words = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
        with meeting():
            distributed.all_gather(words, torch.nn.functional.pad(data, (0, longest - len(data))))
        return [json.loads(word[: int(n)].numpy().tobytes()) for word, n in zip(words, lengths, strict=True)]


ALONE = Gang()
