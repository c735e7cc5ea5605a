"""A job file becomes specs, or every problem at once, each with its place and the nearest right name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genplatform.spec import GenerateSpec, RecipeBook, TrainSpec, load, parse_stored

EXAMPLE = Path(__file__).parents[3] / "examples" / "digits.yaml"
TRAIN = "{kind: train, recipe: gan}"
GENERATE = "{kind: generate, model: m, count: 1}"


def test_the_example_asks_for_what_issue_2_describes() -> None:
    train, generate = load(EXAMPLE.read_bytes(), "application/yaml", RecipeBook.builtin())

    assert isinstance(train.spec, TrainSpec)
    assert (train.spec.name, train.spec.recipe, train.spec.publish) == ("digits-gan", "gan", "digits-gan")
    assert (train.spec.budget.steps, train.spec.seed, train.spec.checkpoint.every) == (4000, 0, 500)
    assert isinstance(generate.spec, GenerateSpec)
    assert (generate.spec.needs, generate.spec.model) == (["digits-gan"], "digits-gan@latest")
    assert (generate.spec.count, generate.spec.seed, generate.spec.output.format) == (1000, 7, "png")


def test_what_is_left_out_has_a_default_that_works_on_a_laptop(load_text: Any) -> None:
    train, generate = load_text(f"{TRAIN}\n---\n{GENERATE}")

    assert train.spec.budget.steps == 1000
    assert train.spec.resources.workers == generate.spec.resources.workers == 1
    assert train.spec.resources.gpus_per_worker == 0
    assert train.spec.data.source == "digits"
    assert generate.spec.batch_size is None
    assert generate.spec.priority == 500


def test_a_job_without_a_name_gets_one_that_no_other_job_of_the_file_has(load_text: Any) -> None:
    named = "{kind: generate, name: m-items-2, model: m@3, count: 1}"

    jobs = load_text(f"{TRAIN}\n---\n{GENERATE}\n---\n{named}\n---\n{GENERATE}\n---\n{GENERATE}")

    assert [job.spec.name for job in jobs] == ["gan", "m-items", "m-items-2", "m-items-3", "m-items-4"]


def test_a_made_name_is_never_too_long(load_text: Any) -> None:
    long = "{kind: generate, model: " + "m" * 63 + ", count: 1}"

    names = [job.spec.name for job in load_text(f"{long}\n---\n{long}")]

    assert names == ["m" * 63, "m" * 61 + "-2"]


def test_a_train_job_publishes_under_its_own_name_unless_told(load_text: Any) -> None:
    jobs = load_text("{kind: train, recipe: gan, name: a}\n---\n{kind: train, recipe: gan, publish: b}")

    assert [(job.spec.name, job.spec.publish) for job in jobs] == [("a", "a"), ("b", "b")]


def test_the_scheme_of_a_url_is_kept_in_small_letters(load_text: Any) -> None:
    (found,) = load_text("kind: train\nrecipe: gan\ndata: {source: 'HTTPS://h/A?B'}")

    assert found.spec.data.source == "https://h/A?B"


def test_a_spec_survives_its_stored_form(load_text: Any) -> None:
    text = "{kind: train, recipe: gan, params: {dropout: 0.5}, labels: {a: b}, retry: {max: 1, on: [node_lost]}}"
    for job in load_text(f"{text}\n---\n" + GENERATE.replace("count", "resources: {workers: 1..4}, count")):
        assert parse_stored(job.spec.model_dump(mode="json")) == job.spec


def test_json_asks_for_the_same_as_yaml(load_text: Any) -> None:
    (from_json,) = load_text('{"kind": "generate", "model": "m", "count": 1}', "application/json")
    (from_yaml,) = load_text(GENERATE)

    assert from_json == from_yaml


def test_a_job_remembers_where_its_fields_stand(load_text: Any) -> None:
    job = load_text(f"{TRAIN}\n---\nkind: generate\nmodel: nowhere\ncount: 1\n")[1]

    problem = job.problem("There is no model 'nowhere'.", "model", "Train it.")

    assert (problem.document, problem.line, problem.column, problem.path) == (1, 4, 8, "model")


# One field at a time: the rest of a good document, the bad field, where, and what the answer says.
BAD_TRAIN = [
    ("recipie: gan", "recipie", 2, 1, "no field 'recipie' in a train job", "Did you mean 'recipe'?"),
    ("buget: {steps: 1}", "buget", 2, 1, "no field 'buget'", "Did you mean 'budget'?"),
    ("count: 3", "count", 2, 1, "no field 'count'", "belongs to a generate job"),
    ("zzz: 3", "zzz", 2, 1, "no field 'zzz'", "Fields that exist: kind, name"),
    ("name: true", "name", 2, 7, "name is true; text is expected", "quotes"),
    ("name: 1.10", "name", 2, 7, "name is 1.1; text is expected", "quotes"),
    ("name:", "name", 2, 6, "nothing (null)", "leave the line out"),
    ("name: ''", "name", 2, 7, "is empty", "1 to 63"),
    ("name: ../x", "name", 2, 7, "'../x' is not a name", "1 to 63"),
    ('name: "a\\nb"', "name", 2, 7, "'a\\nb' is not a name", "1 to 63"),
    ('name: "a\\u202eb"', "name", 2, 7, "'a\\u202eb' is not a name", "1 to 63"),
    ("name: " + "x" * 64, "name", 2, 7, "is not a name", "1 to 63"),
    ("name: noise", "name", 2, 7, "is reserved", "publish"),
    ("publish: Noise", "publish", 2, 10, "'Noise' is reserved", "another name"),
    ("seed: -1", "seed", 2, 7, "seed is -1; at least 0", ""),
    ("seed: 9223372036854775808", "seed", 2, 7, "at most 9223372036854775807", ""),
    ("seed: 1.5", "seed", 2, 7, "a whole number is expected", ""),
    ("seed: '1'", "seed", 2, 7, "a whole number is expected", "without quotes"),
    ("seed: 007", "seed", 2, 7, "'007'; a whole number is expected", "leading zeros"),
    ("seed: true", "seed", 2, 7, "seed is true", ""),
    ("priority: 1001", "priority", 2, 11, "at most 1000", ""),
    ("queue: a b", "queue", 2, 8, "'a b' is not a name", ""),
    ("needs: other", "needs", 2, 8, "a list is expected", "Write [other]."),
    ("needs: [a, a]", "needs", 2, 8, "'a' is named twice", ""),
    ("needs: [a, 'b c']", "needs[1]", 2, 12, "'b c' is not a name", ""),
    ("labels: {a b: c}", "labels.a b", 2, 10, "'a b' is not a name", ""),
    ("labels: {a: 1}", "labels.a", 2, 13, "text is expected", "quotes"),
    ("labels: {a: " + "x" * 201 + "}", "labels.a", 2, 13, "at most 200 characters", ""),
    ("data: digits", "data", 2, 7, "a mapping is expected", ""),
    ("data: {source: digit}", "data.source", 2, 16, "no data source 'digit'", "Did you mean 'digits'?"),
    ("data: {source: 'file:///etc'}", "data.source", 2, 16, "cannot come from file://", "https"),
    ("data: {source: 's3://u:p@b/x'}", "data.source", 2, 16, "a password in a URL", "nodes"),
    ("data: {source: 'zip://a::http://h/b'}", "data.source", 2, 16, "cannot come from zip://", "https"),
    ("data: {source: 'http://h/a/..'}", "data.source", 2, 16, "is not a plain URL", "without"),
    ("data: {source: 'http://h/./a'}", "data.source", 2, 16, "is not a plain URL", "without"),
    ("data: {source: 'http://h/b::c'}", "data.source", 2, 16, "chains URLs", "file itself"),
    ("data: {source: /a/../b}", "data.source", 2, 16, "not a plain path", "doubled slashes"),
    ("data: {source: '/*'}", "data.source", 2, 16, "the whole machine", "a folder"),
    ("data: {source: /a, size: 0}", "data.size", 2, 26, "not the size of a picture", "[height, width]"),
    ("data: {source: /a, skip: 1.5}", "data.skip", 2, 26, "not a number of items", "0.01"),
    ("data: {source: /a, range: [1, 0]}", "data.range", 2, 27, "no lower and higher end", "[0, 1]"),
    ("data: {source: digits, size: 8}", "data", 2, 7, "takes no size", "Leave it out"),
    ("data: {source: digits, fit: pad}", "data", 2, 7, "takes no fit", "Leave it out"),
    ("data: {source: digits, skip: 1}", "data", 2, 7, "takes no skip", "Leave it out"),
    ("data: {source: hf://a/b/c}", "data.source", 2, 16, "names no data set of the hub", "hf://OWNER/NAME"),
    ("data: {source: ./folder}", "data.source", 2, 16, "from which folder on", "an absolute path"),
    ("split: {train: 0.5}", "split", 2, 8, "add up to 0.8, not to 1", ""),
    ("split: {train: 0, test: 0.85}", "split.train", 2, 16, "more than 0", ""),
    ("split: {trian: 1}", "split.trian", 2, 9, "no field 'trian' in split", "Did you mean 'train'?"),
    ("budget: {}", "budget.epochs", 2, 9, "neither steps nor epochs", "steps: 1000, or epochs: 20"),
    ("budget: {steps: 0}", "budget.steps", 2, 17, "at least 1", ""),
    ("budget: {steps: 1, minutes: 5}", "budget.minutes", 2, 20, "not supported yet: budget.minutes", "Give steps or"),
    ("budget: {steps: 1, epochs: 5}", "budget.epochs", 2, 28, "there are steps too", "Leave one of them out"),
    ("budget: {epochs: 0}", "budget.epochs", 2, 18, "at least 1", ""),
    ("optimization: {precision: fp8}", "optimization.precision", 2, 27, "no precision 'fp8'", "fp32, bf16, fp16"),
    ("optimization: {accumulation_steps: 0}", "optimization.accumulation_steps", 2, 36, "at least 1", ""),
    ("optimization: {max_grad_norm: 0}", "optimization.max_grad_norm", 2, 31, "more than 0", ""),
    (
        "optimization: {schedule: cosin}",
        "optimization.schedule",
        2,
        26,
        "no schedule 'cosin'",
        "Did you mean 'cosine'?",
    ),
    ("optimization: {min_ratio: 1.5}", "optimization.min_ratio", 2, 27, "at most 1", ""),
    ("optimization: {compile: 1}", "optimization.compile", 2, 25, "true or false is expected", ""),
    ("optimization: {warmup: 10}", "optimization.warmup", 2, 16, "no field 'warmup'", "Did you mean 'warmup_steps'?"),
    ("early_stopping: {patience: 3}", "early_stopping.metric", 2, 17, "early_stopping.metric is missing", "is watched"),
    ("early_stopping: {metric: l, mode: low}", "early_stopping.mode", 2, 35, "no mode 'low'", "min, max"),
    ("checkpoint: {publish: best}", "checkpoint.publish", 2, 23, "best of what is not said", "validation_loss"),
    ("checkpoint: {every: 0}", "checkpoint.every", 2, 21, "at least 1", ""),
    ("checkpoint: {keep: 0}", "checkpoint.keep", 2, 20, "at least 1", ""),
    ("sheet_every: 0", "sheet_every", 2, 14, "at least 1", ""),
    ("retry: {max: -1}", "retry.max", 2, 14, "at least 0", ""),
    ("retry: {on: [node_lots]}", "retry.on[0]", 2, 14, "no cause 'node_lots'", "Did you mean 'node_lost'?"),
    ("retry: {budgets: {node_lost: 1.5}}", "retry.budgets.node_lost", 2, 30, "a whole number is expected", ""),
    ("retry: {budgets: {node_lost: 101}}", "retry.budgets.node_lost", 2, 30, "at most 100", ""),
    ("retry: {budgets: {preempted: 1}}", "retry.budgets.preempted", 2, 19, "no cause 'preempted'", "Possible: node"),
    ("retry: {budgets: {timeout: 1}}", "retry.budgets", 2, 18, "no tries after timeout", "Add timeout to `on`."),
    ("timeout: soon", "timeout", 2, 10, "'soon', and not a duration", "90s, 15m, 2h or 1d"),
    ("timeout: 2 h", "timeout", 2, 10, "'2 h', and not a duration", "90s, 15m, 2h or 1d"),
    ("timeout: true", "timeout", 2, 10, "true, and not a duration", "90s, 15m, 2h or 1d"),
    ("timeout: 0", "timeout", 2, 10, "from 1s to 366d is possible", "90s, 15m, 2h or 1d"),
    ("progress_timeout: 400d", "progress_timeout", 2, 19, "from 1s to 366d is possible", "90s, 15m, 2h or 1d"),
    ("progress_timeout: null", "progress_timeout", 2, 19, "nothing (null), and not a duration", "90s, 15m"),
    ("deadline: tomorrow", "deadline", 2, 11, "neither a time nor a duration", "2026-12-01T12:00:00Z"),
    ("deadline: 2026-12-01", "deadline", 2, 11, "neither a time nor a duration", "with its zone"),
    ("deadline: 2026-12-01T12:00:00", "deadline", 2, 11, "neither a time nor a duration", "with its zone"),
    ("deadline: 2026-13-01T12:00:00Z", "deadline", 2, 11, "neither a time nor a duration", "with its zone"),
    ("deadline: [1d]", "deadline", 2, 11, "a list, and neither a time", "with its zone"),
    (
        "resources: {gpu_per_worker: 1}",
        "resources.gpu_per_worker",
        2,
        13,
        "no field",
        "Did you mean 'gpus_per_worker'?",
    ),
    ("resources: {gpus_per_worker: 1}", "resources.gpus_per_worker", 2, 30, "not supported yet: GPUs", ""),
    ("resources: {cpus_per_worker: 0}", "resources.cpus_per_worker", 2, 30, "more than 0", ""),
    ("params: [1]", "params", 2, 9, "a mapping is expected", ""),
    ("params: {latent_dimm: 3}", "params.latent_dimm", 2, 10, "no parameter 'latent_dimm'", "'latent_dim'"),
    ("params: {zzz: 3}", "params.zzz", 2, 10, "no parameter 'zzz'", "genctl recipes show gan"),
    ("params: {latent_dim: 0}", "params.latent_dim", 2, 22, "at least 1", ""),
    ("params: {latent_dim: big}", "params.latent_dim", 2, 22, "a whole number is expected", ""),
    ("params: {dropout: 1}", "params.dropout", 2, 19, "less than 1", ""),
    ("params: {height: x}", "params.height", 2, 18, "a whole number or nothing", ""),
    ("params: {height: 0}", "params.height", 2, 18, "at least 1", ""),
    ("params: {widths: [1, x]}", "params.widths[1]", 2, 22, "a whole number", ""),
    ("params: {widths: [1, 2, 3, 4]}", "params.widths", 2, 18, "a list of at most 3", ""),
    ("params: {norm: batsh}", "params.norm", 2, 16, "one of 'batch', 'layer'", "Did you mean 'batch'?"),
    ("params: {bias: no}", "params.bias", 2, 16, "'no'; true or false is expected", ""),
    ("params: {inner: {dep: 1}}", "params.inner.dep", 2, 18, "no parameter 'dep'", "Did you mean 'depth'?"),
]


@pytest.mark.parametrize(("line", "path", "row", "column", "message", "hint"), BAD_TRAIN, ids=[b[0] for b in BAD_TRAIN])
def test_a_bad_field_of_a_train_job_is_told_with_its_place(
    problems_of: Any, line: str, path: str, row: int, column: int, message: str, hint: str
) -> None:
    (problem,) = problems_of(f"kind: train\n{line}\nrecipe: gan\n")

    assert (problem.path, problem.line, problem.column) == (path, row, column)
    assert message in problem.message
    assert hint in problem.hint


BAD_GENERATE = [
    ("count: 0", "count", "count is 0; at least 1"),
    ("count: -5", "count", "at least 1"),
    ("count: 10000001", "count", "at most 10000000"),
    ("count: many", "count", "a whole number is expected"),
    ("count: 1\nbatch_size: 0", "batch_size", "at least 1"),
    ("count: 1\nmodel: a b", "model", "given twice"),
    ("count: 1\noutput: {format: gif}", "output.format", "no output format 'gif'"),
    ("count: 1\noutput: {format: npz}", "output.format", "not supported yet: output format 'npz'"),
    ("count: 1\ninputs: prompts.jsonl", "inputs", "not supported yet: inputs"),
    ("count: 1\nrecipe: gan", "recipe", "no field 'recipe'"),
    ("count: 1\nresources: {workers: 0}", "resources.workers", "between 1 and 1000"),
    ("count: 1\nresources: {workers: 8..1}", "resources.workers", "fewest first"),
    ("count: 1\nresources: {workers: 1...8}", "resources.workers", "not a number of workers"),
    ("count: 1\nresources: {workers: '4'}", "resources.workers", "not a number of workers"),
    ("count: 1\nresources: {workers: 1.5}", "resources.workers", "not a number of workers"),
]


@pytest.mark.parametrize(("lines", "path", "message"), BAD_GENERATE, ids=[b[0] for b in BAD_GENERATE])
def test_a_bad_field_of_a_generate_job_is_told(problems_of: Any, lines: str, path: str, message: str) -> None:
    (problem,) = problems_of(f"kind: generate\nmodel: m\n{lines}\n")

    assert problem.path == path
    assert problem.line > 0
    assert message in problem.message


@pytest.mark.parametrize("reference", ["a b", "a@", "a@0", "@1", "a@b@c", "-a", "a@../x", "a/b"])
def test_what_is_no_reference_to_a_model_is_told(problems_of: Any, reference: str) -> None:
    (problem,) = problems_of(f"kind: generate\nmodel: '{reference}'\ncount: 1\n")

    assert (problem.path, problem.line, problem.column) == ("model", 2, 8)
    assert "NAME@3" in problem.hint


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("recipe: gan", "kind is missing", "train, generate"),
        ("kind: trian", "no kind 'trian'", "Did you mean 'train'?"),
        ("kind: 3", "kind is 3", "train, generate"),
        ("kind: evaluate", "model is missing", "NAME@3"),
        ("kind: evaluate\nmodel: m\nsamples: 3", "samples is 3; at least 64", ""),
        ("kind: evaluate\nmodel: m\nmetrics: [recal]", "no metric 'recal'", "Did you mean 'recall'?"),
        ("kind: evaluate\nmodel: m\nmetrics: [recall, recall]", "named twice", "once"),
        ("kind: evaluate\nmodel: m\nresources: {workers: 2}", "judging on more than one worker", "Write 1."),
        ("kind: evaluate\nmodel: m\ndata: {sauce: digits}", "no field 'sauce' in data", "Did you mean 'source'?"),
        ("kind: train\nrecipe: gan\nevaluate: 3", "evaluate is 3; a mapping is expected", ""),
        ("kind: train\nrecipe: gan\nevaluate: {sample: 3}", "no field 'sample' in evaluate", "samples"),
        ("kind: command", "command is missing", "The program and its arguments"),
        ("- kind: train", "a mapping, and this is a list", "kind: train"),
        ("just text", "a mapping, and this is 'just text'", "kind: train"),
        ("", "The job file is empty", "kind: train"),
        ("# nothing\n---\n", "The job file is empty", "kind: train"),
        ("kind: train", "recipe is missing", "genctl recipes ls"),
        ("kind: train\nrecipe: gann", "no recipe 'gann'", "Did you mean 'gan'?"),
        ("kind: train\nrecipe: diffusion", "no recipe 'diffusion'", "gan, noise"),
        ("kind: train\nrecipe: my.module:Class", "is not built in, and its code was not sent", "gan, noise"),
        ("kind: train\nrecipe: noise", "cannot be trained", "noise@1"),
        ("kind: generate\ncount: 1", "model is missing", "NAME@3"),
        ("kind: generate\nmodel: m", "count is missing", "How many"),
    ],
)
def test_what_a_job_must_say_is_asked_for(problems_of: Any, text: str, message: str, hint: str) -> None:
    (problem,) = problems_of(text)

    assert message in problem.message
    assert hint in problem.hint


def test_all_problems_of_all_documents_come_at_once_in_the_file_s_order(problems_of: Any) -> None:
    text = "kind: train\nseed: -1\nrecipe: gann\nzzz: 1\n---\nkind: nothing\n---\nkind: generate\ncount: 0\n"

    problems = problems_of(text)

    assert [(p.document, p.line, p.path) for p in problems] == [
        (0, 2, "seed"),
        (0, 3, "recipe"),
        (0, 4, "zzz"),
        (1, 6, "kind"),
        (2, 8, "model"),
        (2, 9, "count"),
    ]


def test_a_refused_value_is_told_once(problems_of: Any) -> None:
    (problem,) = problems_of("kind: train\nrecipe: gan\nseed: .inf\n")

    assert problem.path == "seed"


def test_a_flood_of_problems_ends_with_a_word_that_there_are_more(problems_of: Any) -> None:
    problems = problems_of("---\nkind: train\nrecipe: gan\nseed: -1\n" * 500)

    assert len(problems) == 101
    assert "more problems" in problems[-1].message


@pytest.mark.parametrize(
    ("jobs", "message", "place"),
    [
        ([("a", ""), ("a", "")], "Two jobs of the file are named 'a'", (1, 2)),
        ([("a", "a")], "The job 'a' needs itself", (0, 1)),
        ([("a", "b"), ("b", "")], "'b', which stands later in the file", (0, 1)),
        ([("a", "b"), ("b", "a")], "in a circle: 'a' -> 'b' -> 'a'", (0, 1)),
    ],
)
def test_jobs_of_one_file_fit_together(problems_of: Any, jobs: Any, message: str, place: tuple[int, int]) -> None:
    lines = [f"{{kind: generate, model: m, count: 1, name: {name}, needs: [{needs}]}}" for name, needs in jobs]

    (problem,) = problems_of("\n--- ".join(lines))

    assert message in problem.message
    assert (problem.document, problem.line) == place


def test_a_job_may_need_an_earlier_one_and_one_that_is_not_in_the_file(load_text: Any) -> None:
    text = TRAIN + "\n---\n" + GENERATE.replace("count", "needs: [gan, j_7kq2mzx9ab], count")

    assert load_text(text)[1].spec.needs == ["gan", "j_7kq2mzx9ab"]


def test_a_need_may_name_a_job_by_the_name_that_was_made_for_it(problems_of: Any) -> None:
    (problem,) = problems_of(GENERATE.replace("count", "needs: [gan], count") + "\n---\n" + TRAIN)

    assert "later in the file" in problem.message
