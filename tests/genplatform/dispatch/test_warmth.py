"""How many idle runners a node is to keep: by the settings, by recent use, and never beside what is starting."""

from __future__ import annotations

import math

import pytest
from dispatched import Dispatched
from small_platform import train

from genplatform import settings
from genplatform.assembly import warm_idle
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


@pytest.mark.parametrize(("given", "seconds"), [("", math.inf), ("45s", 45.0), ("30m", 1800.0), ("12h", 43_200.0)])
def test_the_time_after_which_none_is_kept_is_a_span(given: str, seconds: float) -> None:
    assert warm_idle(settings.load({"GENCTL_WARM_IDLE": given})) == seconds


@pytest.mark.parametrize("given", ["30", "-5m", "m", "1 h", "half an hour", "\u0663m", "30m30s", "inf"])
def test_a_time_that_is_none_is_refused_with_what_was_given(given: str) -> None:
    with pytest.raises(SettingsError) as refused:
        warm_idle(settings.load({"GENCTL_WARM_IDLE": given}))

    assert repr(given) in refused.value.message
    assert "30m" in refused.value.hint


@pytest.mark.parametrize(("given", "on"), [("", False), ("0", False), ("1", True)])
def test_a_cluster_autoscales_where_it_is_said(given: str, on: bool) -> None:
    assert settings.load({"GENCTL_RAY_AUTOSCALES": given}).autoscales is on


def test_a_switch_that_is_neither_on_nor_off_is_refused() -> None:
    with pytest.raises(SettingsError, match="GENCTL_RAY_AUTOSCALES is 'yes'"):
        settings.load({"GENCTL_RAY_AUTOSCALES": "yes"})
