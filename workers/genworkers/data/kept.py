"""Pictures that were decoded once and lie on disk: how they are gathered, and the data set that they make."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genplatform.errors import BadRequest
from genworkers.data.bounds import BadItem, Skipped
from genworkers.data.dataset import BY_CONTENT, BY_ITEM, Dataset, content_of
from genworkers.data.rows import Array, Rows
from genworkers.recipes.base import ItemShape

FOLDER = "folder"
BYTE_RANGE = (0.0, 255.0)


class KeptPictures(Dataset):
    """Pictures (height, width, channels) on disk; a batch holds no more of them than it asks for."""

    def __init__(
        self,
        name: str,
        rows: Rows,
        digest: str,
        labels: Tensor | None,
        classes: Sequence[str],
        ends: tuple[float, float],
        columns: Mapping[str, Sequence[str]],
        skipped: Skipped,
    ) -> None:
        self.name, self.digest, self.labels, self.classes = name, digest, labels, tuple(classes)
        self.skipped = skipped
        self.columns = columns
        self.notes = (skipped.note(),) if skipped.count else ()
        self._rows, (self._low, self._high) = rows, ends

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> ItemShape:
        """The size of one picture."""
        return ItemShape(*self._rows.shape)

    def rows(self, indices: Tensor) -> dict[str, Tensor]:
        """Return those items as a batch."""
        taken = torch.from_numpy(self.raw(indices)).permute(0, 3, 1, 2)
        scaled = taken.to(torch.float32, memory_format=torch.contiguous_format)
        batch = {"x": scaled.sub_(self._low).mul_(2 / (self._high - self._low)).sub_(1)}
        if self.labels is not None:
            batch["label"] = self.labels[indices]
        return batch

    def raw(self, indices: Tensor) -> Array:
        """Return those items as they lie on disk."""
        return self._rows.take(indices.numpy())

    def groups(self, by: str) -> Sequence[str] | Array:
        """Return each item's folder, a digest of its content, or its value in a column."""
        if by == BY_CONTENT:
            return self.contents()
        if by in self.columns:
            return self.columns[by]
        possible = ", ".join([BY_ITEM, BY_CONTENT, *self.columns])
        raise BadRequest(f"The data of {self.name} cannot be split by {by!r}.", f"Possible for it: {possible}.")

    def contents(self, channels: slice = slice(None)) -> Array:
        """Return 64 bits of each item's digest, or of some channels': equal items have equal ones."""
        found = np.empty(len(self), dtype=np.uint64)
        at = 0
        for block in self._rows.blocks():
            for row in block:
                found[at] = content_of(row[:, :, channels])
                at += 1
        return found


class Gathering:
    """Pictures on their way to disk, all of one size, with the labels and columns that come with them."""

    def __init__(self, name: str, options: Mapping[str, Any], skipped: Skipped, what: str = "picture") -> None:
        self.name, self.skipped, self._what = name, skipped, what
        self._given = options.get("range")
        self._rows: Rows | None = None
        self._labels: list[int | str] = []
        self._columns: dict[str, list[str]] = {}

    def expect(self, shape: Sequence[int], dtype: np.dtype[Any], count: int) -> None:
        """Say what comes; raises BadRequest where that many have no room."""
        self._begun(shape, dtype).expect(count)

    def add(self, picture: Array, label: int | str | None = None, columns: Mapping[str, str] | None = None) -> None:
        """Add a picture; raises BadItem for one of another size than the first."""
        rows = self._begun(picture.shape, picture.dtype)
        if rows.shape != picture.shape:
            raise BadItem(f"is {_shown(picture.shape)}, and the first is {_shown(rows.shape)}: say data.size")
        rows.append(picture)
        self._note([label] if label is not None else None, columns, 1)

    def add_many(self, pictures: Array, labels: Sequence[int | str] | None = None) -> None:
        """Add pictures of one size at once."""
        self._begun(pictures.shape[1:], pictures.dtype).append(pictures)
        self._note(labels, None, len(pictures))

    def labels(self, labels: Sequence[int | str]) -> None:
        """Add the labels of pictures that were added without."""
        self._labels.extend(labels)

    def made(self) -> KeptPictures:
        """Return the data set; raises BadRequest when nothing is in it."""
        if self._rows is None or not len(self._rows):
            raise BadRequest(
                f"There is not one {self._what} in {self.name}.",
                "Check data.source, and data.format if it is not told by names.",
            )
        digest, count = self._rows.finish(), len(self._rows)
        if self._labels and len(self._labels) != count:
            raise BadRequest(
                f"{self.name} has {count:,} {self._what}s and {len(self._labels):,} labels.",
                f"Each {self._what} needs its label.",
            )
        labels, classes = _numbered(self._labels)
        if labels is not None:
            digest = _with_labels(digest, labels, classes)
        if self._given is not None:
            digest = hashlib.sha256(f"{digest} range {list(self._given)}\n".encode()).hexdigest()
        return KeptPictures(
            self.name, self._rows, digest, labels, classes, self._ends(self._rows.dtype), self._columns, self.skipped
        )

    def _begun(self, shape: Sequence[int], dtype: np.dtype[Any]) -> Rows:
        if self._rows is None:
            self._ends(dtype)
            self._rows = Rows(shape, dtype)
        return self._rows

    def _note(self, labels: Sequence[int | str] | None, columns: Mapping[str, str] | None, count: int) -> None:
        if labels is not None:
            self._labels.extend(labels)
        for column, value in (columns or {}).items():
            self._columns.setdefault(column, []).append(value)

    def _ends(self, dtype: np.dtype[Any]) -> tuple[float, float]:
        if self._given is not None:
            return float(self._given[0]), float(self._given[1])
        if dtype == np.uint8:
            return BYTE_RANGE
        raise BadRequest(
            f"The values of {self.name} are {dtype}, and nothing says which of them become -1 and 1.",
            "Say data.range, such as [0, 1].",
        )


def _numbered(labels: Sequence[int | str]) -> tuple[Tensor | None, tuple[str, ...]]:
    """Return labels as numbers, and the classes that they count; numbers that count from 0 are kept."""
    if not labels:
        return None, ()
    if all(isinstance(label, int) and 0 <= label < 1_000_000 for label in labels):
        numbers = torch.tensor(labels, dtype=torch.long)
        return numbers, tuple(str(number) for number in range(int(numbers.max()) + 1))
    texts = [str(label) for label in labels]
    names = tuple(sorted(set(texts)))
    number_of = {name: number for number, name in enumerate(names)}
    return torch.tensor([number_of[text] for text in texts], dtype=torch.long), names


def _with_labels(digest: str, labels: Tensor, classes: Sequence[str]) -> str:
    whole = hashlib.sha256(f"{digest} labels {len(labels)} {list(classes)}\n".encode("utf-8", "replace"))
    whole.update(labels.numpy().astype("<i8").tobytes())
    return whole.hexdigest()


def _shown(shape: Sequence[int]) -> str:
    height, width, channels = shape
    return f"{width}x{height} in {'grey' if channels == 1 else 'colour'}"
