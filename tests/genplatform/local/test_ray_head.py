"""What the local Ray, and so every actor, finds in its environment: no key of the platform's, and a scratch folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from local_home import LocalHome, eventually, python

from genplatform import settings as surroundings
from genplatform.local import home, parts, processes
from genplatform.local.keeper import Keeper

SAYS = "import json, os\nopen('said', 'w').write(json.dumps(dict(os.environ)))"
KEYS = {
    "GENCTL_DATABASE_URL": "postgresql://genctl:secret@127.0.0.1/genctl",
    "GENCTL_REDIS_URL": "redis://:secret@127.0.0.1:6380/0",
    "GENCTL_STORE_URL": "s3://bucket/folder",
    "GENCTL_URL": "https://elsewhere.example",
    "GENCTL_API_KEY": "secret",
    "GENCTL_ANYTHING": "secret",
    "PGPASSWORD": "secret",
    "PGPASSFILE": "/somewhere/secret",
}


def environment_of_ray(local_home: LocalHome) -> dict[str, str]:
    """Return what a small program finds that the supervisor starts in the place of Ray."""
    settings, folder = surroundings.load(), local_home.settings.home
    home.prepare(settings)
    home.prepare_runtime(settings.runtime_dir)
    part = next(part for part in parts.plan(settings)[1] if part.name == "ray")
    marks = {processes.MARK: "mark", "GENCTL_HOME": str(folder)}
    keeper = Keeper(dataclasses.replace(part, argv=python(SAYS), once=True), marks, settings.logs, folder)
    keeper.tick(0.0, ())
    eventually(lambda: keeper.tick(0.0, ()) or keeper.state == "up")
    return dict(json.loads((folder / "said").read_text()))


def test_no_key_of_the_surroundings_reaches_ray(local_home: LocalHome, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "for the store")

    found = environment_of_ray(local_home)

    assert [name for name in KEYS if name in found] == []
    assert {name for name in found if name.startswith("GENCTL_")} == {"GENCTL_HOME", processes.MARK, processes.PART}
    assert found["AWS_ACCESS_KEY_ID"] == "for the store"


def test_what_actors_write_for_a_while_lies_where_down_removes_it(local_home: LocalHome) -> None:
    scratch = Path(environment_of_ray(local_home)["TMPDIR"])

    assert scratch.is_dir()
    assert scratch.parent == local_home.settings.runtime_dir
