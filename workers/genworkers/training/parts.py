"""A step's batch read in parts, whose gradients are added up: less memory, and the rows of a step stay what they are.

Between two steps nothing is left of a part, and a checkpoint holds nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from genplatform.errors import BadRequest


class Part:
    """The rows `start` to `end` of a batch of `of`; without numbers, the whole batch."""

    def __init__(self, number: int = 0, count: int = 1, start: int = 0, end: int = 0, of: int = 0) -> None:
        self.start, self.end, self.of = start, end, of
        self.is_last = number == count - 1
        self.stream = f"/part {number}" if number else ""

    def __len__(self) -> int:
        return self.end - self.start

    @property
    def share(self) -> float:
        """Of the batch."""
        return len(self) / self.of if self.of else 1.0


def parts_of(rows: int, count: int) -> Iterator[Part]:
    """Yield `count` parts of a batch, as equal as they can be; raises BadRequest where there are fewer rows."""
    if count > rows:
        raise BadRequest(
            f"A step reads {rows} items, which cannot be read in {count} parts.",
            "Lower optimization.accumulation_steps, or raise params.batch_size.",
        )
    for number, chosen in enumerate(torch.tensor_split(torch.arange(rows), count)):
        yield Part(number, count, int(chosen[0]), int(chosen[-1]) + 1, rows)
