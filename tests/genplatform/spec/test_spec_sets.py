"""What the command line sets wins over the file, and is checked like it."""

from __future__ import annotations

from typing import Any

import pytest

TRAIN = "{kind: train, recipe: gan, name: t}"
GENERATE = "{kind: generate, model: m, count: 1, name: g}"
BOTH = f"{TRAIN}\n---\n{GENERATE}"


def test_a_value_is_set_in_every_job_that_has_the_field(load_text: Any) -> None:
    train, generate = load_text(BOTH, sets=["seed=3", "count=5", "params.latent_dim=64", "budget.steps=9"])

    assert (train.spec.seed, generate.spec.seed) == (3, 3)
    assert generate.spec.count == 5
    assert train.spec.params == {"latent_dim": 64}
    assert train.spec.budget.steps == 9


def test_a_value_may_be_a_list_or_a_mapping_or_text_with_an_equals_sign(load_text: Any) -> None:
    train, _ = load_text(BOTH, sets=["needs=[a, b]", "retry={max: 0}", "labels.a.b=x=y", "labels.c='1'"])

    assert train.spec.needs == ["a", "b"]
    assert train.spec.retry.max == 0
    assert train.spec.labels == {"a.b": "x=y", "c": "1"}


def test_the_last_of_two_values_wins_over_the_first_and_the_file(load_text: Any) -> None:
    (job,) = load_text("{kind: generate, model: m, count: 1}", sets=["count=2", "count=3"])

    assert job.spec.count == 3


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("zzz=1", "no job of the file has a field 'zzz'", "Fields that exist"),
        ("cuont=1", "no job of the file has a field 'cuont'", "Did you mean 'count'?"),
        ("count=0", "count is 0", "It was set by --set count=0."),
        ("params.latent=1", "no parameter 'latent'", "It was set by --set params.latent=1."),
        ("budget.minutes=1", "not supported yet: budget.minutes", "--set budget.minutes=1"),
        ("split.train=0.1", "add up to", "It was set by --set split.train=0.1."),
        ("count", "a field and its value are expected", "params.latent_dim=64"),
        ("=1", "a field and its value are expected", ""),
        ("a..b=1", "a field and its value are expected", ""),
        ("kind=train", "cannot be set", "Edit the file"),
        ("seed=[", "not valid YAML", ""),
        ("seed=!!python/object:os.x 1", "tags are not read", ""),
        ("seed=&a 1", "anchors are not read".replace(" are", " (&a) are"), ""),
        ("seed=.nan", "not a number", ""),
        ("seed=1\n---\n2", "not several documents", ""),
        ("recipe.x=1", "recipe is 'gan'", "Only a mapping has fields"),
        ("name=\x1b[31m", "control character '\\x1b'", ""),
    ],
)
def test_what_cannot_be_set_is_told(problems_of: Any, text: str, message: str, hint: str) -> None:
    problem = problems_of(BOTH, sets=[text])[0]

    assert message in problem.message
    assert hint in problem.hint
    assert (problem.message + problem.hint).isprintable()


def test_a_job_of_an_unknown_kind_does_not_make_a_field_unknown(problems_of: Any) -> None:
    (problem,) = problems_of("kind: trian", sets=["budget.steps=1"])

    assert problem.path == "kind"


def test_too_many_values_are_refused(problems_of: Any) -> None:
    (problem,) = problems_of(BOTH, sets=["seed=1"] * 201)

    assert "201" in problem.message


def test_name_queue_and_priority_given_beside_the_file_win(load_text: Any) -> None:
    (job,) = load_text(TRAIN, overrides={"name": "other", "queue": "fast", "priority": "900"})

    assert (job.spec.name, job.spec.queue, job.spec.priority) == ("other", "fast", 900)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"name": "x"}, "A name is given for 2 jobs"),
        ({"queue": "a b"}, "'a b' is not a name"),
        ({"priority": "1001"}, "at most 1000"),
        ({"priority": "high"}, "a whole number is expected"),
        ({"priority": "²"}, "a whole number is expected"),
        ({"kind": "train"}, "'kind' cannot be given"),
    ],
)
def test_a_bad_word_beside_the_file_is_told(problems_of: Any, overrides: dict[str, str], message: str) -> None:
    assert message in problems_of(BOTH, overrides=overrides)[0].message
