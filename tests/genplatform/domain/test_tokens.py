"""Tokens of runs and pools: ours are known again, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genplatform.domain.tokens import Grant, PoolGrant, RunGrant, endpoint_secret, issue, verify

SECRET = "s3cret"
words = st.from_regex(r"[A-Za-z0-9_.-]{1,20}", fullmatch=True)
grants = st.builds(RunGrant, words, words, st.integers(0, 10**9)) | st.builds(PoolGrant, words, words)


@given(grants)
def test_a_token_says_what_it_grants(grant: Grant) -> None:
    assert verify(SECRET, issue(SECRET, grant)) == grant


def test_a_token_is_the_same_whoever_issues_it() -> None:
    """A dispatcher that restarts makes the token that the run's worker already holds."""
    token = issue("secret", RunGrant("default", "j_7kq2mzx9ab", 3))

    assert token == "run:default:j_7kq2mzx9ab:3:e9c6c0829b5dd9ded7e7c383d562aa4d48e03ccd"


@given(grants, words)
def test_a_token_of_another_secret_is_nothing(grant: Grant, other: str) -> None:
    assert (verify(other, issue(SECRET, grant)) is None) == (other != SECRET)


@given(grants, st.data())
def test_a_tampered_token_is_nothing(grant: Grant, data: st.DataObject) -> None:
    token = issue(SECRET, grant)
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters().filter(lambda c: c != token[place]))

    assert verify(SECRET, token[:place] + letter + token[place + 1 :]) is None


@given(grants, st.integers(1, 60))
def test_a_token_cut_short_is_nothing(grant: Grant, cut: int) -> None:
    assert verify(SECRET, issue(SECRET, grant)[:-cut]) is None


@given(grants, grants)
def test_one_token_s_signature_fits_no_other(one: Grant, other: Grant) -> None:
    text, _, _ = issue(SECRET, one).rpartition(":")
    _, _, signature = issue(SECRET, other).rpartition(":")

    assert (verify(SECRET, f"{text}:{signature}") is None) == (one != other)


@given(st.text())
def test_any_text_is_refused_quietly(text: str) -> None:
    assert verify(SECRET, text) is None


@pytest.mark.parametrize(
    "token", ["", ":", "run:default:j_a:1", "run:default:j_a:1:", "run:default:j_a:1:\xe9", "\ud800"]
)
def test_these_too(token: str) -> None:
    assert verify(SECRET, token) is None


def test_without_a_secret_nothing_is_granted() -> None:
    assert verify("", issue("", PoolGrant("default", "p1"))) is None


def test_an_endpoint_s_secret_is_its_own_and_no_token() -> None:
    word = endpoint_secret(SECRET, "default", "digits")

    assert word == endpoint_secret(SECRET, "default", "digits")
    assert word not in {endpoint_secret(SECRET, "default", "other"), endpoint_secret("other", "default", "digits")}
    assert verify(SECRET, f"endpoint:default:digits:{word}") is None
