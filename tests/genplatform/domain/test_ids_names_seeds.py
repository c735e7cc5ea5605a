"""Public ids, given names, and the seeds of items."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genplatform.domain.ids import ALPHABET, LENGTH, is_id_prefix, new_id
from genplatform.domain.names import ModelRef, is_name, parse_model_ref
from genplatform.domain.seeds import item_seed


@given(st.integers())
def test_a_new_id_is_ten_letters_without_look_alikes_after_its_prefix(seed: int) -> None:
    made = new_id("j", random.Random(seed).randrange)

    assert made.startswith("j_")
    assert len(made) == 2 + LENGTH
    assert set(made[2:]) <= set(ALPHABET)
    assert not set(ALPHABET) & set("01ilo")


@given(st.integers(), st.integers(2, 12))
def test_every_beginning_of_an_id_is_recognised(seed: int, length: int) -> None:
    made = new_id("j", random.Random(seed).randrange)

    assert is_id_prefix(made[:length], "j")
    assert not is_id_prefix(made[:length], "m")


@pytest.mark.parametrize("text", ["", "j", "j-2", "j_0", "j_O", "J_2", "j_2\n", "j_" + "2" * 11, "digits"])
def test_what_cannot_begin_an_id_is_not_taken_for_one(text: str) -> None:
    assert not is_id_prefix(text, "j")


@pytest.mark.parametrize("text", ["a", "digits-gan", "9lives", "A.b_c-d", "x" * 63])
def test_these_are_names(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize(
    "text",
    ["", "x" * 64, "-a", ".a", "_a", "a b", "a/b", "a@1", "a\n", "a\x00", "a\x1b[31m", "é", "..", "a\u202eb", "٣"],
)
def test_these_are_not(text: str) -> None:
    assert not is_name(text)


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)


@given(names, st.none() | st.integers(1, 999_999_999))
def test_a_model_reference_reads_back_as_it_is_written(name: str, version: int | None) -> None:
    ref = ModelRef(name, version)

    assert parse_model_ref(str(ref)) == ref


@given(st.text())
def test_what_is_no_model_reference_is_none_and_what_is_one_is_written_the_same(text: str) -> None:
    ref = parse_model_ref(text)

    assert ref is None or str(ref) == text


@pytest.mark.parametrize("text", ["", "@", "@1", "a@", "a@1@2", "a@0", "a@01", "a@-1", "a@1\n", "a@b/c", "a b@1"])
def test_broken_model_references_are_none(text: str) -> None:
    assert parse_model_ref(text) is None


def test_latest_is_an_alias() -> None:
    assert parse_model_ref("digits@latest") == ModelRef("digits", alias="latest")


@pytest.mark.parametrize(
    ("seed", "index", "expected"),
    [
        (0, 0, 6213027144842677344),
        (0, 1, 8613600020916457518),
        (7, 999, 3041518436757645149),
        (2**63, 10**7, 7030182233506249327),
    ],
)
def test_seeds_of_items_are_frozen(seed: int, index: int, expected: int) -> None:
    """Another value here means that no picture made so far can be made again."""
    assert item_seed(seed, index) == expected


@given(st.integers(), st.integers(0))
def test_a_seed_is_a_whole_number_of_63_bits(seed: int, index: int) -> None:
    assert 0 <= item_seed(seed, index) < 2**63


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**40))
def test_neighbours_and_other_seeds_differ(seed: int, index: int, other: int) -> None:
    assert item_seed(seed, index) != item_seed(seed, index + 1)
    assert (item_seed(seed, index) == item_seed(other, index)) == (seed == other)
