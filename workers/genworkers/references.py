"""Pictures that conditions refer to: fetched once, decoded to the size that a model takes, and given to its recipe.

A recipe sees pixels and never where they came from. Only uploads, which are named by their
digest, and pictures that stand in the condition itself are read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import shutil
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genplatform.domain.uploads import Upload, is_upload, parse
from genplatform.errors import BadRequest
from genworkers.data.bounds import BadItem, plain
from genworkers.data.fetching import Fetch, no_uploads
from genworkers.data.files import Files, open_files
from genworkers.data.images import Decoder, is_image
from genworkers.recipes.base import Condition
from genworkers.recipes.given import INLINE, Picture, PictureOf, pictures_in

# The whole of an upload and one picture of it: upload:SHA256/NAME#PICTURE.
MEMBER = "#"
MOST_KEPT = 64  # decoded pictures: most often a job has one, or each item its own
MOST_UPLOADS = 8  # that lie on the node at once, of a worker that serves many jobs


class References:
    """Reads the pictures of conditions; what it fetches lies below `folder`. Not for several threads at once."""

    def __init__(self, fetch: Fetch = no_uploads, folder: Path | None = None) -> None:
        self._fetch, self._folder = fetch, folder
        self._uploads: OrderedDict[str, Files] = OrderedDict()
        self._decoded: OrderedDict[tuple[str, PictureOf], Tensor] = OrderedDict()

    def of_item(self, schema: type[Condition] | None, wish: Mapping[str, Any] | None, index: int) -> Any:
        """Return the wish of the item of that index: of an upload of many pictures, which of them it is made of."""
        if not wish or schema is None:
            return wish
        chosen = {}
        for field, _ in pictures_in(schema):
            reference = wish.get(field)
            if isinstance(reference, str) and is_upload(reference):
                names = self._pictures(reference)
                if len(names) > 1:
                    chosen[field] = f"{reference}{MEMBER}{names[index % len(names)]}"
        return {**wish, **chosen} if chosen else wish

    def read(self, condition: Condition) -> Condition:
        """Return a condition with the pixels of its pictures; raises BadRequest for what is no picture."""
        read = {}
        for field, size in pictures_in(type(condition)):
            picture = getattr(condition, field)
            if picture is not None and picture.pixels is None:
                read[field] = Picture(picture.reference, self._pixels(field, picture.reference, size))
        return condition.model_copy(update=read) if read else condition

    def _pixels(self, field: str, reference: str, size: PictureOf) -> Tensor:
        kept = self._decoded.get((reference, size))
        if kept is None:
            decoder = Decoder({"size": [size.height, size.width], "channels": size.channels})
            try:
                decoded = decoder.decode(self._bytes(reference))
            except BadItem as error:
                raise BadRequest(
                    f"cond.{field}: {plain(_title(reference))} {error}.", "Give a PNG, JPEG or the like."
                ) from None
            kept = torch.from_numpy(decoded.copy()).permute(2, 0, 1).contiguous().float() / 127.5 - 1
            self._decoded[reference, size] = kept
            while len(self._decoded) > MOST_KEPT:
                self._decoded.popitem(last=False)
        return kept

    def _bytes(self, reference: str) -> bytes:
        if reference.startswith(INLINE):
            head, _, body = reference.partition(",")
            if not head.endswith(";base64"):
                raise BadItem("is not written in base64")
            try:
                return base64.b64decode(body, validate=True)
            except binascii.Error:
                raise BadItem("is not written in base64") from None
        upload, _, member = reference.partition(MEMBER)
        names = self._pictures(upload)
        if not names:
            raise BadItem("holds no picture")
        if member and member not in names:
            raise BadItem("is not there")
        return self._files(upload).read(member or names[0])

    def _pictures(self, upload: str) -> list[str]:
        files = self._files(upload)
        # Of one file alone its bytes tell what it is, whatever its name.
        return [name for name in files.names if is_image(name)] or (files.names if len(files.names) == 1 else [])

    def _files(self, upload: str) -> Files:
        if upload not in self._uploads:
            if not is_upload(upload):
                raise BadRequest(f"{plain(upload)} names no upload of a picture.", "Name a file as ./PATH.")
            self._uploads[upload] = self._fetched(parse(upload))
            if len(self._uploads) > MOST_UPLOADS:
                oldest, _ = self._uploads.popitem(last=False)
                shutil.rmtree(self._place(parse(oldest)), ignore_errors=True)
        self._uploads.move_to_end(upload)
        return self._uploads[upload]

    def _fetched(self, upload: Upload) -> Files:
        path = self._place(upload) / upload.name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fetch(upload.digest, path)
        return open_files(str(path))

    def _place(self, upload: Upload) -> Path:
        if self._folder is None:
            raise BadRequest(
                f"The upload {upload.digest} cannot be read here.", "Give the picture itself: data:image/."
            )
        return self._folder / "given" / f"{upload.digest}-{hashlib.sha256(upload.name.encode()).hexdigest()[:8]}"


def _title(reference: str) -> str:
    return "the picture" if reference.startswith(INLINE) else reference.partition("/")[2]
