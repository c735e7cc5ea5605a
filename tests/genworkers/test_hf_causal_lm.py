"""A model of transformers as a recipe: from a config and from directories, learned, drawn from in slots, given back."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_stand_in import HubStandIn
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from genplatform.errors import BadRequest
from genplatform.store import Store
from genworkers import models
from genworkers.adapters import Lora
from genworkers.data.fetching import no_uploads
from genworkers.huggingface import to_huggingface
from genworkers.recipes import bpe, hf_network
from genworkers.recipes.hf_causal_lm import HfCausalLm
from genworkers.sampler import Sampler
from genworkers.training import checkpoint
from genworkers.training.actor import RunActor
from genworkers.training.job import TrainJob
from genworkers.training.pretrained import from_directory
from genworkers.training.start import Start
from genworkers.training.state import EngineStep, TrainState

Platform = Any  # conftest.FakePlatform, which an importlib-mode test cannot import
RunOrder = Callable[..., dict[str, Any]]

SIZES: dict[str, dict[str, Any]] = {
    "llama": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 40},
}
CONTEXT = {"context_length": 24}
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "one", "red", "hat"]


def lines() -> list[str]:
    """Return texts in which a word tells the next."""
    chance = random.Random(3)
    starts = [chance.randrange(len(WORDS)) for _ in range(300)]
    return [" ".join((WORDS * 3)[start : start + 12]) for start in starts]


@pytest.fixture(scope="module")
def tokenizer() -> bytes:
    return bpe.learn(lines(), 300)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("text") / "few.txt"
    path.write_text("\n\n".join(lines()), encoding="utf-8")
    return str(path)


def saved(folder: Path, kind: str, tokenizer: bytes) -> Any:
    """Save a tiny model of the library as it saves one, with a few tokens more than the tokenizer has; return it."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(5)
    sizes = SIZES[kind] | {"vocab_size": 320, "eos_token_id": 0, "bos_token_id": 0, "initializer_range": 0.2}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)).eval()
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(tokenizer)
    return model


def job(pretrained: str, folders: list[str], **params: Any) -> TrainJob:
    params = CONTEXT | {"pretrained": pretrained} | params
    often = {"checkpoint_every": 9, "sheet_every": 9, "evaluate_every": 9}
    return TrainJob("hf-causal-lm", params, {"source": "topics"}, None, 9, **often, folders=folders, fetch=no_uploads)


def started(folder: Path) -> tuple[Any, Any]:
    """Return recipe and networks of a directory, as a training starts with them."""
    start = from_directory(HfCausalLm, job(str(folder), [str(folder.parent)])).start
    assert start.base is not None
    recipe = HfCausalLm.configured({}, base=start.base)
    recipe.assets = dict(start.base.recipe.assets)
    return recipe, start.networks(recipe)


@pytest.mark.parametrize("kind", SIZES)
def test_a_directory_is_started_from_with_its_weights_and_tokens(kind: str, tmp_path: Path, tokenizer: bytes) -> None:
    theirs = saved(tmp_path / kind, kind, tokenizer)
    recipe, modules = started(tmp_path / kind)

    count = len(recipe.pieces)
    tokens = torch.randint(0, count, (3, 20))
    with torch.no_grad():
        ours = modules["net"].eval()(tokens)
        assert torch.allclose(ours, theirs(tokens).logits[..., :count], atol=1e-5)
    assert recipe.config.pretrained.startswith("sha256:")
    assert (recipe.config.architecture["model_type"], recipe.end_token, recipe.tokenizer) == (kind, 0, tokenizer)


@pytest.mark.parametrize("kind", SIZES)
def test_texts_grow_in_slots_as_the_library_makes_them_and_alike_in_any_company(
    kind: str, tmp_path: Path, tokenizer: bytes
) -> None:
    theirs = saved(tmp_path / kind, kind, tokenizer)
    recipe, modules = started(tmp_path / kind)
    draws = Sampler(recipe, models.served(recipe, modules), 4)
    likeliest = {"prompt": "the cat", "temperature": 0, "max_new_tokens": 15}

    (ours,) = draws.draw([1], [likeliest])
    seeds, wishes = [3, 4, 5, 6, 7, 8], [{"prompt": "a"}, {}, {"prompt": "the red hat and the"}] * 2
    whole = [payload.tobytes() for payload in draws.draw(seeds, wishes)]
    alone = [draws.draw([seed], [wish])[0].tobytes() for seed, wish in zip(seeds, wishes, strict=True)]

    read = torch.tensor([recipe.beginning(1, draws.condition(likeliest)).tokens])
    theirs.generation_config.suppress_tokens = list(range(len(recipe.pieces), 320))
    made = theirs.generate(read, do_sample=False, max_new_tokens=15, pad_token_id=0)[0, read.shape[1] :].tolist()
    made = made[: made.index(0)] if 0 in made else made
    assert ours.tobytes() == b"".join(recipe.pieces[token] for token in made).decode("utf-8", "replace").encode()
    assert whole == alone
    assert len(set(whole)) == len(whole)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    stand_in = HubStandIn("me/tiny", "models")
    # As HF_ENDPOINT would, had it been set before the library was imported.
    monkeypatch.setattr(constants, "ENDPOINT", stand_in.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{stand_in.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    yield stand_in
    stand_in.close()


def test_a_model_of_the_hub_is_read_at_one_commit_without_its_code(
    hub: HubStandIn, tmp_path: Path, tokenizer: bytes
) -> None:
    saved(tmp_path / "tiny", "llama", tokenizer)
    files = {path.name: path.read_bytes() for path in (tmp_path / "tiny").iterdir()}
    commit = hub.commit(files | {"modeling.py": b"raise", "pytorch_model.bin": b"\x80"})

    start = from_directory(HfCausalLm, job(f"hf://me/tiny@{commit}", [])).start

    assert start.base is not None
    assert start.base.recipe.config.pretrained == f"hf://me/tiny@{commit}"
    assert not {"modeling.py", "pytorch_model.bin"} & set(hub.fetched)
    with pytest.raises(BadRequest, match="There is no model me/other on the hub"):
        from_directory(HfCausalLm, job(f"hf://me/other@{commit}", []))
    for moving in ("", "@main", f"@{commit[:12]}"):
        with pytest.raises(BadRequest, match="may be another model whenever a run of this job starts"):
            from_directory(HfCausalLm, job(f"hf://me/tiny{moving}", []))


def _break(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name
    told = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(told))


BREAKS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "tokens": (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer.json"),
    "weights": (lambda f: (f / "model.safetensors").rename(f / "model.bin"), "other forms of weights are not read"),
    "end": (
        lambda f: [_break(f, n, eos_token_id=None) for n in ("config.json", "generation_config.json")],
        "which token ends a text",
    ),
    "kind": (lambda f: _break(f, "config.json", model_type="mamba9"), "Unrecognized model identifier: mamba9"),
    "encoder": (lambda f: _break(f, "config.json", model_type="vit"), "'vit' of transformers is no causal language"),
    "window": (lambda f: _break(f, "config.json", sliding_window=8), "has sliding_window"),
    "size": (lambda f: _break(f, "config.json", hidden_size=64), "mismatch|missing or are not of its config"),
    "few": (lambda f: _break(f, "config.json", vocab_size=200), r"vocab_size of 200, and there are \d+ tokens"),
    "context": (lambda f: _break(f, "config.json", max_position_embeddings=8), "has 8 positions"),
    "shards": (
        lambda f: (
            (f / "model.safetensors").unlink(),
            (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../x.safetensors"}}'),
        ),
        "names the file",
    ),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_directory_that_cannot_be_started_from_is_told(what: str, tmp_path: Path, tokenizer: bytes) -> None:
    saved(tmp_path / "tiny", "llama", tokenizer)
    breaks, message = BREAKS[what]
    breaks(tmp_path / "tiny")

    with pytest.raises(BadRequest, match=message):
        from_directory(HfCausalLm, job(str(tmp_path / "tiny"), [str(tmp_path)]))


def test_a_directory_that_jobs_may_not_read_is_refused(tmp_path: Path, tokenizer: bytes) -> None:
    saved(tmp_path / "tiny", "llama", tokenizer)
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "link").symlink_to(tmp_path / "tiny")

    for named in (str(tmp_path / "tiny"), str(tmp_path / "open" / "link"), "tiny", "../tiny"):
        with pytest.raises(BadRequest, match="no directory that jobs may read here"):
            from_directory(HfCausalLm, job(named, [str(tmp_path / "open")]))


def test_files_that_are_links_are_read_where_they_stay_in_the_folders_of_jobs(tmp_path: Path, tokenizer: bytes) -> None:
    saved(tmp_path / "hub" / "blobs", "llama", tokenizer)
    snapshot = tmp_path / "hub" / "snapshot"
    snapshot.mkdir()
    for path in (tmp_path / "hub" / "blobs").iterdir():
        (snapshot / path.name).symlink_to(path)

    whole = from_directory(HfCausalLm, job(str(snapshot), [str(tmp_path / "hub")])).start

    assert whole.base is not None
    with pytest.raises(BadRequest, match="is a link that leads out of the folders that jobs may read"):
        from_directory(HfCausalLm, job(str(snapshot), [str(snapshot)]))


@pytest.mark.parametrize("adapters", [None, Lora(2)])
def test_a_run_from_a_directory_goes_on_to_the_same_bits(
    adapters: Lora | None, tmp_path: Path, tokenizer: bytes
) -> None:
    saved(tmp_path / "tiny", "gpt2", tokenizer)
    base = from_directory(HfCausalLm, job(str(tmp_path / "tiny"), [str(tmp_path)])).start.base
    assert base is not None
    start = Start(base, adapters, is_published=False)
    recipe: Any = HfCausalLm.configured({}, base=base)
    recipe.assets = dict(base.recipe.assets) | {"unigram.json": b"{}"}  # of the data, which is none here
    chance = torch.Generator().manual_seed(0)
    rows = torch.randint(1, len(recipe.pieces), (6, 4, recipe.config.context_length), generator=chance)

    def train(state: TrainState, until: int) -> TrainState:
        engine = EngineStep(state, 0, 0)
        while state.step < until:
            engine.begin(state.step)
            recipe.step({"x": rows[state.step]}, engine)
            state.step += 1
        return state

    whole = train(TrainState.fresh(recipe, 3, start=start), 6)
    half = train(TrainState.fresh(recipe, 3, start=start), 3)
    digest = checkpoint.write(half, tmp_path / "half", start.about(), recipe.assets)
    again = train(checkpoint.read(tmp_path / "half", digest, recipe, start.about(), start=start), 6)

    state, before = whole.modules.state_dict(), half.modules.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in again.modules.state_dict().items())
    assert not all(torch.equal(state[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize(("window", "is_refused"), [(32768, False), (None, False), (8, True)])
def test_a_window_that_hides_nothing_is_none(window: int | None, is_refused: bool) -> None:
    told = {"model_type": "mistral", "max_position_embeddings": 40, "sliding_window": window}
    qwen = {"model_type": "qwen2", "sliding_window": window, "use_sliding_window": False}

    assert hf_network.config_of(qwen).sliding_window is None
    if is_refused:
        with pytest.raises(ValueError, match="has sliding_window"):
            hf_network.config_of(told)
    else:
        assert hf_network.config_of(told).sliding_window == window


def test_without_transformers_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)

    with pytest.raises(ModuleNotFoundError, match=r"install genctl\[hf\] on the nodes"):
        hf_network.config_of({"model_type": "llama"})


def published(order: dict[str, Any], platform: Platform, name: str) -> dict[str, Any]:
    actor = RunActor(order)
    actor.start()
    assert actor.join() == "published", platform.logs
    model: dict[str, Any] = platform.bodies("/publish")[-1]["model"]
    return model | {"name": name, "version": 1, "code": None, "adapter": model["card"].get("adapter")}


def test_it_is_trained_from_a_config_tuned_by_adapters_and_given_back_to_the_library(
    platform: Platform, store: Store, run_order: RunOrder, text: str, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    params = CONTEXT | {
        "vocabulary": 300,
        "learning_rate": 1e-2,
        "architecture": SIZES["llama"] | {"model_type": "llama"},
    }
    data = {"data": {"source": text}, "folders": [str(Path(text).parent)], "recipe": "hf-causal-lm"}
    plain = published(run_order(platform.url, params=params, budget={"steps": 40}, **data), platform, "plain")
    longer = {"context_length": 40}
    more = {"params": longer, "budget": {"steps": 3}, "base": plain, "lora": {"rank": 2, "alpha": 4.0, "targets": None}}
    tuned = published(run_order(platform.url, job_id="j_t", **data, **more), platform, "tuned")

    found = plain["metrics"]
    assert found["validation_bits_per_byte"] < 0.9 * found["validation_unigram_bits_per_byte"]
    assert tuned["card"]["adapter"]["base"] == plain["digest"]
    sizes = [store.measure(f"{m['key']}/model.safetensors").size for m in (plain, tuned)]
    assert sizes[1] < sizes[0] / 2
    for model in (plain, tuned):
        place = tmp_path / model["name"]
        place.mkdir()
        draws = models.load(store, model, place).sampler
        network: Any = draws.modules["net"]
        assert network.model.config.max_position_embeddings == model["config"]["context_length"]
        folder = Path(store.uri(model["key"]).removeprefix("file://"))
        to_huggingface(folder, tmp_path / f"{model['name']}-hf")
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / f"{model['name']}-hf").eval()
        read = AutoTokenizer.from_pretrained(tmp_path / f"{model['name']}-hf")("the cat", return_tensors="pt")
        ours = draws.draw([1], [{"prompt": "the cat", "temperature": 0, "max_new_tokens": 12}])[0].tobytes().decode()
        made = theirs.generate(**read, do_sample=False, max_new_tokens=12)[0, read.input_ids.shape[1] :]
        told = AutoTokenizer.from_pretrained(tmp_path / f"{model['name']}-hf").decode(made, skip_special_tokens=True)
        assert told == ours
        recipe, modules = started(tmp_path / f"{model['name']}-hf")
        state = models.served_state(recipe, modules)
        assert all(torch.equal(state[k], t) for k, t in models.served_state(recipe, draws.modules).items())


def test_adapters_on_a_directory_are_published_as_a_whole_model(
    platform: Platform, store: Store, run_order: RunOrder, text: str, tmp_path: Path, tokenizer: bytes
) -> None:
    saved(tmp_path / "tiny", "gpt2", tokenizer)
    data = {"data": {"source": text}, "folders": [str(tmp_path), str(Path(text).parent)], "recipe": "hf-causal-lm"}
    params = CONTEXT | {"pretrained": str(tmp_path / "tiny")}
    lora = {"rank": 2, "alpha": 4.0, "targets": ["c_attn", "c_proj"]}

    order = run_order(platform.url, params=params, budget={"steps": 3}, lora=lora, **data)
    model = published(order, platform, "tuned")

    assert "Adapters of" in platform.logs
    assert model["adapter"] is None
    assert str(tmp_path) not in json.dumps(model["config"])
    kept = load_file(Path(store.uri(model["key"]).removeprefix("file://")) / "model.safetensors")
    before = load_file(tmp_path / "tiny" / "model.safetensors")
    same = {name for name, tensor in before.items() if torch.equal(kept[f"net.model.{name}"], tensor)}
    assert {name for name in before if name not in same} == {
        name for name in before if name.endswith(("c_attn.weight", "c_proj.weight"))
    }
    (tmp_path / "load").mkdir()
    assert len(models.load(store, model, tmp_path / "load").sampler.draw([1, 2])) == 2


def test_weights_in_several_files_are_read_as_one(tmp_path: Path, tokenizer: bytes) -> None:
    folder = tmp_path / "tiny"
    saved(folder, "llama", tokenizer)
    whole = started(folder)[1]
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, some in parts.items():
        save_file({name: tensors[name] for name in some}, folder / file)
    index = {"weight_map": {name: file for file, some in parts.items() for name in some}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()

    again = started(folder)[1]

    state = whole.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in again.state_dict().items())
