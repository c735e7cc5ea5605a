"""The lines that runs print, in the record: each with its place, found by a text, bounded with the middle left out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from fake_node import CommandNode
from small_platform import TENANT, SmallPlatform

from genplatform.domain import layout
from genplatform.domain.log_lines import FIRST_KEPT, LAST_KEPT, SLACK, LineNumber, Stream
from genplatform.services import cancel, fold, jobs, nodes


def say(p: SmallPlatform, node: CommandNode, numbers: Iterable[int], stream: Stream = Stream.STDOUT) -> None:
    told = [{"seq": LineNumber(n, 0, stream).packed(), "time": 5.0, "text": f"line {n}"} for n in numbers]
    for start in range(0, len(told), 500):
        node.report(logs=told[start : start + 500])
    while fold.fold(p.w, p.term()):
        pass


def lines(p: SmallPlatform, job: str, **wish: Any) -> list[dict[str, Any]]:
    return jobs.logs(p.w, TENANT, job, limit=10_000, **wish)["lines"]


@pytest.mark.parametrize("number", [LineNumber(1), LineNumber(2**39, 700, Stream.STDERR), LineNumber(7, 1)])
def test_a_number_says_which_line_it_is_of_whom(number: LineNumber) -> None:
    assert LineNumber.of(number.packed()) == number
    assert number.packed() < 2**53


def test_a_workers_own_words_are_counted_as_ever() -> None:
    assert (LineNumber(12).packed(), LineNumber.of(12)) == (12, LineNumber(12, 0, Stream.LOG))


def test_a_line_says_where_it_was_printed(p: SmallPlatform) -> None:
    c, node = p.commanding()

    say(p, node, [1], Stream.STDERR)

    (line,) = lines(p, c)
    said = {name: line[name] for name in ("run", "rank", "stream", "text")}
    assert said == {"run": 1, "rank": 0, "stream": "stderr", "text": "line 1"}


def test_lines_are_found_by_a_text_in_them_as_it_stands(p: SmallPlatform) -> None:
    c, node = p.commanding()
    texts = ["Loss 0.5", "loss 100%", "100_", "nothing"]
    node.report(logs=[{"seq": n, "time": 5.0, "text": text} for n, text in enumerate(texts, 1)])
    fold.fold(p.w, p.term())

    found = {text: [line["text"] for line in lines(p, c, search=text)] for text in ("loss", "0%", "100_", "no such")}

    assert found == {"loss": ["Loss 0.5", "loss 100%"], "0%": ["loss 100%"], "100_": ["100_"], "no such": []}
    assert [line["text"] for line in lines(p, c, search="LOSS", tail=1)] == ["loss 100%"]


def test_of_very_many_lines_the_first_and_the_last_are_kept_and_a_line_says_so(p: SmallPlatform) -> None:
    c, node = p.commanding()
    most = FIRST_KEPT + LAST_KEPT + SLACK
    say(p, node, range(1, most + 1))
    assert len(lines(p, c)) == most

    say(p, node, range(most + 1, 8001), Stream.STDERR)

    left_out = 8000 - LAST_KEPT - FIRST_KEPT
    texts = [line["text"] for line in lines(p, c)]
    mark = f"[{left_out:,} lines are left out here: the first 1,000 and the last of a run are kept]"
    first, last = range(1, FIRST_KEPT + 1), range(8000 - LAST_KEPT + 1, 8001)
    assert texts == [*(f"line {n}" for n in first), mark, *(f"line {n}" for n in last)]


def test_lines_of_one_run_do_not_cut_anothers(p: SmallPlatform) -> None:
    c, node = p.commanding()
    say(p, node, range(1, 3001))
    p.lose(c)
    again = p.commander(p.open(c))
    again.start()

    say(p, again, range(1, 6001))

    assert len(lines(p, c, run=1)) == 3000
    assert len(lines(p, c, run=2)) == FIRST_KEPT + 1 + LAST_KEPT


def test_what_a_cancelled_run_printed_is_kept_and_nothing_else_of_it(p: SmallPlatform) -> None:
    c, node = p.commanding()
    cancel.cancel(p.w, TENANT, c)

    body = {"kind": "log", "key": layout.log(node.key), "sha256": "0" * 64, "size": 3, "step": None}
    nodes.artifact(p.w, node.grant, node.run | body)

    assert [a["kind"] for a in jobs.artifacts(p.w, TENANT, c)["artifacts"]] == ["log"]
