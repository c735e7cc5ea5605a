"""What is let through of very many lines, and what of them is kept in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from genplatform.domain.log_lines import Stream
from genworkers import transcript
from genworkers.commanding import sieve
from genworkers.commanding.sieve import Sieve
from genworkers.transcript import Line, Transcript


def line(text: object, stream: Stream = Stream.STDOUT) -> Line:
    return Line(str(text), stream, 0.0)


def texts(lines: list[Line]) -> list[str]:
    return [one.text for one in lines]


def test_lines_at_a_readers_pace_all_come_through_at_once() -> None:
    sifted = Sieve(0.0)

    passed = [sifted.take(line(n), now=n / 50) for n in range(5000)]

    assert passed == [[line(n)] for n in range(5000)]


def test_of_an_avalanche_the_first_and_each_seconds_last_come_through_with_a_word_of_the_others() -> None:
    sifted = Sieve(0.0)
    first = [one for n in range(10_000) for one in sifted.take(line(n), now=0.5)]

    rest = sifted.due(1.6)

    assert texts(first) == [str(n) for n in range(1000)]
    assert rest[0].text == "[8,900 lines were left out here: more than 100 a second were printed]"
    assert texts(rest[1:]) == [str(n) for n in range(9900, 10_000)]
    assert sifted.due(9.9) == sifted.rest() == []


def test_an_avalanche_without_end_is_no_more_than_so_much_a_second() -> None:
    sifted = Sieve(0.0)

    passed = [one for n in range(100_000) for one in sifted.take(line(n), now=n / 10_000)]

    assert len(passed) <= sieve.BUCKET + 10 * (sieve.A_SECOND + 1)


def test_long_lines_count_as_several() -> None:
    sifted = Sieve(0.0)

    passed = [one for _ in range(1000) for one in sifted.take(line("x" * 3999), now=0.0)]

    assert len(passed) == 100


def test_a_short_transcript_is_all_that_was_printed(tmp_path: Path) -> None:
    kept = Transcript(tmp_path)
    kept.add(line("one"))
    kept.add(line("zwei ü", Stream.STDERR))

    whole = kept.close()

    assert whole is not None
    assert whole.read_text() == "1970-01-01T00:00:00.000Z 0 stdout one\n1970-01-01T00:00:00.000Z 0 stderr zwei ü\n"


def test_nothing_printed_is_no_transcript(tmp_path: Path) -> None:
    assert Transcript(tmp_path).close() is None


@pytest.mark.parametrize("length", [10, 100_000])
def test_a_transcript_that_no_disk_takes_is_none_and_says_why(tmp_path: Path, length: int) -> None:
    (tmp_path / "head.part").symlink_to("/dev/full")
    kept = Transcript(tmp_path)
    for _ in range(3):
        kept.add(line("x" * length))

    whole = kept.close()

    assert whole is None
    assert "No space left" in str(kept.failed)


def test_a_transcript_without_its_folder_is_none(tmp_path: Path) -> None:
    kept = Transcript(tmp_path / "nowhere")
    kept.add(line("one"))

    whole = kept.close()

    assert whole is None
    assert isinstance(kept.failed, FileNotFoundError)


def test_a_long_transcript_keeps_its_beginning_and_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcript, "HEAD_BYTES", 1000)
    monkeypatch.setattr(transcript, "TAIL_BYTES", 1000)
    kept = Transcript(tmp_path)
    for n in range(10_000):
        kept.add(line(n))

    whole = kept.close()

    assert whole is not None
    said = whole.read_text().splitlines()
    (gap,) = [at for at, text in enumerate(said) if text.startswith("[")]
    numbers = [int(text.rpartition(" ")[2]) for text in said[:gap] + said[gap + 1 :]]
    left_out = int(said[gap][1:].split()[0].replace(",", ""))
    assert numbers == [*range(gap), *range(gap + left_out, 10_000)]
    assert 1000 < sum(map(len, said)) < 3200
