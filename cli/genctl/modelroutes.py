"""The client's routes of models and recipes: what they are, and how they leave and come."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genctl.addresses import API
from genctl.jobfiles import Sent
from genctl.packing import UPLOAD_SECONDS, send
from genctl.transport import Transport, segment

Json = dict[str, Any]


class ModelRoutes:
    """A part of the client."""

    _http: Transport

    def models(self) -> list[Json]:
        """Return the published model versions."""
        return items(self._http.json("GET", f"{API}/models"), "models")

    def model(self, ref: str) -> Json:
        """Return one model version, with its card: `NAME@3`, `NAME@latest`, or `NAME` for the newest."""
        return self._http.json("GET", f"{API}/models/{segment(ref, 'model')}")

    def sheet(self, ref: str) -> bytes:
        """Return the last sheet of samples, a PNG, that a version's training drew."""
        return self._http.send("GET", f"{API}/models/{segment(ref, 'model')}/sheet").content

    def model_files(self, ref: str) -> list[str]:
        """Return the names of a model version's files."""
        found = self._http.json("GET", f"{API}/models/{segment(ref, 'model')}/files")
        return [str(file["path"]) for file in items(found, "files")]

    def download_model_file(self, ref: str, name: str, to: Path) -> str:
        """Write one of a model version's files to `to`; return its SHA-256."""
        parts = "/".join(segment(part, "file") for part in name.split("/"))
        return self._http.download(f"{API}/models/{segment(ref, 'model')}/files/{parts}", to)

    def export_model(self, ref: str, to: str | Path, *, licence: str | None = None, huggingface: bool = False) -> Json:
        """Write a model version into a folder, or a tar of one (FILE.tar), and return `{model, digest, to, files}`.

        With `huggingface` a language model is written as a directory that `transformers` loads.
        """
        from genctl.exports import export, export_huggingface

        return export_huggingface(self, ref, Path(to), licence) if huggingface else export(self, ref, Path(to), licence)

    def import_model(self, path: str | Path, *, name: str | None = None, on_progress: Sent | None = None) -> Json:
        """Publish an exported model (its folder or tar) under a name that is free, or its own; return the version."""
        from genctl.exports import archived

        with archived(Path(path)) as (own_name, digest, file):
            asked = {"name": name or own_name, "upload": digest}
            send(self._http, API, digest, file, on_progress)
            return self._http.json("POST", f"{API}/models", json=asked, answer_seconds=UPLOAD_SECONDS)

    def recipes(self) -> list[Json]:
        """Return the recipes that jobs may name."""
        return items(self._http.json("GET", f"{API}/recipes"), "recipes")

    def recipe(self, name: str) -> Json:
        """Return one recipe, with the JSON Schema of its parameters."""
        return self._http.json("GET", f"{API}/recipes/{segment(name, 'recipe')}")

    def upload_recipe(
        self, recipe: str, base: str | Path = ".", on_progress: Sent | None = None, *, dry_run: bool = False
    ) -> str:
        """Send the code of `package.module:Class` or `FILE.py:Class`, seen from the folder `base`, ahead of a job.

        Returns its name for `recipe`. With `dry_run` nothing is sent.
        """
        from genctl.recipecode import located, packed

        with packed(located(recipe, Path(base))) as (code, file):
            if not dry_run:
                send(self._http, API, code.digest, file, on_progress)
            return str(code)


def items(answer: Mapping[str, Any], key: str) -> list[Json]:
    """Return the documents of a list in an answer."""
    found = answer.get(key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
