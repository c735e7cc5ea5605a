"""A picture as a payload and as a file: its pixels, a PNG with its origin inside, and the payload's digest."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

# An item, decoded. A picture's pixels: uint8, height x width x channels.
Payload = np.ndarray[Any, np.dtype[Any]]

MIME = "image/png"
ORIGIN_CHUNK = "genctl"


def pictures(out: Tensor) -> list[Payload]:
    """Return the pixels of each of (rows, channels, height, width) in [-1, 1]."""
    levels = ((out.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return list(levels.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def encode_png(picture: Payload, origin: Mapping[str, Any]) -> bytes:
    """Return a PNG of uint8 height x width x 1 (grey), 3 (RGB) or 4 (RGBA), with `origin` in an iTXt chunk.

    Within a job the same item must give the same file, so `origin` names neither run, claim nor time.
    """
    info = PngImagePlugin.PngInfo()
    info.add_itxt(ORIGIN_CHUNK, json.dumps(dict(origin), separators=(",", ":")))
    out = io.BytesIO()
    grey = picture.shape[2] == 1
    Image.fromarray(picture[:, :, 0] if grey else picture).save(out, format="PNG", pnginfo=info)
    return out.getvalue()


def payload_sha256(payload: Payload) -> str:
    """Return the digest of the decoded pixels or samples, row by row, with no header."""
    return hashlib.sha256(payload.tobytes()).hexdigest()
