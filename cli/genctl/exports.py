"""Models that leave the platform as a folder or a tar of one, and come back; whole, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from genctl.packing import packed_files
from genplatform.domain import exported, layout
from genplatform.domain.recipe_code import is_plain
from genplatform.errors import BadRequest, Conflict, NotFound

if TYPE_CHECKING:
    from genctl.modelroutes import ModelRoutes

TAR = ".tar"


def export(client: ModelRoutes, ref: str, to: Path, licence: str | None) -> dict[str, Any]:
    """Write a version into the folder `to`, or into a tar where it ends in .tar; return what was written.

    `licence` is a text, or the path of a file with one; left out, that of the card. Raises Conflict for what is there
    already, and BadRequest when what was read is not the version of that digest.
    """
    version = client.model(ref)
    pinned = f"{version['name']}@{version['version']}"
    if version.get("uri") is None:
        raise BadRequest(f"{pinned} is built in: every platform has it.", "Export a model that was trained.")
    with _appearing(to) as folder:
        _download(client, version, folder)
        _write_licence(version, folder, licence)
        digests = {name: _sha256(folder / name) for name in _names(folder)}
        _write_json(folder / exported.LINEAGE, exported.lineage(version, digests))
        whole = exported.read(folder)
    return {"model": pinned, "digest": whole.model["digest"], "to": str(to), "files": digests}


def export_huggingface(client: ModelRoutes, ref: str, to: Path, licence: str | None = None) -> dict[str, Any]:
    """Write a language model as a directory that `transformers` loads; adapters are merged into their base.

    It is done by the workers' package, in a process of its own. Returns what was written. `licence` and what
    is raised are as of `export`; BadRequest for a model that is of another kind besides.
    """
    version = client.model(ref)
    pinned = f"{version['name']}@{version['version']}"
    with tempfile.TemporaryDirectory(prefix="genctl-export-") as scratch, _appearing(to) as folder:
        # As in the store: what adapters are on lies beside them, under its digest.
        own = Path(scratch, "models", version["digest"])
        part = version
        while True:
            place = own.with_name(part["digest"])
            place.mkdir(parents=True)
            _download(client, part, place)
            if not part["card"].get("adapter"):
                break
            part = client.model(part["parent"])
        # -P: a file of the folder that one stands in must not be taken for a module of the same name.
        command = [sys.executable, "-P", "-m", "genworkers.huggingface", str(own), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise _not_written(pinned, done.stderr)
        _write_licence(version, folder, licence)
        digests = {name: _sha256(folder / name) for name in _names(folder)}
    return {"model": pinned, "digest": version["digest"], "to": str(to), "files": digests}


def _download(client: ModelRoutes, version: dict[str, Any], folder: Path) -> None:
    pinned = f"{version['name']}@{version['version']}"
    for name in client.model_files(pinned):
        if not is_plain(name):
            raise BadRequest(f"The platform names a file {name!r}, which leads out of the folder.", "")
        if name not in (layout.CARD, layout.CONFIG):  # the record's own are written
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            client.download_model_file(pinned, name, folder / name)
    _write_json(folder / layout.CARD, version["card"])
    _write_json(folder / layout.CONFIG, version["config"])


def _not_written(pinned: str, said: str) -> BadRequest:
    last = said.strip().rpartition("\n")[2]
    try:
        told = json.loads(last)
        return BadRequest(f"{pinned} was not written. {told['message']}", str(told["hint"]))
    except (ValueError, KeyError, TypeError):
        return BadRequest(f"{pinned} was not written: {last:.500}", "Look at what was said before it, with --debug.")


@contextmanager
def archived(path: Path) -> Iterator[tuple[str, str, IO[bytes]]]:
    """Yield an exported model as what is sent: the name it has, the SHA-256 of the tar, and it open for reading.

    Raises BadRequest for what is no exported model; of a tar the platform looks at the rest.
    """
    if path.is_dir():
        name = str(exported.read(path).model["name"])
        with packed_files(path, [str(path / one) for one in _names(path)]) as (digest, file):
            yield name, digest, file
        return
    try:
        with path.open("rb") as file:
            name = _name_in(path, file)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            yield name, digest, file
    except FileNotFoundError:
        raise NotFound(
            f"There is neither a folder nor a file {path}.", "Give what `genctl models export` wrote."
        ) from None
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror}.", "Give a file that you may read.") from None


def _name_in(path: Path, file: IO[bytes]) -> str:
    try:
        with tarfile.open(fileobj=file, mode="r:") as members:
            found = members.extractfile(exported.LINEAGE)
            told = json.loads(found.read(exported.LARGEST_JSON)) if found else {}
            return str(told["model"]["name"])
    except (tarfile.TarError, ValueError, KeyError, TypeError, EOFError) as error:
        raise BadRequest(
            f"{path} is no exported model: it has no {exported.LINEAGE} that can be read ({type(error).__name__}).",
            "Give what `genctl models export` wrote.",
        ) from None


@contextmanager
def _appearing(to: Path) -> Iterator[Path]:
    """Yield a folder to write into, which becomes `to` when all went well, as a folder or as a tar."""
    is_tar = to.suffix == TAR
    if to.exists() and (is_tar or not to.is_dir() or any(to.iterdir())):
        raise Conflict(f"{to} is there already.", "Give a folder that is empty or not there, or another file.tar.")
    try:
        to.absolute().parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".genctl-export-", dir=to.absolute().parent))
    except OSError as error:
        raise BadRequest(f"{to} cannot be written: {error.strerror}.", "Give a place that you may write.") from None
    try:
        folder = scratch / "model"
        folder.mkdir()
        yield folder
        if is_tar:
            with packed_files(folder, [str(folder / one) for one in _names(folder)]) as (_, file):
                with (scratch / "model.tar").open("wb") as out:
                    shutil.copyfileobj(file, out)
                (scratch / "model.tar").replace(to)
        else:
            os.replace(folder, to)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _write_licence(version: dict[str, Any], folder: Path, licence: str | None) -> None:
    terms = _terms(licence) if licence is not None else version["card"].get("licence")
    if isinstance(terms, str):
        (folder / exported.LICENCE).write_text(terms, encoding="utf-8")


def _terms(licence: str) -> str:
    path = Path(licence)
    if not path.is_file():
        return f"{licence.strip()}\n"
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise BadRequest(f"{path} cannot be read as text.", "Give a text, or the file of one.") from None


def _write_json(path: Path, told: Any) -> None:
    path.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
