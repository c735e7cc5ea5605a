"""A language model: its tokens, how its texts grow, what it learns, and what is kept and read of it."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genplatform.domain.seeds import item_seed
from genplatform.errors import BadRequest, Conflict
from genplatform.store import Store
from genworkers import models
from genworkers.context import SavedCheckpoint
from genworkers.data.blocks import learnable
from genworkers.data.dataset import Order, split
from genworkers.data.sources import open_source
from genworkers.data.text import Collecting, Documents
from genworkers.generating.shard import write_shard
from genworkers.huggingface import to_huggingface
from genworkers.recipes import bpe
from genworkers.recipes.decoding import choose
from genworkers.recipes.gpt import Gpt
from genworkers.sampler import Sampler
from genworkers.training.evaluation import evaluate
from genworkers.training.loop import Trained, TrainJob, train
from genworkers.training.publish import publish_model
from genworkers.training.state import EngineStep, TrainState
from genworkers.warming import Nobody

SMALL: dict[str, Any] = {"width": 32, "layers": 2, "heads": 2, "kv_heads": 1, "context_length": 48, "vocabulary": 320}
TEXTS = [
    "The cat sat on the mat.",
    "A dog, a log: und ein Frosch!\n",
    "道可道，非常道。",
    "<|endoftext|> is text",
    "🙂 e\u0301",
]


@cache
def few() -> Documents:
    """The beginnings of some topics: quickly made tokens of."""
    topics, collecting = open_source({"source": "topics"}), Collecting("few", 0)
    assert isinstance(topics, Documents)
    for text in topics.texts(range(30)):
        collecting.add(text[:2000])
    return collecting.made()


@cache
def untrained() -> tuple[Gpt, Any]:
    """A small model as it is before it learned anything: its scores are nearly even."""
    recipe = Gpt.configured(SMALL)
    learnable(recipe, few(), split(few())[0])
    return recipe, TrainState.fresh(recipe, 1).modules


def sampler(tile: int = 4) -> Sampler:
    recipe, modules = untrained()
    return Sampler(recipe, models.part_served(recipe, modules), tile)


def text_of(payload: np.ndarray[Any, Any]) -> str:
    return payload.tobytes().decode()


def test_every_text_comes_back_from_its_tokens_and_none_is_taken_for_the_end() -> None:
    learned = bpe.learn(TEXTS[:2], 280)
    tokenizer, pieces = bpe.read(learned), bpe.pieces(learned)

    for text in TEXTS:
        tokens = bpe.tokens_of(tokenizer, text)
        assert b"".join(pieces[token] for token in tokens).decode() == text
        assert bpe.END_TOKEN not in tokens
    assert len(pieces) == len(set(pieces)) == tokenizer.get_vocab_size() <= 280
    assert bpe.learn(TEXTS[:2], 280) == learned


def test_a_long_text_has_the_tokens_it_would_have_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = bpe.read(bpe.learn(TEXTS[:2], 400))
    text = "\n\n".join(TEXTS) + " \n  x\r\n\ty \n\nz\n"
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    given: list[str] = []
    encode = tokenizer.encode
    monkeypatch.setattr(bpe, "_PIECE", 40)

    class Watched:
        def encode(self, piece: str, **how: bool) -> Any:
            given.append(piece)
            return encode(piece, **how)

    tokens = bpe.tokens_of(Watched(), text)  # type: ignore[arg-type]

    assert tokens.tolist() == whole
    assert len(given) == 3


def test_rows_of_tokens_tell_the_commit_that_their_texts_were_read_at() -> None:
    documents = few()
    documents.revision = "abc"

    blocks, _ = learnable(Gpt.configured(SMALL), documents, {"train": torch.arange(2), "test": torch.arange(2, 3)})

    assert blocks.revision == "abc"


def test_tokens_are_learned_from_the_training_part_alone() -> None:
    collecting = Collecting("x", 0)
    for text in ["aaaa aaaa aaaa", "zzzz zzzz zzzz zzzz"]:
        collecting.add(text)
    recipe = Gpt.configured(SMALL)

    learnable(recipe, collecting.made(), {"train": torch.tensor([0]), "test": torch.tensor([1])})

    assert b"aaaa" in recipe.pieces
    assert b"zz" not in recipe.pieces
    assert json.loads(recipe.assets["unigram.json"])[recipe.pieces.index(b"z")] == 0


def test_each_token_of_a_part_is_predicted_once_and_by_that_part_alone() -> None:
    collecting = Collecting("x", 0)
    for number in range(40):
        collecting.add(f"document {number} says {'so ' * number}")
    documents = collecting.made()
    parts, _ = split(documents)
    recipe = Gpt.configured(SMALL | {"context_length": 7})

    blocks, cut = learnable(recipe, documents, parts)

    assert sorted(torch.cat(list(cut.values())).tolist()) == list(range(len(blocks)))
    for name, part in parts.items():
        rows = blocks.rows(cut[name])["x"]
        predicted = rows[:, 1:][rows[:, 1:] >= 0].tolist()
        assert rows.shape[1] == 8
        assert rows[1:, 0].tolist() == rows[:-1, -1].tolist()
        read = b"".join(recipe.pieces[token] or b"\0" for token in predicted).decode()
        assert read == "".join(f"{text}\0" for text in documents.texts(sorted(part.tolist())))


def test_a_text_is_the_same_whatever_grows_beside_it() -> None:
    draws = sampler()
    seeds = [item_seed(3, i) for i in range(11)]
    wishes: list[dict[str, Any]] = [
        {"prompt": "The " * (i % 3 * 4), "max_new_tokens": 3 + i, "temperature": i % 4 / 2, "top_k": 50 * (i % 2)}
        for i in range(11)
    ]
    whole = draws.draw(seeds, wishes)

    alone = [draws.draw([seed], [wish])[0] for seed, wish in zip(seeds, wishes, strict=True)]
    backwards = draws.draw(seeds[::-1], wishes[::-1])[::-1]
    recipe, modules = untrained()
    as_tile = recipe.payloads(
        recipe.sample(modules, torch.tensor(seeds[4:8]), [draws.condition(wish) for wish in wishes[4:8]])
    )

    assert len({text.tobytes() for text in whole}) == 11
    for other in (alone, backwards):
        assert [text_of(a) for a in whole] == [text_of(b) for b in other]
    assert [text_of(a) for a in whole[4:8]] == [text_of(b) for b in as_tile]


def test_the_scores_are_bit_equal_in_every_slot_beside_anything_and_close_to_those_of_a_whole_row() -> None:
    net = untrained()[1]["net"]
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(0, 300, (16, 20), generator=generator)

    def grown(order: list[int]) -> torch.Tensor:
        store = net.cache(16, 40)
        steps = [net.extend(tokens[order, at : at + 1], store, torch.full((16,), at)) for at in range(20)]
        return torch.cat(steps, 1)[torch.tensor(order).argsort()]

    with torch.inference_mode():
        straight = grown(list(range(16)))
        turned = grown([*range(5, 16), *range(5)])
        whole = net(tokens)

    assert torch.equal(straight, turned)
    assert (straight - whole).abs().max() < 1e-4


def test_each_position_draws_by_a_number_of_its_own() -> None:
    seeds = torch.tensor([item_seed(9, i) for i in range(64)])
    recipe, modules = untrained()
    wish = sampler().condition({"max_new_tokens": 3})
    slots = recipe.slots(modules, 64)
    for slot, seed in enumerate(seeds.tolist()):
        slots.prefill(slot, recipe.beginning(seed, wish))
    with torch.inference_mode():
        first, second, third = ([grown.piece for grown in slots.decode_step()] for _ in range(3))

    assert min(len(set(step)) for step in (first, second, third)) > 45, "64 draws of 320 nearly even tokens"
    assert sum(a == b for a, b in zip(first, second, strict=False)) < 8
    assert sum(a == b for a, b in zip(second, third, strict=False)) < 8


def test_choosing_follows_the_shares_and_the_wishes() -> None:
    scores = torch.tensor([[1.0, 3.0, 2.0, 0.0]]).repeat(2000, 1)
    chance = (torch.arange(2000) + 0.5) / 2000
    ones = torch.ones(2000, dtype=torch.float64)

    def shares(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> list[float]:
        chosen = choose(scores, chance, ones * temperature, torch.full((2000,), top_k), ones * top_p)
        return [(chosen == token).double().mean().item() for token in range(4)]

    wanted = scores[0].double().softmax(-1).tolist()
    assert shares() == pytest.approx(wanted, abs=1e-3)
    assert shares(temperature=2.0) == pytest.approx((scores[0].double() / 2).softmax(-1).tolist(), abs=1e-3)
    assert shares(temperature=0) == [0, 1, 0, 0]
    assert shares(top_k=1) == [0, 1, 0, 0]
    assert shares(top_k=2) == pytest.approx([0, 0.731, 0.269, 0], abs=1e-3)
    assert shares(top_p=0.01) == [0, 1, 0, 0]
    assert shares(top_p=0.7) == pytest.approx([0, 0.731, 0.269, 0], abs=1e-3)


def test_a_text_ends_before_what_stops_it_and_echoes_its_prompt_on_wish() -> None:
    draws = sampler()
    free = text_of(draws.draw([5], [{"prompt": "The", "max_new_tokens": 40}])[0])
    stop = next(letter for letter in free[8:] if letter.isalpha() and letter.isascii())

    cut, echoed = draws.draw(
        [5, 5],
        [{"prompt": "The", "max_new_tokens": 40, "stop": stop}, {"prompt": "The", "echo": True, "max_new_tokens": 40}],
    )

    assert text_of(cut) == free[: free.index(stop)]
    told = [one for _, one in draws.told([5, 5], [{"prompt": "The", "max_new_tokens": 40, "stop": stop}, {}])]
    prompt = bpe.tokens_of(bpe.read(untrained()[0].tokenizer), "The")
    assert (told[0]["finish_reason"], told[0]["prompt_tokens"]) == ("stop", 1 + len(prompt))
    assert told[1]["completion_tokens"] <= 47
    assert text_of(echoed) == "The" + free


def test_bytes_that_are_no_character_are_replaced() -> None:
    recipe, _ = untrained()

    assert [text_of(p) for p in recipe.payloads(torch.tensor([[0xC3, 0x28, -1], [0xE9, 0x81, 0x93]]))] == [
        "\ufffd(",
        "道",
    ]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"prompt": "The cat " * 40}, "the model sees 48 at once"),
        ({"prompt": "The", "max_new_tokens": 47}, "the model sees 48 at once"),
        ({"max_new_tokens": 48}, r"cond\.max_new_tokens"),
        ({"temperature": -1}, r"cond\.temperature"),
        ({"stop": ["a", ""]}, "would stop before anything"),
        ({"promt": "The"}, r"cond\.promt"),
    ],
)
def test_a_wish_without_room_or_sense_is_refused(wish: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        sampler().draw([1], [wish])


class Kept(Nobody):
    """A RunContext that keeps checkpoints and sheets in a folder, and stops when it is told to."""

    def __init__(self, folder: Path, stop_after: int | None = None) -> None:
        self.folder, self.stop_after = folder, stop_after
        self.saved: list[SavedCheckpoint] = []
        self.sheets: list[tuple[bytes, str]] = []
        self.points: dict[str, float] = {}
        self.events: list[str] = []
        folder.mkdir(exist_ok=True)

    def save(self, folder: Path, sha256: str, step: int) -> None:
        shutil.copytree(folder, self.folder / str(step), dirs_exist_ok=True)
        self.saved.insert(0, SavedCheckpoint(str(self.folder / str(step)), sha256, step))
        if self.stop_after is not None and step >= self.stop_after:
            raise KeyboardInterrupt

    def fetch(self, saved: SavedCheckpoint, folder: Path) -> None:
        shutil.copytree(saved.key, folder)

    def checkpoints(self) -> Sequence[SavedCheckpoint]:
        return tuple(self.saved)

    def sheet(self, data: bytes, step: int, extension: str) -> None:
        self.sheets.append((data, extension))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.points |= values

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        self.events.append(kind)


def run(ctx: Kept, steps: int = 12) -> Trained:
    path = ctx.folder / "few.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in few().texts()))
    params, data, often = SMALL | {"batch_size": 8}, {"source": str(path)}, {"sheet_every": 6, "evaluate_every": 12}
    job = TrainJob("gpt", params, data, None, steps, checkpoint_every=5, **often, folders=[str(ctx.folder)])
    return train(job, ctx, clock=lambda: 0.0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Kept]:
    torch.set_num_threads(1)
    ctx = Kept(tmp_path_factory.mktemp("whole"))
    return run(ctx), ctx


def test_a_run_that_was_killed_goes_on_with_the_tokenizer_that_its_checkpoint_keeps(
    trained: tuple[Trained, Kept], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = trained
    ctx = Kept(tmp_path / "saved", stop_after=5)
    with pytest.raises(KeyboardInterrupt):
        run(ctx)
    ctx.stop_after = None
    learned: list[int] = []
    monkeypatch.setattr(bpe, "learn", lambda *_: learned.append(1))

    again = run(ctx)

    assert ("resumed" in ctx.events, learned) == (True, [])
    assert again.recipe.assets == whole.recipe.assets
    one, other = whole.state.modules.state_dict(), again.state.modules.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert again.state.metrics == whole.state.metrics


def test_a_checkpoint_whose_tokenizer_was_changed_is_damaged(tmp_path: Path) -> None:
    ctx = Kept(tmp_path / "saved", stop_after=5)
    with pytest.raises(KeyboardInterrupt):
        run(ctx)
    ctx.stop_after = None
    path = tmp_path / "saved" / "5" / "tokenizer.json"
    path.write_bytes(path.read_bytes() + b"\n")

    run(ctx, steps=6)

    assert ctx.events[-3:] == ["checkpoint_damaged", "restarted_from_zero", "first_step"]


def test_training_shows_texts_and_goes_on_learning_after_it(trained: tuple[Trained, Kept]) -> None:
    whole, ctx = trained
    data, extension = ctx.sheets[0]

    assert (len(ctx.sheets), extension) == (2, "txt")
    assert data.decode().count("--- ") >= 8
    assert all(p.requires_grad for p in whole.state.modules["net"].parameters())
    assert set(ctx.points) >= {"loss", "validation_perplexity", "validation_bits_per_byte"}


def test_the_measures_are_those_that_the_tokens_give() -> None:
    recipe, modules = untrained()
    blocks, cut = learnable(recipe, few(), split(few())[0])
    state = TrainState(modules, {})

    told = evaluate(recipe, state, blocks, cut["validation"][:40], 0)

    rows = blocks.rows(cut["validation"][:40])["x"]
    wanted = rows[:, 1:][rows[:, 1:] >= 0]
    with torch.no_grad():
        shares = modules["net"](rows[:, :-1].clamp(min=0)).log_softmax(-1)
    nats = -shares.gather(2, rows[:, 1:, None].clamp(min=0)).squeeze(2)[rows[:, 1:] >= 0].double().sum().item()
    size = sum(len(recipe.pieces[token]) for token in wanted.tolist())
    counts = np.array(json.loads(recipe.assets["unigram.json"])) + 1
    anchor = -np.log2(counts / counts.sum())[wanted.numpy()].sum() / size
    assert told["validation_loss"] == pytest.approx(nats / len(wanted), rel=1e-5)
    assert told["validation_perplexity"] == pytest.approx(math.exp(nats / len(wanted)), rel=1e-4)
    assert told["validation_bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-5)
    assert told["validation_unigram_bits_per_byte"] == pytest.approx(anchor, rel=1e-6)


def learned(params: dict[str, Any], steps: int) -> dict[str, float]:
    dataset = open_source({"source": "topics"})
    recipe = Gpt.configured(params)
    blocks, cut = learnable(recipe, dataset, split(dataset)[0])
    state, order = TrainState.fresh(recipe, 0), Order(cut["train"], recipe.batch_size, 0)
    engine = EngineStep(state, 0, 0)
    for step in range(steps):
        engine.begin(step)
        recipe.step(blocks.rows(order.batch(step)), engine)
    return evaluate(recipe, state, blocks, cut["test"], 0)


def test_a_small_gpt_learns_more_than_how_often_each_token_is() -> None:
    told = learned(
        {"width": 48, "layers": 2, "heads": 1, "context_length": 32, "vocabulary": 512, "learning_rate": 8e-3}, 80
    )

    assert told["validation_bits_per_byte"] < 0.95 * told["validation_unigram_bits_per_byte"]


@pytest.fixture(scope="module")
def published(trained: tuple[Trained, Kept], tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Any]]:
    store, scratch = Store(tmp_path_factory.mktemp("store").as_uri()), tmp_path_factory.mktemp("scratch")
    model = publish_model(
        store, "default", {"recipe": "gpt", "data": {"source": "topics"}, "seed": 0}, trained[0], scratch
    )["model"]
    return store, model | {"name": "topics", "version": 1}


def test_a_version_is_its_weights_its_config_and_its_tokenizer(
    published: tuple[Store, dict[str, Any]], trained: tuple[Trained, Kept], tmp_path: Path
) -> None:
    store, model = published
    loaded = models.load(store, model, tmp_path)
    wish = [{"prompt": "The", "max_new_tokens": 12}]
    recipe = trained[0].recipe
    before = Sampler(recipe, models.part_served(recipe, trained[0].state.modules), recipe.tile).draw([7], wish)

    assert text_of(loaded.sampler.draw([7], wish)[0]) == text_of(before[0])
    assert set(loaded.card["assets"]) == {"tokenizer.json", "unigram.json"}
    other = Store((tmp_path / "other").as_uri())
    store.fetch_tree(model["key"], tmp_path / "changed")
    (tmp_path / "changed" / "tokenizer.json").write_bytes(recipe.tokenizer + b"\n")
    other.put_tree(tmp_path / "changed", model["key"])
    with pytest.raises(BadRequest, match="is not what was published"):
        models.load(other, model, tmp_path)


@pytest.mark.parametrize("form", [None, "txt"])
def test_a_shard_of_texts_is_files_and_a_manifest_in_order(
    published: tuple[Store, dict[str, Any]], tmp_path: Path, form: str | None
) -> None:
    draws = models.load(*published, tmp_path).sampler
    lineage = dict.fromkeys(("job", "model", "model_digest", "data_digest", "recipe", "code_version"), "x")
    order = {
        "tenant": "default",
        "job_id": "j_a",
        "run": 1,
        "shard": 0,
        "claim": 1,
        "start": 40,
        "count": 20,
        "seed": 7,
    }
    order |= {"format": form, "lineage": lineage, "cond": {"prompt": "The", "max_new_tokens": 8}}
    (tmp_path / "out").mkdir()

    assert write_shard(order, draws, tmp_path / "out", lambda: False)

    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(40, 60))
    wanted = draws.draw([item_seed(7, index) for index in range(40, 60)], [order["cond"]] * 20)
    for line, text in zip(lines, wanted, strict=True):
        (file,) = line["files"]
        data = (tmp_path / "out" / Path(file["path"]).name).read_bytes()
        assert (data, file["mime"]) == (text.tobytes(), "text/plain")
        assert Path(file["path"]).name == f"{line['index']:06d}.txt"
        assert file["sha256"] == file["payload_sha256"] == hashlib.sha256(data).hexdigest()
    with pytest.raises(BadRequest, match="cannot write 'png'"):
        write_shard(order | {"format": "png"}, draws, tmp_path / "out", lambda: False)


def test_transformers_loads_it_and_generates_as_we_do(published: tuple[Store, dict[str, Any]], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    store, model = published
    draws = models.load(store, model, tmp_path).sampler
    store.fetch_tree(model["key"], tmp_path / "version")
    to_huggingface(tmp_path / "version", tmp_path / "exported")

    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "exported").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "exported")

    recipe, net = draws.recipe, draws.modules["net"]
    assert isinstance(recipe, Gpt)
    for text in TEXTS:
        read = tokenizer(text, return_tensors="pt").input_ids
        assert read[0].tolist() == list(
            recipe.beginning(0, draws.condition({"prompt": text, "max_new_tokens": 1})).tokens
        )
        with torch.no_grad():
            assert (theirs(read).logits - net(read)).abs().max() < 1e-4
    read = tokenizer("The value", return_tensors="pt")
    made = theirs.generate(**read, do_sample=False, max_new_tokens=24)[0, read.input_ids.shape[1] :]
    ours = draws.draw([1], [{"prompt": "The value", "temperature": 0, "max_new_tokens": 24}])[0]
    assert tokenizer.decode(made, skip_special_tokens=True) == text_of(ours)
    with pytest.raises(Conflict, match="already"):
        to_huggingface(tmp_path / "version", tmp_path / "exported")
    weights = tmp_path / "version" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(BadRequest, match="is not what was published"):
        to_huggingface(tmp_path / "version", tmp_path / "other")
