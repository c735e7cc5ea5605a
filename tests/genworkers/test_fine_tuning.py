"""Going on from a published model, whole or by adapters: what learns, what stays to the bit, what is published."""

from __future__ import annotations

import copy
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from genplatform.errors import BadRequest
from genplatform.store import Store
from genworkers import adapters, models
from genworkers.adapters import Lora
from genworkers.data.blocks import learnable
from genworkers.data.dataset import Order, split
from genworkers.data.sources import open_source
from genworkers.models import FirstStage
from genworkers.recipes import registry
from genworkers.recipes.base import DataFacts, ItemShape
from genworkers.sampler import Sampler
from genworkers.training import checkpoint
from genworkers.training.actor import RunActor
from genworkers.training.evaluation import evaluate
from genworkers.training.loop import facts_of
from genworkers.training.start import Start
from genworkers.training.state import EngineStep, TrainState

Platform = Any  # conftest.FakePlatform, which an importlib-mode test cannot import
RunOrder = Callable[..., dict[str, Any]]

FLOW = {"width_of_network": 8, "levels": 1, "sampling_steps": 1, "batch_size": 16, "ema_decay": 0.8}
GPT = {"width": 32, "layers": 2, "heads": 1, "context_length": 32, "vocabulary": 300, "batch_size": 16}
WORDS = {"plain": "the cat sat on a mat and saw one red hat", "loud": "vex jumpy waltz nymph quilt zebra fjord"}


def texts(folder: Path, which: str) -> str:
    """Write short documents of a few words; return the file's path."""
    chance, words = random.Random(which), WORDS[which].split()
    lines = [" ".join(chance.choices(words, k=12)) for _ in range(150)]
    path = folder / f"{which}.txt"
    path.write_text("\n\n".join(lines), encoding="utf-8")
    return str(path)


class Data:
    """What a recipe learns from in this process."""

    def __init__(self, source: dict[str, Any], folder: Path) -> None:
        self.dataset = open_source(source, [str(folder)])
        self.parts = split(self.dataset)[0]

    def configured(self, name: str, params: dict[str, Any], base: FirstStage | None = None) -> Any:
        recipe = registry.find(name).configured(params, facts_of(self.dataset), base=base)
        self.rows, self.cut = learnable(recipe, self.dataset, self.parts)
        return recipe


Learnt = tuple[Any, TrainState]


def train(recipe: Any, data: Data, state: TrainState, until: int) -> TrainState:
    order, engine = Order(data.cut["train"], recipe.batch_size, 0), EngineStep(state, 0, 0)
    while state.step < until:
        engine.begin(state.step)
        recipe.step(data.rows.rows(order.batch(state.step)), engine)
        state.step += 1
    return state


def validation(recipe: Any, data: Data, state: TrainState) -> float:
    return evaluate(recipe, state, data.rows, data.cut["validation"], 0)["validation_loss"]


def as_base(learnt: Learnt) -> FirstStage:
    recipe, state = learnt
    return FirstStage("b" * 64, recipe, copy.deepcopy(models.served(recipe, state.modules)))


class Case:
    """A family with a trained base, and other data to go on with."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        is_text = name == "gpt"
        first = {"source": texts(folder, "plain")} if is_text else {"source": "digits"}
        other = {"source": texts(folder, "loud")} if is_text else {"source": "digits", "augment": {"flip": True}}
        self.first, self.other = Data(first, folder), Data(other, folder)
        params = GPT | {"learning_rate": 1e-2} if is_text else FLOW
        recipe = self.first.configured(name, params)
        self.base = as_base((recipe, train(recipe, self.first, TrainState.fresh(recipe, 0), 40)))

    def start(self, lora: Lora | None = None, **params: Any) -> tuple[Any, Start]:
        return self.other.configured(self.name, params, self.base), Start(self.base, lora)


@pytest.fixture(scope="module", params=["gpt", "flow"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    torch.set_num_threads(1)
    return Case(request.param, tmp_path_factory.mktemp(request.param))


def same(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_training_that_goes_on_starts_with_the_bases_weights_its_average_and_its_tokens(case: Case) -> None:
    recipe, start = case.start(learning_rate=1e-4)
    state = TrainState.fresh(recipe, 7, start=start)

    for name in recipe.serve_modules:
        assert same(state.modules[name], case.base.modules[name])
        assert same(state.modules[recipe.averages.get(name, name)], case.base.modules[name])
    assert all(any(p.requires_grad for p in state.modules[n].parameters()) for n in state.modules if n != "ema")
    assert recipe.config.learning_rate == 1e-4
    assert recipe.config.model_dump(exclude={"learning_rate"}) == case.base.recipe.config.model_dump(
        exclude={"learning_rate"}
    )
    if case.name == "gpt":
        assert recipe.tokenizer == case.base.recipe.tokenizer
        assert recipe.assets["unigram.json"] != case.base.recipe.assets["unigram.json"]


def test_adapters_learn_the_new_data_while_every_weight_of_the_base_stays_to_the_bit(case: Case) -> None:
    recipe, start = case.start(Lora(rank=8, alpha=32.0), learning_rate=1e-2)
    state = TrainState.fresh(recipe, 1, start=start)
    before = validation(recipe, case.other, state)
    untouched = {name: state.modules.state_dict()[name].clone() for name in state.fixed}

    train(recipe, case.other, state, 20)

    after = validation(recipe, case.other, state)
    assert after < before * (0.97 if case.name == "gpt" else 1.0)
    now = state.modules.state_dict()
    assert untouched
    assert all(torch.equal(now[name], tensor) for name, tensor in untouched.items())
    moved = [key for key in now if adapters.is_adapter(key)]
    assert set(moved) | untouched.keys() == set(now)
    trained = {id(p) for o in state.optimizers.values() for group in o.param_groups for p in group["params"]}
    assert trained == {id(p) for name, p in state.modules.named_parameters() if "ema" not in name and ".lora_" in name}


def test_a_run_of_adapters_that_is_stopped_goes_on_to_the_same_bits_and_keeps_no_weight_of_the_base(
    case: Case, tmp_path: Path
) -> None:
    def fresh() -> tuple[Any, Start, TrainState]:
        recipe, start = case.start(Lora(rank=2))
        return recipe, start, TrainState.fresh(recipe, 3, start=start)

    recipe, start, whole = fresh()
    train(recipe, case.other, whole, 9)
    recipe, start, half = fresh()
    train(recipe, case.other, half, 4)
    digest = checkpoint.write(half, tmp_path / "checkpoint", start.about(), recipe.assets)

    again = checkpoint.read(tmp_path / "checkpoint", digest, recipe, start.about(), start=start)
    train(recipe, case.other, again, 9)

    assert same(whole.modules, again.modules)
    for name, optimizer in whole.optimizers.items():
        mine, theirs = optimizer.state_dict(), again.optimizers[name].state_dict()
        assert mine["param_groups"] == theirs["param_groups"]
        assert all(
            torch.equal(value, theirs["state"][index][key])
            for index, values in mine["state"].items()
            for key, value in values.items()
        )
    kept = checkpoint.load_file(tmp_path / "checkpoint" / checkpoint.MODULES)
    assert kept
    assert all(adapters.is_adapter(key) for key in kept)
    with pytest.raises(checkpoint.Damaged, match="belongs to other data"):
        checkpoint.read(tmp_path / "checkpoint", digest, recipe, Start(case.base).about(), start=start)


def test_merged_adapters_draw_what_the_networks_with_adapters_draw_and_leave_plain_networks(case: Case) -> None:
    recipe, start = case.start(Lora(rank=4, targets=("q_proj", "v_proj", "one.2", "said.1", "look")))
    state = train(recipe, case.other, TrainState.fresh(recipe, 1, start=start), 12)
    served = models.part_served(recipe, state.modules)
    kept = adapters.kept(models.served_state(recipe, state.modules))
    merged = nn.ModuleDict({name: copy.deepcopy(one) for name, one in case.base.modules.items()})

    adapters.merge(merged, kept, Lora(rank=4))

    assert merged.state_dict().keys() == case.base.modules.state_dict().keys()
    assert not same(merged, case.base.modules)
    if case.name == "gpt":
        tokens = torch.randint(0, 200, (4, 20))
        with torch.no_grad():
            assert torch.allclose(merged["net"](tokens), served["net"](tokens), atol=1e-4)
    else:
        x, times, labels = torch.randn(4, 1, 8, 8), torch.rand(4), torch.tensor([0, 1, 2, 3])
        with torch.no_grad():
            assert torch.allclose(merged["ema"](x, times, labels), served["ema"](x, times, labels), atol=1e-4)
    with pytest.raises(ValueError, match="are no adapters of its base"):
        adapters.merge(copy.deepcopy(case.base.modules), kept | {"net.odd.lora_A.weight": torch.zeros(1)}, Lora(4))


def test_classes_sizes_and_recipes_that_are_not_the_bases_are_refused_with_both_values(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    recipe: Any = registry.find("flow").configured(
        FLOW | {"levels": 2}, DataFacts(shape=ItemShape(8, 8, 1), classes=("a", "b"))
    )
    base = FirstStage("0" * 64, recipe, nn.ModuleDict())

    def configured(name: str, params: dict[str, Any], side: int = 8, classes: tuple[str, ...] = ("a", "b")) -> Any:
        data = DataFacts(shape=ItemShape(side, side, 1), classes=classes)
        return registry.find(name).configured(params, data, base=base)

    with pytest.raises(ValueError, match="The base is of the recipe flow, and the job's recipe is diffusion"):
        configured("diffusion", {})
    with pytest.raises(ValueError, match=r"params\.levels is 3, and the base has 2"):
        configured("flow", {"levels": 3})
    with pytest.raises(ValueError, match=r"params\.height is 8, but the data's pictures have 9"):
        configured("flow", {}, side=9)
    with pytest.raises(ValueError, match="names 2 classes, and the data has 3"):
        configured("flow", {}, classes=("a", "b", "c"))
    assert configured("flow", {"levels": 2, "guidance": 2.0}).config.guidance == 2.0


def test_layers_that_cannot_have_adapters_are_refused_and_never_chosen() -> None:
    def refused(network: nn.Module, lora: Lora) -> str:
        with pytest.raises(BadRequest) as caught:
            adapters.inject(nn.ModuleDict({"net": network}), "net", lora)
        return f"{caught.value.message} {caught.value.hint}"

    mixed = nn.Sequential(nn.Linear(4, 4), nn.Embedding(3, 4), nn.MultiheadAttention(4, 1))
    assert "targets 1. Its layers that can: 0" in refused(mixed, Lora(targets=("1",)))
    assert "targets 2.out_proj" in refused(mixed, Lora(targets=("2.out_proj",)))
    assert "BatchNorm" in refused(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), Lora())
    assert "InstanceNorm1d" in refused(
        nn.Sequential(nn.Linear(4, 4), nn.InstanceNorm1d(4, track_running_stats=True)), Lora()
    )
    tied = nn.ModuleDict({"read": nn.Embedding(5, 4), "score": nn.Linear(4, 5, bias=False)})
    tied["score"].weight = tied["read"].weight
    assert "Its layers that can: none" in refused(tied, Lora())


def test_adapters_without_a_base_or_a_network_to_be_on_are_refused_before_a_step() -> None:
    recipe: Any = registry.find("flow").configured(FLOW, DataFacts(shape=ItemShape(8, 8, 1)))
    base = FirstStage("b" * 64, recipe, models.served(recipe, recipe.build()))

    with pytest.raises(BadRequest, match="the job names none"):
        Start(None, Lora()).networks(recipe)
    recipe.averages = {}  # as a recipe of one's own that does not say what its average is of
    with pytest.raises(BadRequest, match=r"Nothing that a flow publishes \(ema\) learns") as caught:
        Start(base, Lora()).networks(recipe)
    assert "averages = {" in caught.value.hint


def test_buffers_beside_adapters_are_kept_and_one_that_moved_is_not_published() -> None:
    recipe: Any = registry.find("flow").configured(FLOW, DataFacts(shape=ItemShape(8, 8, 1)))
    modules = nn.ModuleDict({name: nn.Sequential(nn.Linear(2, 2)) for name in ("network", "ema")})
    for network in modules.values():
        network.register_buffer("seen", torch.zeros(1))
    recipe.build = lambda: copy.deepcopy(modules)
    start = Start(FirstStage("b" * 64, recipe, nn.ModuleDict({"ema": copy.deepcopy(modules["ema"])})), Lora(1))
    tuned = start.networks(recipe)

    start.refuse_moved(recipe, tuned)
    tuned["ema"].seen += 1

    assert {"network.seen", "ema.seen"} & start.fixed(recipe, tuned) == set()
    with pytest.raises(BadRequest, match=r"ema\.seen is a buffer and has moved"):
        start.refuse_moved(recipe, tuned)


def test_layers_that_are_called_as_adapters_are_publish_all_weights_and_their_own_adapters(tmp_path: Path) -> None:
    def network() -> nn.ModuleDict:
        torch.manual_seed(0)
        lora = nn.ModuleDict({"in": nn.Linear(2, 2)})
        return nn.ModuleDict({"ema": nn.ModuleDict({"lora_A": lora, "lora_in": nn.Linear(2, 2)})})

    recipe, plain, tuned = registry.find("flow")(registry.find("flow").Config()), network(), network()
    models.write_weights(recipe, plain, tmp_path / "whole")
    adapters.inject(tuned, "ema", Lora(2, targets=("lora_in",)))
    models.write_weights(recipe, tuned, tmp_path / "adapters", is_adapter=True)

    assert checkpoint.load_file(tmp_path / "whole").keys() == plain.state_dict().keys()
    kept = checkpoint.load_file(tmp_path / "adapters")
    assert kept.keys() == {"ema.lora_in.lora_A.weight", "ema.lora_in.lora_B.weight"}
    learning = {name for name, one in tuned.named_parameters() if one.requires_grad}
    assert learning == {name for name in tuned.state_dict() if "lora_in.lora_" in name}


def test_without_peft_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)

    with pytest.raises(ModuleNotFoundError, match=r"install genctl\[lora\] on the nodes"):
        adapters.inject(nn.ModuleDict({"net": nn.Linear(2, 2)}), "net", Lora())


def published(order: dict[str, Any], platform: Platform, name: str) -> dict[str, Any]:
    actor = RunActor(order)
    actor.start()
    assert actor.join() == "published"
    model: dict[str, Any] = platform.bodies("/publish")[-1]["model"]
    return model | {"name": name, "version": 1, "code": None, "adapter": model["card"].get("adapter")}


def drawn(store: Store, model: dict[str, Any], folder: Path) -> tuple[Sampler, list[bytes]]:
    folder.mkdir()
    sampler = models.load(store, model, folder).sampler
    return sampler, [payload.tobytes() for payload in sampler.draw([1, 2, 3])]


def test_a_version_of_adapters_is_small_names_its_base_and_is_drawn_from_merged(
    platform: Platform, store: Store, run_order: RunOrder, tmp_path: Path
) -> None:
    order = run_order(platform.url, recipe="flow", params=FLOW, budget={"steps": 4}, publish="plain")
    plain = published(order, platform, "plain")
    before = (store.read_bytes(f"{plain['key']}/model.safetensors"), drawn(store, plain, tmp_path / "plain")[1])
    more = {"learning_rate": 0.02}
    wanted = {"recipe": "flow", "params": more, "budget": {"steps": 4}, "base": plain, "seed": 1}

    whole = published(run_order(platform.url, job_id="j_w", **wanted), platform, "whole")
    lora = {"rank": 1, "alpha": 4.0, "targets": None}
    small = published(run_order(platform.url, job_id="j_l", lora=lora, **wanted), platform, "small")
    again = run_order(platform.url, job_id="j_m", lora=lora, **wanted | {"base": small})
    twice = published(again, platform, "twice")

    assert small["card"]["adapter"] == {"base": plain["digest"], **lora}
    assert small["card"]["base"] == whole["card"]["base"] == {"model": "plain@1", "digest": plain["digest"]}
    assert whole["config"] == plain["config"] | more
    assert "Adapters of" in platform.logs
    sizes = {m["name"]: store.measure(f"{m['key']}/model.safetensors").size for m in (plain, whole, small)}
    assert sizes["whole"] == sizes["plain"] > 1.5 * sizes["small"]
    items = {m["name"]: drawn(store, m, tmp_path / m["name"])[1] for m in (whole, small, twice)}
    assert len({tuple(before[1]), *map(tuple, items.values())}) == 4
    assert (store.read_bytes(f"{plain['key']}/model.safetensors"), drawn(store, plain, tmp_path / "p")[1]) == before
    other = small | {"adapter": small["adapter"] | {"base": whole["digest"]}}
    with pytest.raises(BadRequest, match="is not what was published"):
        drawn(store, other, tmp_path / "other")
    store.remove(plain["key"])
    with pytest.raises(BadRequest, match="whose files are not in the store any more"):
        drawn(store, small, tmp_path / "gone")


def test_a_gan_that_goes_on_says_what_its_base_was_published_without(
    platform: Platform, store: Store, run_order: RunOrder
) -> None:
    gan = published(run_order(platform.url, budget={"steps": 3}), platform, "dense")

    more = published(run_order(platform.url, job_id="j_m", params={}, budget={"steps": 3}, base=gan), platform, "more")

    assert "The base was published without discriminator: what they know begins anew." in platform.logs
    assert more["config"] == gan["config"]
    refused = RunActor(run_order(platform.url, job_id="j_r", params={}, base=gan, lora={"rank": 2, "alpha": 2.0}))
    refused.start()
    refused.join()
    (said,) = platform.bodies("/failed")
    assert "A gan cannot be tuned by adapters" in json.dumps(said)
