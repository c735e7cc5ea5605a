"""A model that leaves one platform and comes to another is the same model: its digest, and every byte that it draws."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from genctl.exports import _not_written, archived, export, export_huggingface
from genctl.recipecode import located, packed
from genplatform.catalog import Catalog, ModelRow, migrate
from genplatform.domain import exported, layout
from genplatform.errors import BadRequest, Conflict, NotFound
from genplatform.queues.memory import MemoryQueues
from genplatform.services import imports
from genplatform.services import models as registry
from genplatform.services.context import Wiring
from genplatform.services.runs import model_order
from genplatform.spec import RecipeBook
from genplatform.store import Store
from genworkers import huggingface, models
from genworkers.images import payload_sha256
from genworkers.training.actor import RunActor

Order = Callable[..., dict[str, Any]]
EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_recipe"
TENANT = "default"


def wired(folder: Path) -> Wiring:
    folder.mkdir()
    database = f"sqlite:///{folder / 'catalog.db'}"
    migrate.upgrade(database)
    catalog = Catalog(database)
    store = Store((folder / "store").as_uri())
    book = RecipeBook.builtin()
    return Wiring(catalog, MemoryQueues(lambda: 9.0), store, book, "secret", lambda: 9.0, lambda below: 0)


class Here:
    """What export asks of a client, answered by the services of a platform in this process."""

    def __init__(self, w: Wiring) -> None:
        self.w = w

    def model(self, ref: str) -> dict[str, Any]:
        return json.loads(json.dumps(registry.show(self.w, TENANT, ref)))

    def model_files(self, ref: str) -> list[str]:
        return [file["path"] for file in registry.files(self.w, TENANT, ref)["files"]]

    def download_model_file(self, ref: str, name: str, to: Path) -> None:
        source, _ = registry.content(self.w, TENANT, ref, name)
        with source, to.open("wb") as file:
            shutil.copyfileobj(source, file)


@pytest.fixture
def here(tmp_path: Path) -> Wiring:
    return wired(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Wiring:
    return wired(tmp_path / "there")


@pytest.fixture(params=["gan", "gaussian:Gaussian"])
def trained(request: pytest.FixtureRequest, here: Wiring, platform: Any, run_order: Order) -> str:
    """A model of a built-in recipe, and one of a recipe of one's own, that `here` has published."""
    return publish(here, platform, run_order, request.param)


def publish(
    w: Wiring,
    platform: Any,
    run_order: Order,
    recipe: str,
    name: str = "mine",
    base: ModelRow | None = None,
    **more: Any,
) -> str:
    changes: dict[str, Any] = {"store_url": w.store.url, "budget": {"steps": 4}, "recipe": recipe} | more
    changes |= {"base": model_order(base)} if base is not None else {}
    if ":" in recipe:
        with packed(located(recipe, EXAMPLE)) as (code, file):
            w.store.put_bytes(layout.upload(TENANT, code.digest), file.read())
        changes |= {"recipe": str(code), "params": {}}
    actor = RunActor(run_order(platform.url, **changes))
    actor.start()
    assert actor.join() == "published"
    made = platform.bodies("/publish")[-1]["model"]
    values = {key: value for key, value in made.items() if key != "evaluation"} | {
        "job_id": "j_abc",
        "code_version": "0.1.0",
        "created_at": 1.0,
        "parent_pk": base.id if base is not None else None,
    }
    with w.catalog.write() as tx:
        tx.models.publish(TENANT, name, values)
    return f"{name}@1"


def row_of(w: Wiring, ref: str) -> ModelRow:
    with w.catalog.read() as tx:
        (row,) = [one for one in tx.models.all(TENANT) if one.ref == ref]
    return row


def drawn(w: Wiring, ref: str, scratch: Path) -> list[str]:
    scratch.mkdir()
    model = models.load(w.store, model_order(row_of(w, ref)), scratch)
    return [payload_sha256(one) for one in model.sampler.draw([1, 2, 3])]


def brought(w: Wiring, path: Path, name: str | None = None) -> dict[str, Any]:
    with archived(path) as (own, digest, file):
        w.store.put_bytes(layout.upload(TENANT, digest), file.read())
        return imports.import_model(w, TENANT, name=name or own, upload=digest)


@pytest.mark.parametrize("to", ["out", "out.tar"])
def test_a_model_that_was_brought_draws_the_same_bytes(
    here: Wiring, there: Wiring, trained: str, tmp_path: Path, to: str
) -> None:
    made = export(Here(here), "mine", tmp_path / to, "CC-BY-4.0")  # type: ignore[arg-type]

    came = brought(there, tmp_path / to)

    before, after = (Here(w).model("mine@1") for w in (here, there))
    assert made["digest"] == came["digest"] == before["digest"]
    assert drawn(there, "mine@1", tmp_path / "b") == drawn(here, "mine@1", tmp_path / "a")
    same = ("recipe", "modality", "tile", "config", "metrics", "data_digest")
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    origin = after["card"]["origin"]
    assert (origin["name"], origin["version"], origin["job_id"]) == ("mine", 1, "j_abc")
    assert (came["job_id"], after["card"]["licence"]) == (None, "CC-BY-4.0\n")
    again = export(Here(there), "mine@1", tmp_path / "again", None)  # type: ignore[arg-type]
    assert {name: digest for name, digest in again["files"].items() if name != layout.CARD} == {
        name: digest for name, digest in made["files"].items() if name != layout.CARD
    }


def test_the_same_archive_twice_is_one_version_and_a_taken_name_is_told(
    here: Wiring, platform: Any, run_order: Order, tmp_path: Path
) -> None:
    publish(here, platform, run_order, "gan")
    export(Here(here), "mine", tmp_path / "out", None)  # type: ignore[arg-type]

    with pytest.raises(Conflict, match="There is a model 'mine' already"):
        brought(here, tmp_path / "out")
    first, again = (brought(here, tmp_path / "out", "other") for _ in range(2))

    assert first == again
    assert [one["name"] for one in registry.ls(here, TENANT)["models"]] == ["mine", "noise", "other"]
    with pytest.raises(BadRequest, match="cannot name a model"):
        brought(here, tmp_path / "out", "noise")


def test_an_import_that_is_sent_again_before_the_first_is_through_is_one_version(
    here: Wiring, there: Wiring, platform: Any, run_order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(here, platform, run_order, "gan")
    export(Here(here), "mine", tmp_path / "out", None)  # type: ignore[arg-type]
    put, through = imports._put, []

    def meanwhile(*given: Any) -> int:
        size = put(*given)
        if not through:
            through.append(True)
            through.append(brought(there, tmp_path / "out"))
        return size

    monkeypatch.setattr(imports, "_put", meanwhile)

    assert brought(there, tmp_path / "out") == through[1]

    assert [one["name"] for one in registry.ls(there, TENANT)["models"]] == ["mine", "noise"]


SMALL = {"width": 32, "layers": 1, "heads": 1, "context_length": 16, "vocabulary": 300}


def test_adapters_are_brought_to_where_their_base_is_and_are_given_to_transformers_merged(
    here: Wiring, there: Wiring, platform: Any, run_order: Order, tmp_path: Path
) -> None:
    (tmp_path / "few.txt").write_text("\n\n".join(f"line {number} of a few" for number in range(60)))
    text: dict[str, Any] = {"data": {"source": str(tmp_path / "few.txt")}, "folders": [str(tmp_path)]}
    publish(here, platform, run_order, "gpt", "plain", params=SMALL, **text)
    lora = {"rank": 2, "alpha": 64.0, "targets": None}
    plain = row_of(here, "plain@1")
    wanted: dict[str, Any] = {"job_id": "j_tuned", "params": {"learning_rate": 0.1}, "lora": lora}
    publish(here, platform, run_order, "gpt", "tuned", plain, **wanted, **text)
    for name in ("plain", "tuned"):
        export(Here(here), name, tmp_path / name, None)  # type: ignore[arg-type]

    with pytest.raises(BadRequest, match="which is not here") as caught:
        brought(there, tmp_path / "tuned")
    assert "it was plain@1 there" in caught.value.hint
    came = [brought(there, tmp_path / name, f"{name}-2") for name in ("plain", "tuned")]

    assert [one["parent"] for one in came] == [None, "plain-2@1"]
    assert drawn(there, "tuned-2@1", tmp_path / "b") == drawn(here, "tuned@1", tmp_path / "a")
    made = export_huggingface(Here(there), "tuned-2", tmp_path / "hf", "MIT")  # type: ignore[arg-type]
    weights = load_file(tmp_path / "hf" / "model.safetensors")
    assert "config.json" in made["files"]
    assert (tmp_path / "hf" / "LICENSE").read_text() == "MIT\n"
    assert weights.keys() == {name.removeprefix("net.") for name in load_file(tmp_path / "plain" / layout.WEIGHTS)}
    merged = models.load(there.store, model_order(row_of(there, "tuned-2@1")), made_folder(tmp_path / "c")).sampler
    assert all(torch.equal(weights[name], t) for name, t in merged.modules["net"].state_dict().items())
    rewritten(tmp_path / "tuned", "card.json", adapter={"base": plain.digest, **lora, "alpha": 1.0})
    with pytest.raises(BadRequest, match="have the digest"):
        brought(there, tmp_path / "tuned", "other")


def test_what_is_no_language_model_is_not_given_to_transformers(
    here: Wiring, platform: Any, run_order: Order, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(here, platform, run_order, "gan")
    folder = tmp_path / "here" / "store" / row_of(here, "mine@1").key

    assert huggingface.main([str(folder), str(tmp_path / "hf")]) == 1

    told = _not_written("mine@1", f"a warning\n{capsys.readouterr().err}")
    assert told.message.startswith("mine@1 was not written. A model of the recipe gan is no language model")
    assert told.hint == "Export it as it is."
    assert not (tmp_path / "hf").exists()


def made_folder(path: Path) -> Path:
    path.mkdir()
    return path


def rewritten(folder: Path, name: str, **changes: Any) -> None:
    """Change a JSON file, and what lineage.json says of its digest: only what is covered otherwise can tell."""
    told = json.loads((folder / name).read_text()) | changes
    (folder / name).write_text(json.dumps(told))
    lineage = json.loads((folder / exported.LINEAGE).read_text())
    if name != exported.LINEAGE:
        lineage["files"][name] = models.file_sha256(folder / name)
        (folder / exported.LINEAGE).write_text(json.dumps(lineage))


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "weights": (lambda f: flipped(f / layout.WEIGHTS), "model.safetensors has the SHA-256"),
    "config": (lambda f: rewritten(f, layout.CONFIG, latent_dim=9), "its config, weights and code have the digest"),
    "recipe": (
        lambda f: rewritten(f, exported.LINEAGE, model=_model(f) | {"recipe": "flow"}),
        "its config, weights and code have the digest",
    ),
    "tile": (lambda f: rewritten(f, layout.CARD, tile=3), "do not say the same tile"),
    "format": (lambda f: rewritten(f, exported.LINEAGE, format=2), "not of format 1"),
    "more": (lambda f: (f / "extra.py").write_text("import os"), "'extra.py' is no file that lineage.json lists"),
    "less": (lambda f: (f / layout.WEIGHTS).unlink(), "lacks the file 'model.safetensors'"),
    "code": (
        lambda f: rewritten(f, layout.CARD, code={"sha256": "0" * 64, "module": "m", "class": "C"}),
        "code.tar is not the code that its card names",
    ),
    "import": (lambda f: rewritten(f, layout.CARD, code={"module": "os"}), "names no recipe's code"),
    "json": (lambda f: (f / exported.LINEAGE).write_text("{"), "lineage.json cannot be read"),
}


def _model(folder: Path) -> dict[str, Any]:
    model: dict[str, Any] = json.loads((folder / exported.LINEAGE).read_text())["model"]
    return model


def test_what_was_changed_on_the_way_is_refused_here_and_on_the_platform(
    here: Wiring, there: Wiring, platform: Any, run_order: Order, tmp_path: Path
) -> None:
    publish(here, platform, run_order, "gan")
    export(Here(here), "mine", tmp_path / "out", None)  # type: ignore[arg-type]

    for name, (damage, message) in DAMAGE.items():
        folder = tmp_path / name
        shutil.copytree(tmp_path / "out", folder)
        damage(folder)
        with pytest.raises(BadRequest) as at_the_client, archived(folder):
            pass
        with tarfile.open(tmp_path / "x.tar", "w") as tar:
            for path in sorted(folder.iterdir()):
                tar.add(path, path.name)
        digest = models.file_sha256(tmp_path / "x.tar")
        there.store.put_file(tmp_path / "x.tar", layout.upload(TENANT, digest))
        with pytest.raises(BadRequest) as at_the_platform:
            imports.import_model(there, TENANT, name="x", upload=digest)
        assert message in at_the_client.value.message, name
        assert message in at_the_platform.value.message, name

    assert [one["name"] for one in registry.ls(there, TENANT)["models"]] == ["noise"]
    assert there.store.list("models") == []


def test_a_recipe_that_is_not_known_there_is_told_before_anything_is_kept(
    here: Wiring, there: Wiring, platform: Any, run_order: Order, tmp_path: Path
) -> None:
    publish(here, platform, run_order, "gan")
    export(Here(here), "mine", tmp_path / "out", None)  # type: ignore[arg-type]
    book = RecipeBook([{"name": "flow", "config": {}}])
    poor = Wiring(there.catalog, there.queues, there.store, book, "s", there.clock, there.randbelow)

    with pytest.raises(BadRequest, match="of the recipe 'gan', which is not known here"):
        brought(poor, tmp_path / "out")


def test_an_archive_that_was_not_sent_is_told(there: Wiring) -> None:
    with pytest.raises(NotFound, match="There is no upload"):
        imports.import_model(there, TENANT, name="x", upload="0" * 64)


def test_what_is_there_already_is_not_written_over(
    here: Wiring, platform: Any, run_order: Order, tmp_path: Path
) -> None:
    publish(here, platform, run_order, "gan")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    (tmp_path / "file.tar").write_text("kept")

    for to in ("full", "file.tar", "full/mine.txt"):
        with pytest.raises(Conflict, match="is there already"):
            export(Here(here), "mine", tmp_path / to, None)  # type: ignore[arg-type]
    with pytest.raises(BadRequest, match="noise@1 is built in"):
        export(Here(here), "noise", tmp_path / "noise", None)  # type: ignore[arg-type]

    assert (tmp_path / "file.tar").read_text() == (tmp_path / "full" / "mine.txt").read_text() == "kept"
    assert not (tmp_path / "noise").exists()
    assert not list(tmp_path.glob(".genctl-export-*"))


def test_a_store_that_gives_other_bytes_exports_nothing(
    here: Wiring, platform: Any, run_order: Order, tmp_path: Path
) -> None:
    publish(here, platform, run_order, "gan")
    key = next(key for key in here.store.list("models") if key.endswith(layout.WEIGHTS))
    here.store.put_bytes(key, b"other")

    with pytest.raises(BadRequest, match="its config, weights and code have the digest"):
        export(Here(here), "mine", tmp_path / "out", None)  # type: ignore[arg-type]

    assert not (tmp_path / "out").exists()
