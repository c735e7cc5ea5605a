"""What the engine expects of a recipe, checked on one: `python -P -m genworkers.conformance TARGET [PARAMS]`.

TARGET is an installed recipe's name, a Python file (FILE.py or FILE.py:Class), or module:Class, of a file below the
folder that one stands in or of an installed package. One JSON object a check goes to standard output. What is checked
is code, and runs as whoever asks, in this process and in no other.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from safetensors.torch import load_file
from torch import Tensor, nn

from genworkers import models, private_imports
from genworkers.data import digits
from genworkers.data.blocks import learnable
from genworkers.data.dataset import Dataset, split
from genworkers.data.sources import open_source
from genworkers.images import payload_sha256
from genworkers.recipes import registry
from genworkers.recipes.base import IMAGE, TEXT, FirstStage, Recipe, RecipeConfig
from genworkers.recipes.given import PictureCondition
from genworkers.sampler import Sampler
from genworkers.training import checkpoint
from genworkers.training.evaluation import evaluate
from genworkers.training.loop import facts_of
from genworkers.training.start import Start
from genworkers.training.state import EngineStep, TrainState

SOURCES = {IMAGE: "digits", TEXT: "topics"}
STEPS = 8
ROWS = 32  # of one step here; few, so that a check takes seconds
SEED = 11


class NotAsExpected(Exception):
    """What a check found, and what is expected instead."""


def expect(holds: bool, message: str) -> None:
    """Raise NotAsExpected with `message` unless `holds`."""
    if not holds:
        raise NotAsExpected(message)


def find(target: str) -> type[Recipe[Any]]:
    """Return the recipe that a TARGET means; raises NotAsExpected."""
    where, _, name = target.rpartition(":") if ":" in target else (target, "", "")
    if where.endswith(".py"):
        module = _of_file(Path(where))
    elif name and (beside := Path(where.replace(".", "/") + ".py")).is_file():
        module = _of_file(beside)
    elif name:
        module = importlib.import_module(where)
    else:
        return registry.find(target)
    found = [
        value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Recipe)
        and (key == name if name else value.__module__ == module.__name__)
    ]
    expect(bool(found), f"{where} has no recipe {name or 'of its own'}: a subclass of genworkers.recipes.base.Recipe.")
    expect(len(found) == 1, f"{where} has {len(found)} recipes: say which, as in {where}:{found[0].__name__}.")
    return found[0]


def _of_file(path: Path) -> Any:
    expect(path.is_file(), f"There is no file {path}.")
    path = path.resolve()
    root, module = path.parent, path.stem
    while (root / "__init__.py").exists():
        root, module = root.parent, f"{root.name}.{module}"
    # As a Run does it: under a name of its own, so that no other module, here or installed, can be taken for it.
    package = f"genctl_code_{hashlib.sha256(bytes(path) + path.read_bytes()).hexdigest()[:32]}"
    private_imports.add(package, root, module)
    return importlib.import_module(f"{package}.{module}")


@dataclass
class Suite:
    """The checks of one recipe with these params, on the built-in digits or topics."""

    recipe: type[Recipe[Any]]
    params: Mapping[str, Any]

    @cached_property
    def source(self) -> Dataset:
        """The data."""
        expect(
            self.recipe.modality in SOURCES,
            f"There is no built-in {self.recipe.modality} data to check it on; recipes of {', '.join(SOURCES)} data "
            "can be checked.",
        )
        return digits.outlines() if self._of_pairs else open_source({"source": SOURCES[self.recipe.modality]})

    @cached_property
    def dataset(self) -> Dataset:
        """What is learned from."""
        return learnable(self.made, self.source, split(self.source)[0])[0]

    @property
    def _of_pairs(self) -> bool:
        return self.recipe.cond_schema is not None and issubclass(self.recipe.cond_schema, PictureCondition)

    @cached_property
    def made(self) -> Recipe[Any]:
        """The recipe with its params, fitted to the data and its first stage, and prepared."""
        made = self.recipe.configured(self.params, facts_of(self.source), self.first_stage)
        learnable(made, self.source, split(self.source)[0])
        expect(
            set(made.assets) == set(made.asset_names),
            f"prepare() gave {', '.join(sorted(made.assets)) or 'nothing'}, and asset_names says otherwise.",
        )
        return made

    def again(self) -> Recipe[Any]:
        """Return the recipe made anew of what is kept of it."""
        again = self.recipe.configured(self.made.config.model_dump(mode="json"))
        again.assets = dict(self.made.assets)
        return again

    @cached_property
    def first_stage(self) -> FirstStage | None:
        """A model to build on, of the recipe that there must be one of: with its defaults, and not trained."""
        if self.recipe.first_stage is None:
            return None
        first = registry.find(self.recipe.first_stage).configured({}, facts_of(self.source))
        return FirstStage("0" * 64, first, models.served(first, TrainState.fresh(first, SEED).modules))

    @cached_property
    def trained(self) -> TrainState:
        """The state after a few steps."""
        return self._train(TrainState.fresh(self.made, SEED), STEPS)

    def means(self, steps: int) -> dict[str, float]:
        """Return the means of what so many steps say, from the start."""
        return self._train(TrainState.fresh(self.made, SEED), steps).window.take()

    def checks(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Return each check by its name; it returns what it saw, or raises."""
        yield "config", self.config
        yield "build", self.build
        if self.recipe.trainable:
            yield "steps", self.steps
            yield "resume", self.resume
            yield "evaluate", self.evaluate
            yield "publish", self.publish
            yield "base", self.base
        yield "tiles", self.tiles
        yield "seeds", self.seeds
        yield "conditions", self.conditions
        yield "encode", self.encode

    def config(self) -> str:
        """The schema is one, says what each field means, and its defaults are good."""
        expect(issubclass(self.recipe.Config, RecipeConfig), "Config is not a subclass of RecipeConfig.")
        expect(bool(self.recipe.name and self.recipe.summary), "The recipe has no name or no summary.")
        schema = self.recipe.Config.model_json_schema()
        Draft202012Validator.check_schema(schema)
        fields = schema.get("properties", {})
        silent = [name for name, field in fields.items() if not field.get("description")]
        expect(not silent, f"Without a description: {', '.join(silent)}. Give Field(description=...).")
        expect(not schema.get("required"), f"Without a default: {', '.join(schema.get('required', ()))}.")
        self.recipe.Config()
        return f"{len(fields)} fields"

    def build(self) -> str:
        """The networks are the same whenever the seed is, and the optimizers move some of them."""
        one, other = TrainState.fresh(self.made, SEED), TrainState.fresh(self.made, SEED)
        _expect_equal(one.modules.state_dict(), other.modules.state_dict(), "build() made from the same seed twice")
        if self.recipe.trainable:
            expect(bool(one.optimizers), "optimizers() returns none, so nothing learns.")
        return f"{sum(p.numel() for p in one.modules.parameters()):,} parameters"

    def steps(self) -> str:
        """Steps return finite tensors, and move the weights."""
        before = TrainState.fresh(self.made, SEED).modules.state_dict()
        after = self.trained.modules.state_dict()
        expect(any(not torch.equal(before[n], after[n]) for n in before), f"{STEPS} steps moved no weight.")
        means = self.trained.window
        expect(bool(means.sums), "step() returns no scalars to watch.")
        odd = [name for name, total in means.sums.items() if not torch.isfinite(total).all()]
        expect(not odd, f"Not finite after {STEPS} steps: {', '.join(odd)}.")
        return ", ".join(f"{name} {(total / means.count).item():.4g}" for name, total in means.sums.items())

    def resume(self) -> str:
        """A run stopped anywhere goes on, in fresh objects, to the same bits."""
        stop = random.Random(SEED).randrange(1, STEPS)
        state = self._train(TrainState.fresh(self.made, SEED), stop)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "checkpoint"
            digest = checkpoint.write(state, folder, {}, self.made.assets)
            torch.randn(7)  # whatever else draws in between
            again = checkpoint.read(folder, digest, self.recipe(self.made.config), {})
        again = self._train(again, STEPS)
        _expect_equal(_all_of(self.trained), _all_of(again), f"a run stopped at step {stop} and one that was not")
        return f"stopped at step {stop} of {STEPS}: equal to the bit"

    def evaluate(self) -> str:
        """Metrics on unseen rows are finite, the same each time, and leave the weights as they are."""
        before = {name: tensor.clone() for name, tensor in _all_of(self.trained).items()}
        rows = torch.arange(ROWS)
        one, other = (evaluate(self.made, self.trained, self.dataset, rows, SEED) for _ in range(2))
        _expect_equal(before, _all_of(self.trained), "the state before evaluate() and after")
        expect(one == other, f"The same evaluation gave {one} and then {other}.")
        odd = [name for name, value in one.items() if not math.isfinite(value)]
        expect(not odd, f"Not finite: {', '.join(odd)}.")
        return ", ".join(f"{name} {value:.4g}" for name, value in one.items()) or "no metrics of its own"

    def publish(self) -> str:
        """What serve_modules names is published, and draws the same when it is loaded again."""
        expect(bool(self.made.serve_modules), "serve_modules is empty: nothing would be published.")
        unknown = sorted(set(self.made.serve_modules) - set(self.trained.modules))
        expect(not unknown, f"serve_modules names {', '.join(unknown)}, which build() does not make.")
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "weights.safetensors"
            models.write_weights(self.made, self.trained.modules, path)
            again = self.again()
            loaded = models.served(again, again.build())
            loaded.load_state_dict(load_file(path))
            size = path.stat().st_size
        seeds = list(range(4))
        drawn = Sampler(again, loaded, again.tile).draw(seeds)
        _expect_same_items(self._sampler().draw(seeds), drawn, "the trained model and the published one")
        return f"{', '.join(self.made.serve_modules)}: {size:,} bytes"

    def base(self) -> str:
        """A training that starts from a published version has it in what learns."""
        fresh = TrainState.fresh(self.made, SEED).modules
        published = FirstStage("0" * 64, self.made, models.part_served(self.made, fresh))
        start, again = Start(published), self.again()
        modules = start.networks(again)
        for name, network in published.modules.items():
            _expect_equal(network.state_dict(), modules[name].state_dict(), f"{name} as published, and started from")
        return " ".join(start.told(again, modules)) or "all that learns goes on from it"

    def tiles(self) -> str:
        """Row i of a sample is the same whatever it is drawn with, and in which order."""
        draws = self._sampler()
        seeds = [random.Random(SEED).getrandbits(63) for _ in range(draws.tile + 3)]
        whole = draws.draw(seeds)
        _expect_same_items(whole, draws.draw(seeds[::-1])[::-1], "items drawn in one order and in another")
        _expect_same_items(whole[:3], draws.draw(seeds[:3]), "items drawn with many others and with few")
        _expect_same_items(whole[-1:], draws.draw(seeds[-1:]), "an item drawn with others and alone")
        torch.manual_seed(5)
        _expect_same_items(whole[:3], draws.draw(seeds[:3]), "items drawn after other randomness")
        return f"tiles of {draws.tile}: equal to the bit in any order and company"

    def seeds(self) -> str:
        """Other seeds make other items, also where only their high bits differ."""
        seeds = [5, 5 + 2**32, 5 + 2**62, 6]
        out = self._raw(seeds)
        made = {out[row].cpu().numpy().tobytes() for row in range(len(seeds))}
        expect(len(made) == len(seeds), f"{len(seeds)} seeds made only {len(made)} different items.")
        return f"{len(seeds)} seeds, {len(made)} items"

    def conditions(self) -> str:
        """Every field of a condition has a default, and asking for just anything works."""
        schema = self.made.conditions
        if schema is None:
            return "it takes none"
        fields = schema.model_json_schema(by_alias=True)
        Draft202012Validator.check_schema(fields)
        expect(not fields.get("required"), f"Without a default: {', '.join(fields.get('required', ()))}.")
        draws = self._sampler()
        _expect_same_items(draws.draw([1, 2]), draws.draw([1, 2], [{}, None]), "items asked for with {} and with null")
        return ", ".join(fields.get("properties", {}))

    def encode(self) -> str:
        """Each format gives files: the same bytes each time, and what they are."""
        payload = self._sampler().draw([1])[0]
        expect(len(payload_sha256(payload)) == 64, "A payload is an array.")
        said = []
        for form in self.made.formats:
            one, other = (self.made.encode(payload, form, {"seed": 1}) for _ in range(2))
            expect(one == other, f"The same item gave two different {form} files.")
            expect(bool(one.data) and "/" in one.mime and one.extension.isalnum(), f"{form}: no bytes, type or ending.")
            said.append(f"{form} ({one.mime}, {len(one.data)} bytes)")
        return ", ".join(said)

    def _train(self, state: TrainState, until: int) -> TrainState:
        engine = EngineStep(state, SEED, rank=0)
        while state.step < until:
            engine.begin(state.step)
            rows = (torch.arange(ROWS) + state.step * ROWS) % len(self.dataset)
            values = self.made.step(self.dataset.rows(rows), engine)
            numbers = [name for name, value in values.items() if not isinstance(value, Tensor)]
            expect(not numbers, f"step() returns numbers, not tensors: {', '.join(numbers)}.")
            state.window.add(values)
            state.step += 1
        return state

    def _modules(self) -> nn.ModuleDict:
        modules = self.trained.modules if self.recipe.trainable else TrainState.fresh(self.made, SEED).modules
        return models.served(self.made, modules)

    def _sampler(self) -> Sampler:
        return Sampler(self.made, self._modules(), self.made.tile)

    @torch.inference_mode()
    def _raw(self, seeds: list[int]) -> Tensor:
        draws = self._sampler()
        condition = draws.condition(None)
        wishes = None if condition is None else [condition] * len(seeds)
        return self.made.sample(draws.modules, torch.tensor(seeds), wishes)


def _all_of(state: TrainState) -> dict[str, Tensor]:
    """Return every tensor of a training state by name."""
    tensors = dict(state.modules.state_dict())
    for name, optimizer in state.optimizers.items():
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer {name}/{index}/{key}": value for key, value in values.items()}
    return tensors | {f"mean of {name}": total for name, total in state.window.sums.items()}


def _expect_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor], what: str) -> None:
    expect(one.keys() == other.keys(), f"Not of the same tensors: {what}.")
    different = [name for name in one if not torch.equal(one[name], other[name])]
    expect(not different, f"{len(different)} tensors differ, {', '.join(different[:3])} among them: {what}.")


def _expect_same_items(one: list[Any], other: list[Any], what: str) -> None:
    different = sum(payload_sha256(a) != payload_sha256(b) for a, b in zip(one, other, strict=True))
    expect(not different, f"{different} of {len(one)} items differ: {what}.")


def results(target: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Run every check; yield `{check, ok, message}` as each ends."""
    try:
        recipe = find(target)
    except (Exception, SystemExit) as error:
        yield {"check": "import", "ok": False, "message": _told(error)}
        return
    yield {"check": "import", "ok": True, "message": f"{recipe.__name__} ({recipe.modality})"}
    for name, check in Suite(recipe, params).checks():
        try:
            yield {"check": name, "ok": True, "message": check()}
        except (Exception, SystemExit) as error:  # the recipe is another's code: whatever it raises is what was found
            yield {"check": name, "ok": False, "message": _told(error)}


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, NotAsExpected) else f"{type(error).__name__}: {error}"


def main(arguments: list[str]) -> int:
    """Check the recipe, a line of JSON a check; return 1 when one of them failed."""
    torch.set_num_threads(1)
    target, params = arguments[0], json.loads(arguments[1]) if len(arguments) > 1 else {}
    failed = False
    for result in results(target, params):
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
        failed |= not result["ok"]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
