"""How many idle runners a node is to keep: by the settings, by recent use, and never beside what is starting."""

from __future__ import annotations

import pytest
from dispatched import Dispatched
from small_platform import train

from genplatform import settings
from genplatform.dispatch.warmth import BUSY, RECENT_SECONDS, STARTING_SECONDS, Warmth
from genplatform.errors import SettingsError


class Hand:
    """A clock moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Hand:
    return Hand()


def test_the_least_is_kept_and_one_more_after_much_use(clock: Hand) -> None:
    warmth = Warmth(clock, 1)

    at_first = warmth.wanted([])
    for _ in range(BUSY):
        warmth.note_start()
    busy = warmth.wanted([])
    clock.now += RECENT_SECONDS + 1
    later = warmth.wanted([])

    assert (at_first, busy, later) == (1, 2, 1)


def test_none_is_kept_where_none_is_wanted_however_much_is_started(clock: Hand) -> None:
    warmth = Warmth(clock, 0)

    for _ in range(BUSY):
        warmth.note_start()

    assert warmth.wanted([]) == 0


def test_none_is_kept_once_nothing_was_started_for_long_and_again_after_a_start(clock: Hand) -> None:
    warmth = Warmth(clock, 1, idle_after=60.0)

    clock.now += 59
    still = warmth.wanted([])
    clock.now += 2
    idle = warmth.wanted([])
    warmth.note_start()

    assert (still, idle, warmth.wanted([])) == (1, 0, 1)


def test_what_is_starting_has_the_machine_for_itself_for_a_while(d: Dispatched) -> None:
    d.submit(train())
    d.go(6.0)
    starting = d.engine.warm
    d.go(STARTING_SECONDS + 6.0)

    assert starting is None
    assert d.engine.warm == 1


def test_a_dispatcher_that_drains_ends_the_idle_runners(d: Dispatched) -> None:
    d.tick()
    kept = d.engine.warm

    d.dispatcher.drain(1.0, lambda _: None)

    assert (kept, d.engine.warm) == (1, 0)


def test_the_settings_say_how_many_are_kept() -> None:
    assert settings.load({}).warm_runners == 1
    assert settings.load({"GENCTL_WARM_RUNNERS": "0"}).warm_runners == 0


@pytest.mark.parametrize("given", ["-1", "many", "1.5", "\u0663", "1" * 9])
def test_a_number_of_runners_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(SettingsError, match="GENCTL_WARM_RUNNERS"):
        settings.load({"GENCTL_WARM_RUNNERS": given})
