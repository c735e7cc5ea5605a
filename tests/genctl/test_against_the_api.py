"""The client and the command line against the platform's own API, over HTTP, with a catalog in a folder."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from canned_platform import TOKEN

from genctl import Client
from genplatform import errors
from genplatform.api.app import create_app
from genplatform.assembly import in_memory
from genplatform.domain import exported
from genplatform.settings import Settings

Run = Callable[..., Any]
JOB = "kind: generate\nname: pictures\nmodel: noise@1\ncount: 10\n"


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    """The address of an API that is served by a thread."""
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            started.set()

    w = in_memory(secret=TOKEN)
    server = Server(uvicorn.Config(create_app(w), port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    assert started.wait(30)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
    w.catalog.close()


@pytest.fixture
def client(api: str, tmp_path: Path) -> Client:
    return Client(api, TOKEN, Settings(home=tmp_path), patience=0.5)


@pytest.fixture
def cli(api: str, genctl: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("GENCTL_URL", api)
    return genctl


def test_every_reading_route_of_the_client_is_one_of_the_api(client: Client) -> None:
    [job] = client.submit(JOB)
    ref = job["id"]

    assert client.is_live()
    assert client.job(ref)["id"] == ref
    assert client.jobs(states=["waiting", "queued"], queue="default", all=True, limit=5)["jobs"][0]["id"] == ref
    assert client.events(ref, types=["metrics"], limit=3)["events"] == []
    assert client.logs(ref, run=1, tail=3, since=0.0, limit=3, after=1)["lines"] == []
    assert client.artifacts(ref) == []
    assert client.outputs(ref, limit=2)["items"] == []
    assert "noise" in [m["name"] for m in client.models()]
    assert client.model("noise@1")["tile"] == 64
    assert {"gan", "noise"} <= {r["name"] for r in client.recipes()}
    assert client.recipe("gan")["config"]
    assert client.schema()["$schema"]
    assert client.endpoints() == []
    assert client.status()["parts"]
    for refused in (lambda: client.output(ref, 0), lambda: client.content(ref, 0), lambda: client.images("nope")):
        with pytest.raises(errors.NotFound):
            refused()


def test_the_same_key_is_the_same_job_and_another_body_is_a_conflict(client: Client) -> None:
    first, again = client.submit(JOB, key="k1"), client.submit(JOB, key="k1")

    assert first[0]["id"] == again[0]["id"]
    with pytest.raises(errors.Conflict):
        client.submit(JOB.replace("10", "11"), key="k1")


def test_dicts_and_lists_of_them_are_job_files(client: Client) -> None:
    one = {"kind": "generate", "model": "noise@1", "count": 1, "name": "größe"[:2]}
    two = [{**one, "name": "a1"}, {**one, "name": "b1", "needs": ["a1"]}]

    assert [j["name"] for j in client.submit({**one, "name": "alone"})] == ["alone"]
    assert [j["name"] for j in client.submit(two)] == ["a1", "b1"]


def test_a_cancelled_job_ends_a_wait_with_4(client: Client, cli: Run) -> None:
    [job] = client.submit(JOB)

    cancelled = cli("cancel", job["id"])
    waited = cli("wait", job["id"], "--json")

    assert cancelled.code == 0
    assert waited.code == 4
    assert json.loads(waited.out)["jobs"][0]["state"] == "cancelled"


def test_a_job_is_paused_resumed_given_a_priority_and_done_again(client: Client, cli: Run) -> None:
    [job] = client.submit(JOB)
    ref = job["id"]

    assert client.pause(ref)["state"] == "paused"
    assert client.resume(ref)["state"] == "queued"
    assert client.update(ref, priority=900)["priority"] == 900
    with pytest.raises(errors.Conflict):
        client.retry(ref)
    assert cli("cancel", ref).code == 0
    [new] = client.retry(ref, key="again")
    assert [j["id"] for j in client.retry(ref, key="again")] == [new["id"]]
    assert (new["retry_of"], new["priority"]) == (ref, 900)

    refused = cli("pause", "nope", new["id"], ref)

    assert refused.code == 2
    assert "There is no job 'nope'." in refused.err
    assert f"{ref} (pictures) was cancelled already" in refused.err
    assert client.job(new["id"])["state"] == "paused"
    for verb in ("resume", "retry", "update --priority 3", "show"):
        assert cli(*verb.split(), new["id"]).code == 0, verb


def test_an_endpoint_is_wished_for_shown_and_taken_away(client: Client, cli: Run) -> None:
    made = cli("endpoints", "create", "e1", "--model", "noise@1", "--max-replicas", "2", "--no-wait", "--json")

    assert made.code == 0
    assert json.loads(made.out)["replicas"]["max"] == 2
    assert cli("endpoints", "show", "e1").code == 0
    assert "noise@1" in cli("endpoints", "ls").out
    assert cli("endpoints", "rm", "e1").code == 0


def test_every_problem_of_a_bad_file_comes_with_file_line_and_column(cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("kind: generate\nmodel: noise@1\ncoutn: 10\ncount: 0\n")

    ended = cli("submit", str(file))

    assert ended.code == 2
    assert f"{file}:3:1: coutn:" in ended.err
    assert f"{file}:4:" in ended.err
    assert "count" in ended.err


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"kind: [\n",
        b"!!python/object/apply:os.system ['true']\n",
        b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        b"kind: generate\nmodel: nope@7\ncount: 1\n",
        b"kind: train\nrecipe: gann\n",
        b'kind: generate\nmodel: noise@1\ncount: 1\nname: "a\\e[31m"\n',
        b"\xff\xfe\x00",
    ],
)
def test_bad_input_is_exit_code_2_and_changes_nothing(cli: Run, client: Client, tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(body)
    before = client.jobs(all=True)["jobs"]

    ended = cli("submit", str(file))

    assert ended.code == 2
    assert ended.err.startswith("Error: ")
    assert "\x1b" not in ended.err
    assert "Traceback" not in ended.err
    assert client.jobs(all=True)["jobs"] == before


def test_a_dry_run_submits_nothing(cli: Run, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(JOB)
    before = client.jobs(all=True)["jobs"]

    ended = cli("submit", str(file), "--dry-run", "--set", "count=3")

    assert ended.code == 0
    assert client.jobs(all=True)["jobs"] == before


def test_a_wrong_key_is_told_as_such(api: str, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENCTL_API_KEY", "wrong")

    ended = cli("ps")

    assert ended.code == 3
    assert "GENCTL_API_KEY" in ended.err


def test_unknown_things_are_exit_code_2(cli: Run) -> None:
    for command in ("show nope", "logs nope", "models show nope@1", "recipes show nope", "endpoints rm nope"):
        ended = cli(*command.split())
        assert (ended.code, ended.out) == (2, ""), command
        assert "nope" in ended.err


def test_data_is_sent_ahead_once_and_named_by_its_digest(client: Client, cli: Run, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "0.png").write_bytes(b"a picture")
    (tmp_path / "job.yaml").write_text("kind: train\nrecipe: gan\ndata: {source: ./photos}\n")
    sent: list[tuple[int, int]] = []

    planned = cli("submit", "--dry-run", "--json", str(tmp_path / "job.yaml"))
    made = cli("submit", "-d", str(tmp_path / "job.yaml"))
    again = cli("submit", "-d", str(tmp_path / "job.yaml"))
    named = client.upload(tmp_path / "photos", lambda done, of: sent.append((done, of)))

    assert (planned.code, made.code, again.code) == (0, 0, 0)
    assert json.loads(planned.out)["jobs"][0]["spec"]["data"]["source"] == named
    assert named.startswith("upload:")
    assert named.endswith("/photos.tar")
    assert ["Uploading" in one.err for one in (planned, made, again)] == [False, True, False]
    assert sent == []


def test_a_model_comes_from_a_folder_and_leaves_as_the_same(client: Client, cli: Run, tmp_path: Path) -> None:
    config, folder = {"latent_dim": 3}, tmp_path / "in"
    weights, card = b"weights" * 1000, {"recipe": "gan", "tile": 64, "modality": "image", "cond": None}
    digest = exported.model_digest("gan", config, hashlib.sha256(weights).hexdigest())
    model = {"name": "mine", "version": 4, "digest": digest, "recipe": "gan", "modality": "image", "tile": 64}
    folder.mkdir()
    for name, data in (("model.safetensors", weights), ("card.json", card), ("config.json", config)):
        (folder / name).write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    lineage = exported.lineage(model | {"metrics": {"loss": 0.5}}, digests)
    (folder / "lineage.json").write_text(json.dumps(lineage))

    came = cli("models", "import", str(folder), "--name", "yours")
    left = cli("models", "export", "yours", str(tmp_path / "out.tar"), "--licence", "MIT", "--json")
    taken = cli("models", "import", str(tmp_path / "out.tar"))
    renamed = client.import_model(tmp_path / "out.tar", name="ours")

    assert (came.code, came.out.split()[:2]) == (0, ["yours@1", digest])
    assert json.loads(left.out)["files"]["model.safetensors"] == hashlib.sha256(weights).hexdigest()
    assert (taken.code, "There is a model 'yours' already" in taken.err) == (2, True)
    assert (renamed["digest"], renamed["metrics"]) == (digest, {"loss": 0.5})
    shown = cli("models", "show", "yours").out
    assert "mine@4" in shown
    assert client.model("ours")["card"]["licence"] == "MIT\n"
    assert cli("models", "export", "yours", str(tmp_path / "out.tar")).code == 2
