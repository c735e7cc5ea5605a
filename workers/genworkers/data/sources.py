"""The data sources that a job may name, and how each is opened."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from genplatform.domain.paths import fixed_part, is_within
from genplatform.domain.uploads import Upload, is_upload, parse
from genplatform.errors import BadRequest
from genplatform.spec.data import SCHEMES
from genplatform.spec.hub import HubName, parse_hub
from genplatform.store import fetch_url
from genworkers.data import arrays, audio, digits, images, listing, pairs, parquet, tables, text, topics
from genworkers.data.bounds import plain
from genworkers.data.dataset import Dataset
from genworkers.data.fetching import Fetch, no_uploads
from genworkers.data.files import Files, open_files
from genworkers.data.hub import fetch_hub
from genworkers.scratch import scratch

SOURCES: dict[str, Callable[[], Dataset]] = {"digits": digits.load, "topics": topics.load}

_READERS: dict[str, Callable[[Files, Mapping[str, Any]], Dataset]] = {
    "images": images.read_images,
    "idx": arrays.read_idx,
    "npz": arrays.read_npz,
    "parquet": parquet.read_parquet,
    "pairs": pairs.read_pairs,
    "audio": audio.read_audio,
    "csv": tables.read_csv,
    "text": text.read_text,
    "jsonl": text.read_jsonl,
}
# What a file's name says: of one that is alone; and of any among several, the first of these that fits one of them.
_ALONE: dict[str, Callable[[str], bool]] = {"npz": arrays.is_npz, "csv": listing.is_table}
_AMONG: dict[str, Callable[[str], bool]] = {
    "idx": arrays.is_idx,
    "parquet": parquet.is_parquet,
    "images": lambda name: images.is_image(name) or name == listing.CAPTIONS,
    "audio": audio.is_audio,
    "jsonl": text.is_jsonl,
    "text": text.is_text,
}
# Of these a file that may not be read is an error at once, as a broken one is.
_WHOLE = {"idx": arrays.is_idx, "npz": arrays.is_npz, "parquet": parquet.is_parquet}
_DEFAULTS = {"fit": "crop", "skip": 0}


def open_source(data: Mapping[str, Any], folders: Sequence[str] = (), fetch: Fetch = no_uploads) -> Dataset:
    """Return the data that a spec's `data:` names; raises BadRequest that says what is wrong with it.

    `folders` are those whose files may be named by their paths; `fetch` brings an upload.
    """
    source = data.get("source")
    if isinstance(source, str) and is_upload(source):
        return read_upload(parse(source), data, fetch)
    if isinstance(source, str) and source.startswith("/"):
        return read_path(source, data, folders)
    if isinstance(source, str) and (name := parse_hub(source)) is not None:
        return read_hub(name, data)
    if isinstance(source, str) and "://" in source:
        return read_url(source, data)
    if not isinstance(source, str) or source not in SOURCES:
        raise BadRequest(f"There is no data source {source!r}.", f"Sources that exist: {', '.join(sorted(SOURCES))}.")
    extra = sorted(name for name in set(data) - {"source", "augment"} if data[name] not in (None, _DEFAULTS.get(name)))
    if extra:
        raise BadRequest(f"The source {source!r} takes no option {extra[0]!r}.", "Leave it out of `data:`.")
    return SOURCES[source]()


def read_path(path: str, data: Mapping[str, Any], folders: Sequence[str]) -> Dataset:
    """Read files of this machine, where its operator allows it."""
    # Links are followed before it is asked: what lies elsewhere is not let in under another name.
    real = [os.path.realpath(folder) for folder in folders if folder.startswith("/")]
    if not is_within(os.path.realpath(fixed_part(path)), real):
        raise BadRequest(
            f"The path {plain(path)} leads out of the folders whose files jobs may name.", "Name it by its real path."
        )
    return read_files(open_files(path), data)


def read_upload(upload: Upload, data: Mapping[str, Any], fetch: Fetch) -> Dataset:
    """Read what a client sent ahead; the copy of it goes when it is decoded."""
    with scratch("upload") as place:
        file = place / upload.name
        fetch(upload.digest, file)
        return read_files(open_files(str(file)), data)


def read_url(url: str, data: Mapping[str, Any]) -> Dataset:
    """Read what lies elsewhere; the copy of it goes when it is decoded."""
    if urlsplit(url).scheme not in SCHEMES or "::" in url:
        raise BadRequest(f"Data cannot come from {plain(url)}.", f"Possible: {', '.join(SCHEMES)}; or a path.")
    with scratch("fetched") as place:
        return read_files(open_files(str(fetch_url(url, place, time.sleep))), data)


def read_hub(name: HubName, data: Mapping[str, Any]) -> Dataset:
    """Read a data set of the hub; it says which of its commits this was."""
    with scratch("fetched") as place:
        found, commit = fetch_hub(name, place)
        dataset = read_files(open_files(str(found)), data)
    dataset.revision = commit
    dataset.notes = (*dataset.notes, f"Read {name} at commit {commit}.")
    return dataset


def read_files(files: Files, data: Mapping[str, Any]) -> Dataset:
    """Read files by their format, declared or told by their names."""
    kind = data.get("format") or ("pairs" if data.get("pairs") else told_format(files))
    if kind not in _READERS:
        raise BadRequest(f"There is no format {kind!r}.", f"Formats that exist: {', '.join(_READERS)}.")
    if kind in _WHOLE:
        for one in files.refused:
            if one.is_folder or _WHOLE[kind](one.name):
                raise BadRequest(f"{plain(one.name)} in {files.title} {one.why}.", "Replace it by what it leads to.")
    if kind == "npz" and len(files.names) != 1:
        raise BadRequest(f"{files.title} has {len(files.names):,} files; one npz is read.", "Name the file itself.")
    return _READERS[kind](files, data)


def told_format(files: Files) -> str:
    """Return what the files' names say that they are."""
    names = [*files.names, *(one.name for one in files.refused)]
    alone = (kind for kind, is_one in _ALONE.items() if len(names) == 1 and is_one(names[0]))
    told = next(alone, None) or next((kind for kind, is_one in _AMONG.items() if any(map(is_one, names))), None)
    if told is not None:
        return told
    if not names:
        raise BadRequest(f"{files.title} is empty: there is no file to learn from.", "Check data.source.")
    raise BadRequest(
        f"The names of the {len(names):,} files in {files.title} do not say what they are ({plain(names[0])}).",
        f"Formats that exist: {', '.join(_READERS)}. Say which with data.format.",
    )
