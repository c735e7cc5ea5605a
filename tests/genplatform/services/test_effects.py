"""What is done on Redis after a commit: in order, and once for all that it is the same for."""

from __future__ import annotations

from genplatform.errors import Unavailable
from genplatform.services.context import Effects


def test_what_is_the_same_for_many_is_done_once_in_the_place_of_the_first() -> None:
    done: list[object] = []
    effects = Effects()

    effects.add_each("release", done.append, [1])
    effects.add(lambda: done.append("between"))
    effects.add_each("release", done.append, [2, 3])
    effects.add_each("withdraw", done.append, [4])
    effects.run()

    assert done == [[1, 2, 3], "between", [4]]


def test_what_is_to_be_done_once_comes_behind_all_that_was_added_before() -> None:
    done: list[str] = []
    effects = Effects()

    def wake() -> None:
        done.append("wake")

    for name in "ab":
        effects.add(lambda name=name: done.append(name))  # type: ignore[misc]
        effects.add_once(wake)
    effects.run()

    assert done == ["a", "b", "wake"]


def test_what_cannot_be_reached_ends_it_and_is_nobodys_error() -> None:
    done: list[object] = []
    effects = Effects()

    def cut(_: object) -> None:
        raise Unavailable("Redis is away.")

    effects.add_each("release", cut, [1])
    effects.add(lambda: done.append("after"))
    effects.run()

    assert done == []
