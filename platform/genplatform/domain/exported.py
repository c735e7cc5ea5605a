"""A model version as a folder that leaves the platform, and what makes it whole when it comes back.

    lineage.json        what it is, where it comes from, and the SHA-256 of every other file
    card.json           what a person or a program should know of it
    config.json         the recipe's parameters
    model.safetensors   the weights; code.tar beside them is the code of a recipe of one's own, and other files
                        are what the recipe was prepared with, such as a tokenizer
    LICENSE             on what terms it may be used, where somebody said so

Its digest is computed again from config, weights and code: what it covers cannot have changed on the way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genplatform.domain import layout, recipe_code
from genplatform.domain.names import RESERVED_MODELS, is_name
from genplatform.domain.recipe_code import RecipeCode, is_plain
from genplatform.errors import BadRequest

FORMAT = 1
LINEAGE = "lineage.json"
LICENCE = "LICENSE"
LARGEST_JSON = 8 << 20
LARGEST_LICENCE = 256 << 10
MOST_FILES = 1000
# What lineage.json says of the version itself.
OF_MODEL = (
    *("name", "version", "digest", "recipe", "modality", "tile", "job_id", "parent", "data_digest", "metrics"),
    *("code_version", "created_at"),
)


@dataclass(frozen=True)
class Exported:
    """A version that is whole, as its folder tells it."""

    model: Mapping[str, Any]
    card: Mapping[str, Any]
    config: Mapping[str, Any]
    files: Mapping[str, str]  # of the model itself, with their digests
    licence: str | None

    @property
    def ref(self) -> str:
        """What it was called where it comes from."""
        return f"{self.model['name']}@{self.model['version']}"


def model_digest(
    recipe: str,
    config: Mapping[str, Any],
    weights: str | None,
    assets: Mapping[str, str] | None = None,
    code: RecipeCode | None = None,
    adapter: Mapping[str, Any] | None = None,
) -> str:
    """Return the digest of a model version.

    `weights` is the SHA-256 of its safetensors file, if it has one, and `assets` are those of the files that it was
    prepared with; `code` is its recipe's, where that is not ours; `adapter` says on which model its weights are
    adapters, by that one's digest, and how.
    """
    told: dict[str, Any] = {"config": dict(config), "recipe": recipe, "weights": weights}
    told |= ({"assets": dict(assets)} if assets else {}) | ({"code": list(code)} if code else {})
    told |= {"adapter": dict(adapter)} if adapter else {}
    return hashlib.sha256(canonical(told)).hexdigest()


def canonical(value: Any) -> bytes:
    """Return the one JSON text of a value, as bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def lineage(model: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """Return what lineage.json says of a version and of its files' digests."""
    return {"format": FORMAT, "model": {key: model.get(key) for key in OF_MODEL}, "files": dict(files)}


def read(folder: Path) -> Exported:
    """Return the version that lies in a folder; raises BadRequest for one that is not whole."""
    told = _json(folder, LINEAGE)
    model, listed = told.get("model"), told.get("files")
    if told.get("format") != FORMAT or not isinstance(model, dict) or not isinstance(listed, dict):
        raise _bad(f"{LINEAGE} is not of format {FORMAT}, which is known here")
    _check_files(folder, listed)
    card, config = _json(folder, layout.CARD), _json(folder, layout.CONFIG)
    _check_model(model)
    _check_digest(model, card, config, listed)
    licence = folder / LICENCE
    own = {name: digest for name, digest in listed.items() if name != LICENCE}
    return Exported(model, card, config, own, _text(licence) if LICENCE in listed else None)


def _check_files(folder: Path, listed: Mapping[str, Any]) -> None:
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    more = sorted(there.keys() - listed.keys() - {LINEAGE})
    if more or len(listed) > MOST_FILES:
        raise _bad(f"{more[0]!r} is no file that {LINEAGE} lists" if more else f"it has {len(listed):,} files")
    for name, digest in listed.items():
        path = there.get(name)
        if path is None or path.is_symlink() or not path.is_file() or not is_plain(name):
            raise _bad(f"it lacks the file {name!r:.200}")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != digest:
            raise _bad(f"{name} has the SHA-256 {found}, and not {digest!s:.100}")


def _check_model(model: Mapping[str, Any]) -> None:
    name, version = model.get("name"), model.get("version")
    if not (isinstance(name, str) and is_name(name) and name.casefold() not in RESERVED_MODELS):
        raise _bad(f"{name!r:.100} cannot name a model")
    if not isinstance(version, int) or version < 1:
        raise _bad(f"{version!r:.100} is no version")


def _check_digest(
    model: Mapping[str, Any], card: Mapping[str, Any], config: Mapping[str, Any], listed: Mapping[str, Any]
) -> None:
    try:
        code = recipe_code.of_card(card.get("code"))
    except ValueError as error:
        raise _bad(str(error)) from None
    if (code.digest if code else None) != listed.get(layout.CODE):
        raise _bad(f"{layout.CODE} is not the code that its card names")
    known = {layout.WEIGHTS, layout.CONFIG, layout.CARD, layout.CODE, LICENCE}
    assets = {name: sha256 for name, sha256 in listed.items() if name not in known}
    adapter = card.get("adapter")
    if adapter is not None and not isinstance(adapter, dict):
        raise _bad(f"the `adapter` of its card says nothing: {adapter!r:.100}")
    digest = model_digest(str(model.get("recipe")), config, listed.get(layout.WEIGHTS), assets, code, adapter)
    if digest != model.get("digest"):
        raise _bad(f"its config, weights and code have the digest {digest}, and not {model.get('digest')!s:.100}")
    told = {key: (card.get(key), model.get(key)) for key in ("recipe", "tile", "modality")}
    different = next((key for key, (ours, its) in told.items() if ours != its), None)
    if different is not None:
        raise _bad(f"{layout.CARD} and {LINEAGE} do not say the same {different}")


def _json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise _bad(f"{name} has more than {LARGEST_JSON:,} bytes")
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _bad(f"it lacks {name}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise _bad(f"{name} cannot be read ({type(error).__name__})") from error
    if not isinstance(told, dict):
        raise _bad(f"{name} is no JSON object")
    return told


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(LARGEST_LICENCE + 1)
    if len(data) > LARGEST_LICENCE:
        raise _bad(f"{path.name} has more than {LARGEST_LICENCE:,} bytes")
    return data.decode("utf-8", "replace")


def _bad(why: str) -> BadRequest:
    return BadRequest(f"This is no whole model: {why}.", "Export it again with `genctl models export`.")
