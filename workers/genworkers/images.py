"""A payload as a file: PNG with its origin inside, and the two digests of it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

# A picture's pixels: uint8, height x width x channels.
Payload = np.ndarray[Any, np.dtype[np.uint8]]

MIME = "image/png"
ORIGIN_CHUNK = "genctl"


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


def payload_sha256(picture: Payload) -> str:
    """Return the digest of the decoded pixels, row by row, with no header."""
    return hashlib.sha256(picture.tobytes()).hexdigest()
