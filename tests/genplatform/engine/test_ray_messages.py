"""Ray's messages, cut down."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genplatform.engine.ray_messages import LONGEST, told

KILLED = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: Patient\n\tpid: 13477\n"
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
    "Worker unexpectedly exits with a connection error code 2. End of file. "
    "Some common causes include: (1) the process was killed by the OOM killer."
)
RAISED = (
    "The actor died because of an error raised in its creation task, \x1b[36mray::a:A.__init__()\x1b[39m (pid=1)\n"
    '  File "actor.py", line 28, in __init__\n    raise ValueError(order)\nValueError: no such recipe: ghan'
)


def test_a_death_is_told_by_its_reason_without_guesses() -> None:
    assert told(KILLED) == (
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
        "Worker unexpectedly exits with a connection error code 2. End of file."
    )


def test_a_traceback_is_told_by_its_end() -> None:
    assert told(RAISED) == "ValueError: no such recipe: ghan"


def test_anything_else_is_told_by_its_first_line() -> None:
    assert told("\n  It ended: stopped.\nmore") == "It ended: stopped."
    assert told(" \n ") == "Ray gives no reason."


@given(st.text())
def test_what_is_told_is_one_printable_line_of_bounded_length(text: str) -> None:
    sentence = told(text)

    assert sentence.isprintable()
    assert 0 < len(sentence) <= LONGEST
