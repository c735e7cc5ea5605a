"""Words for people: nothing from a server commands a terminal, and times read well."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genctl import text

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("evil", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x9b2J", r"\x9b2J"),
        ("abc\u202edef", r"abc\u202edef"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("bell\x07\x7f", r"bell\x07\x7f"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(evil: str, shown: str) -> None:
    assert text.clean(evil) == shown


@given(st.text())
def test_no_control_or_bidi_character_survives(anything: str) -> None:
    import unicodedata

    cleaned = text.clean(anything)

    assert not [c for c in cleaned if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not [c for c in cleaned if unicodedata.bidirectional(c) in ("RLE", "LRE", "RLO", "LRO", "PDF", "RLI", "LRI")]


def test_plain_words_of_any_language_stay_as_they_are() -> None:
    assert text.clean("größe 数字 עברית ☃ é") == "größe 数字 עברית ☃ é"


def test_a_log_line_keeps_its_tabs() -> None:
    assert text.clean_line("a\tb\x1b") == "a\tb\\x1b"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3660, "1 h 1 min"),
        (7200, "2 h"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations_read_well(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


def test_times_are_told_relative_to_now() -> None:
    assert text.ago("2027-01-15T07:59:48.000Z", NOW) == "12 s ago"
    assert text.ago(None, NOW) == "-"
    assert text.ago("2099-01-01T00:00:00Z", NOW) == "0 s ago"


@pytest.mark.parametrize(
    ("given_time", "seconds"),
    [
        ("90", NOW - 90),
        ("90s", NOW - 90),
        ("10m", NOW - 600),
        ("1h30m", NOW - 5400),
        ("2d", NOW - 172800),
        ("2027-01-15T08:00:00Z", NOW),
        ("yesterday", None),
        ("", None),
        ("10m5", None),
    ],
)
def test_a_since_is_a_span_or_a_time(given_time: str, seconds: float | None) -> None:
    assert text.parse_since(given_time, NOW) == seconds


def test_a_file_url_is_shown_as_the_path_it_is() -> None:
    assert text.place("file:///a%20b/c.png") == "/a b/c.png"
    assert text.place("s3://bucket/c.png") == "s3://bucket/c.png"


def test_sizes_read_well() -> None:
    assert [text.size(n) for n in (512, 1234, 5_000_000, None)] == ["512 B", "1.2 kB", "5.0 MB", "-"]


def test_progress_is_told_in_the_plural() -> None:
    moving = {"done": 2, "total": 9, "unit": "item", "rate": 2.5, "eta_seconds": 70.0}

    assert text.progress(moving) == "2/9 items"
    assert text.rate_and_eta(moving) == ["2.5 items/s", "ETA 1 min 10 s"]
    assert text.progress(None) == "-"
