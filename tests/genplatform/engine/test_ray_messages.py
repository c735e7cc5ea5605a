"""Ray's messages, cut down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genplatform.engine.ray_messages import LONGEST, ended, out_of_memory, told
from genplatform.engine.seam import End

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


NODE_DIED = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: Patient\n"
    "The actor died because its node has died. Node Id: 23b66e2aa376\n\tthe actor's node was terminated."
)
BY_US = "The actor died unexpectedly.\n\tclass_name: Patient\nThe actor is dead because it was killed by `ray.kill`."
NO_MEMORY = (
    "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2, ID: 45fd) was "
    "4.38GB used / 23.54GB limit (0.186082)\nOOM kill reason: Memory usage 4682764288B exceeded threshold"
)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (KILLED, End.PROCESS),
        (NODE_DIED, End.NODE),
        (BY_US, End.KILLED),
        (RAISED, End.BROKEN),
        ("Something new.", End.UNKNOWN),
    ],
)
def test_how_an_actor_ended_is_read_from_its_message(text: str, end: End) -> None:
    assert ended(text) is end


def test_the_death_of_a_node_is_told_as_such() -> None:
    assert told(NODE_DIED) == "The actor died because its node has died. Node Id: 23b66e2aa376"


def test_memory_that_ran_out_is_told_with_how_much_there_was() -> None:
    assert out_of_memory(NO_MEMORY) == "Its node ran low on memory: 4.38GB of 23.54GB were used."
    assert out_of_memory("Memory ran out.\nMore.") == "Memory ran out."


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
