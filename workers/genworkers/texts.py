"""A text as a payload and as a file: its UTF-8 bytes; and rows of texts of different lengths as one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from genworkers.images import Payload

MIME = "text/plain"
FILLER = -1


def utf8_rows(texts: Sequence[bytes]) -> Tensor:
    """Return (rows, longest) int16: a text's bytes a row, filled up with -1."""
    longest = max(map(len, texts), default=0)
    rows = np.full((len(texts), longest), FILLER, dtype=np.int16)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = np.frombuffer(text, np.uint8)
    return torch.from_numpy(rows)


def written(out: Tensor) -> list[Payload]:
    """Return each row's text as UTF-8, uint8; bytes that are no character become U+FFFD."""
    rows = out.cpu().numpy()
    texts = (row[row != FILLER].astype(np.uint8).tobytes().decode("utf-8", "replace") for row in rows)
    return [np.frombuffer(text.encode(), np.uint8) for text in texts]
