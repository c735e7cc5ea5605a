"""Recipes of one's own: sent as code, imported under their digest's name, trained, and drawn from by that digest."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genctl.recipecode import located, packed
from genplatform.domain import layout
from genplatform.domain.recipe_code import LARGEST_CODE, RecipeCode
from genplatform.errors import BadRequest
from genplatform.store import Store
from genworkers import models, own_recipes
from genworkers.generating.actor import PoolActor
from genworkers.images import payload_sha256
from genworkers.training.actor import RunActor

Platform = Any  # conftest.FakePlatform, which an importlib-mode test cannot import
Order = Callable[..., dict[str, Any]]

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_recipe"
SMALL = """
from genworkers.recipes.vae import Vae
{imports}

class Mine(Vae):
    name = "mine"
    summary = "A recipe of one's own."
"""


def sent(store: Store, base: Path, recipe: str) -> RecipeCode:
    """Put the recipe into the store as `genctl submit` does."""
    with packed(located(recipe, base)) as (code, file):
        store.put_bytes(layout.upload("default", code.digest), file.read())
    return code


def loaded(base: Path, recipe: str) -> Any:
    store = Store((base / "sent").as_uri())
    code = sent(store, base, recipe)
    return own_recipes.recipe_named(str(code), lambda digest, to: store.fetch(layout.upload("default", digest), to))


def run(order: dict[str, Any]) -> str:
    actor = RunActor(order)
    actor.start()
    return actor.join()


@pytest.fixture
def own_order(run_order: Order, store: Store) -> Order:
    def make(url: str, code: RecipeCode, **changes: Any) -> dict[str, Any]:
        few = {"budget": {"steps": 8}, "checkpoint": {"every": 4, "keep": 2}, "params": {"blur": 0.3}}
        return run_order(url, recipe=str(code), **few | changes)

    return make


def test_a_recipe_of_ones_own_is_trained_published_and_drawn_from_by_its_digest(
    platform: Platform, store: Store, own_order: Order, tmp_path: Path
) -> None:
    code = sent(store, EXAMPLE, "gaussian:Gaussian")

    assert run(own_order(platform.url, code)) == "published"

    (body,) = platform.bodies("/publish")
    made = body["model"]
    assert made["recipe"] == "gaussian"
    assert made["card"]["code"] == {
        "sha256": code.digest, "module": "gaussian", "class": "Gaussian", "upload": str(code),
    }  # fmt: skip
    weights = made["card"]["weights"]["sha256"]
    assert made["digest"] == models.model_digest("gaussian", made["config"], weights, code=code)
    assert made["digest"] != models.model_digest("gaussian", made["config"], weights)
    store.remove(layout.upload("default", code.digest))  # a model has its code beside its weights
    order = {**made, "name": "g", "version": 1, "code": made["card"]["code"]}
    (tmp_path / "a").mkdir()
    drawn = models.load(store, order, tmp_path / "a").sampler.draw([1, 2])
    offered = [_shard(made)]
    platform.answers["/claim"] = lambda _: (200, {"shards": [offered.pop()] if offered else []})
    platform.answers["/publish"] = lambda _: (200, {"results": []})
    pool = {"tenant": "default", "pool": "p", "actor": "pool/default/p/1", "api_url": platform.url, "token": "t"}
    pool |= {"store_url": store.url, "model": order, "max_claims": 4, "idle_seconds": 0.1, "heartbeat_seconds": 1}
    actor = PoolActor(pool | {"threads": 1})
    actor.start()
    assert actor.join() == "idle"
    (manifest,) = [key for key in store.list("outputs") if key.endswith(layout.MANIFEST)]
    items = [json.loads(line) for line in store.read_bytes(manifest).splitlines()]
    assert len(items) == 2
    picture = store.read_bytes(f"{layout.outputs(_job())}/{items[0]['path']}")
    assert code.digest.encode() in picture
    assert drawn[0].shape == (8, 8, 1)


def _job() -> Any:
    from genplatform.domain.keys import JobKey

    return JobKey("default", "j_abc")


def _shard(made: dict[str, Any]) -> dict[str, Any]:
    lineage = {"job": "j_abc", "name": "many", "model": "g@1", "model_digest": made["digest"], "data_digest": None}
    lineage |= {"recipe": "gaussian", "code": made["card"]["code"]["sha256"], "code_version": "0.1.0"}
    order = {"tenant": "default", "job_id": "j_abc", "run": 1, "shard": 0, "claim": 1, "start": 0, "count": 2}
    return order | {"seed": 7, "format": "png", "batch_size": None, "cond": None, "lineage": lineage}


def test_a_run_goes_on_from_its_checkpoint_with_the_same_code_and_with_no_other(
    new_platform: Callable[[], Platform], store: Store, own_order: Order, tmp_path: Path
) -> None:
    code = sent(store, EXAMPLE, "gaussian:Gaussian")
    whole, half, rest, other = (new_platform() for _ in range(4))
    assert run(own_order(whole.url, code, job_id="j_whole")) == "published"
    assert run(own_order(half.url, code, job_id="j_half", budget={"steps": 4})) == "published"
    (saved,) = [b for b in half.bodies("/artifacts") if b["kind"] == "checkpoint"]
    offer = [{"key": saved["key"], "sha256": saved["sha256"], "step": saved["step"]}]

    assert run(own_order(rest.url, code, job_id="j_half", run=2, resume=offer)) == "published"
    (tmp_path / "gaussian.py").write_text((EXAMPLE / "gaussian.py").read_text() + "\n# Changed.\n")
    changed = sent(store, tmp_path, "gaussian:Gaussian")
    assert run(own_order(other.url, changed, job_id="j_half", run=3, resume=offer)) == "published"

    first, again, new = (p.bodies("/publish")[0]["model"] for p in (whole, rest, other))
    assert "Going on from the checkpoint at step 4" in rest.logs
    assert again["digest"] == first["digest"]
    assert "it belongs to other data, another recipe" in other.logs
    assert new["card"]["weights"] == first["card"]["weights"]
    assert new["digest"] != first["digest"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Mine = 3\n", "mine:Mine is no recipe: it is of the type int"),
        ("class Mine: pass\n", "mine:Mine is no recipe: it is another class"),
        ("import sys\nif sys.argv is None:\n    Mine = 1\n", "mine:Mine is no recipe: it is nothing"),
        ("from genworkers.recipes.base import Recipe\nclass Mine(Recipe):\n    pass\n", "lacks name, summary, Config"),
        (SMALL.format(imports="import no_such_module"), "there is no module 'no_such_module'"),
        (SMALL.format(imports="raise RuntimeError('at import')"), "RuntimeError: at import"),
        (SMALL.format(imports="raise SystemExit(3)"), "SystemExit: 3"),
        (SMALL.format(imports="").replace('"mine"', '"gan"'), "calls itself 'gan', which is the name of an installed"),
        (SMALL.format(imports="").replace('"mine"', '"a/b"'), "cannot name a recipe"),
    ],
)
def test_code_that_is_no_recipe_fails_its_run_once_and_says_why(
    platform: Platform, store: Store, own_order: Order, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "mine.py").write_text(text)
    code = sent(store, tmp_path, "mine:Mine")

    assert run(own_order(platform.url, code, params={})) == "failed"

    (failed,) = platform.bodies("/failed")
    assert failed["cause"] == "user_error"
    assert message in failed["message"]


def test_code_that_python_cannot_read_fails_its_run_with_file_and_line(
    platform: Platform, store: Store, own_order: Order
) -> None:
    code = tar_of(store, {"mine.py": b"x = 1\nclass Mine(:\n"})

    assert run(own_order(platform.url, code)) == "failed"

    (failed,) = platform.bodies("/failed")
    assert (failed["cause"], "mine.py, line 2" in failed["message"]) == ("user_error", True)


def test_params_that_the_recipe_refuses_fail_its_run(platform: Platform, store: Store, own_order: Order) -> None:
    code = sent(store, EXAMPLE, "gaussian:Gaussian")

    assert run(own_order(platform.url, code, params={"blurr": 1})) == "failed"

    (failed,) = platform.bodies("/failed")
    assert failed["cause"] == "user_error"
    assert "params.blurr" in failed["message"]


def tar_of(store: Store, files: dict[str, bytes], **changes: Any) -> RecipeCode:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for key, value in changes.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(data))
    digest = hashlib.sha256(out.getvalue()).hexdigest()
    store.put_bytes(layout.upload("default", digest), out.getvalue())
    return RecipeCode(digest, "mine", "Mine")


@pytest.mark.parametrize(
    ("files", "changes", "message"),
    [
        ({"../mine.py": b""}, {}, "'../mine.py' is no plain file"),
        ({"/mine.py": b""}, {}, "is no plain file"),
        ({"a/../../mine.py": b""}, {}, "is no plain file"),
        ({"mine.py": b""}, {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "'mine.py' is no plain file"),
        ({"mine.py": b""}, {"type": tarfile.FIFOTYPE}, "is no plain file"),
        ({".hidden": b""}, {}, "is no plain file"),
        ({f"m{n}.py": b"" for n in range(2001)}, {}, "more than 2,000 files"),
        ({"mine.py": b"", "mine.py/x.py": b""}, {}, "is in it twice"),
        ({"a": bytes(LARGEST_CODE), "b": b"1"}, {}, "or 16,777,216 bytes"),
    ],
)
def test_an_archive_that_would_leave_its_folder_or_fill_the_disk_is_refused(
    tmp_path: Path, files: dict[str, bytes], changes: dict[str, Any], message: str
) -> None:
    store = Store((tmp_path / "store").as_uri())
    code = tar_of(store, files, **changes)

    with pytest.raises(BadRequest, match=message):
        own_recipes.recipe_of(code, lambda digest, to: store.fetch(layout.upload("default", digest), to))

    assert not (tmp_path / "mine.py").exists()


def test_what_is_no_archive_is_refused() -> None:
    code = RecipeCode("0" * 64, "mine", "Mine")

    with pytest.raises(BadRequest, match="it is no tar"):
        own_recipes.recipe_of(code, lambda _, to: to.write_bytes(b"import os\n" * 200))


def test_code_that_changed_in_the_store_is_not_imported(
    platform: Platform, store: Store, own_order: Order, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(SMALL.format(imports="print('other code')"))
    code = sent(store, tmp_path, "mine:Mine")
    store.put_bytes(layout.upload("default", code.digest), b"other bytes")

    assert run(own_order(platform.url, code)) == "failed"

    (failed,) = platform.bodies("/failed")
    assert f"The upload {code.digest} is damaged" in failed["message"]


def test_it_imports_what_lies_beside_it_and_nobody_else_does(tmp_path: Path) -> None:
    # Names that others have too: the standard library, and a package that is installed.
    (tmp_path / "statistics.py").write_text("WORD = 'mine'\n")
    (tmp_path / "filelock.py").write_text("import statistics\nWORD = statistics.WORD + ' too'\n")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "inner.py").write_text("from . import deep\nimport pack.deep as d\nassert d is deep\n")
    (tmp_path / "pack" / "deep.py").write_text("import statistics as s\nWORD = s.WORD\n")
    lines = ["import statistics, pack.inner", "from filelock import WORD", "from .pack import deep", "import os"]
    (tmp_path / "mine.py").write_text(
        SMALL.format(imports="\n".join(lines))
        + "    said = (statistics.WORD, WORD, deep.WORD, pack.inner.deep is deep, os.sep)\n"
        + "    def late(self):\n        import statistics\n        return statistics.WORD\n"
    )

    recipe = loaded(tmp_path, "mine:Mine")

    assert recipe.said == ("mine", "mine too", "mine", True, "/")
    assert recipe.late(None) == "mine"
    assert hasattr(importlib.import_module("statistics"), "fmean")
    assert not [name for name in ("mine", "pack", "pack.inner") if name in sys.modules]
    assert recipe.__module__.startswith("genctl_code_")


def test_a_package_is_sent_whole_and_two_versions_of_it_live_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "mypack" / "sub").mkdir(parents=True)
    for folder in ("mypack", "mypack/sub"):
        (tmp_path / folder / "__init__.py").write_text("")
    (tmp_path / "mypack" / "words.txt").write_text("one")
    (tmp_path / "mypack" / "sub" / "mine.py").write_text(
        "from pathlib import Path\n" + SMALL.format(imports="") + "    word = (Path(__file__).parents[1] / 'words.txt')"
        ".read_text()\n"
    )

    first = loaded(tmp_path, "mypack.sub.mine:Mine")
    (tmp_path / "mypack" / "words.txt").write_text("two")
    second = loaded(tmp_path, "./mypack/sub/mine.py:Mine")

    assert (first.word, second.word) == ("one", "two")


def test_models_of_before_keep_their_digest() -> None:
    config = {"height": 8, "width": 8, "channels": 1}

    text = b'{"config":{"channels":1,"height":8,"width":8},"recipe":"noise","weights":null}'
    assert models.model_digest("noise", config, None) == hashlib.sha256(text).hexdigest()


def test_the_drawn_bytes_are_those_of_the_recipe_that_was_trained(
    platform: Platform, store: Store, own_order: Order, tmp_path: Path
) -> None:
    code = sent(store, EXAMPLE, "gaussian:Gaussian")
    assert run(own_order(platform.url, code)) == "published"
    made = platform.bodies("/publish")[0]["model"]
    order = {**made, "name": "g", "version": 1, "code": made["card"]["code"]}

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    one, other = (models.load(store, order, tmp_path / folder).sampler.draw([5]) for folder in ("a", "b"))

    assert payload_sha256(one[0]) == payload_sha256(other[0])
    other_code = {**made["card"]["code"], "sha256": "0" * 64}
    with pytest.raises(BadRequest, match="is not what was published"):
        models.load(store, {**order, "code": other_code}, tmp_path / "a")
