"""One dispatcher leads at a time, and what each part says of itself is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_platform import HandClock, SmallPlatform, train
from together import together

from genplatform.domain.times import LEADER_LEASE_SECONDS
from genplatform.errors import LostLeadership
from genplatform.services import health, leadership


def test_one_leads_and_keeps_its_term(p: SmallPlatform) -> None:
    term = leadership.lead(p.w, "a")

    p.clock.go(LEADER_LEASE_SECONDS - 1)

    assert leadership.lead(p.w, "a") == term
    assert leadership.lead(p.w, "b") is None
    p.clock.go(LEADER_LEASE_SECONDS - 1)
    assert leadership.lead(p.w, "b") is None


def test_another_takes_over_once_the_lease_is_over_and_the_first_is_refused(p: SmallPlatform) -> None:
    old = leadership.lead(p.w, "a")
    assert old is not None
    p.clock.go(LEADER_LEASE_SECONDS)

    new = leadership.lead(p.w, "b")

    assert new == old + 1
    assert leadership.lead(p.w, "a") is None
    with pytest.raises(LostLeadership), leadership.led(p.w, old):
        raise AssertionError("an old term opened a transaction")
    with leadership.led(p.w, new):
        pass


def test_one_that_steps_down_is_followed_at_once(p: SmallPlatform) -> None:
    term = leadership.lead(p.w, "a")
    leadership.step_down(p.w, "b")
    assert leadership.lead(p.w, "b") is None

    leadership.step_down(p.w, "a")

    assert leadership.lead(p.w, "b") == (term or 0) + 1


def test_one_whose_clock_is_behind_keeps_its_lead_beside_one_that_watches(p: SmallPlatform) -> None:
    behind, ours = HandClock(p.clock.now - 60), replace(p.w, clock=p.clock)
    theirs = replace(p.w, clock=behind)
    watch = leadership.Watch(ours.steady)
    leadership.lead(theirs, "a")
    leadership.lead(ours, "b", watch)
    leadership.step_down(ours, "b")
    term = leadership.lead(theirs, "a", leadership.Watch(theirs.steady))

    led = []
    for _ in range(20):
        p.clock.go(1)
        behind.go(1)
        led.append((leadership.lead(theirs, "a"), leadership.lead(ours, "b", watch), leadership.lead(ours, "b", watch)))

    assert led == [(term, None, None)] * 20


def test_of_many_at_once_one_leads(on_each: SmallPlatform) -> None:
    terms = together([lambda n=n: leadership.lead(on_each.w, f"d{n}") for n in range(10)])

    assert len([t for t in terms if t is not None]) == 1


def test_a_healthy_platform_is_ready(p: SmallPlatform) -> None:
    assert {name: part["ok"] for name, part in health.ready(p.w).items()} == {
        "catalog": True,
        "redis": True,
        "store": True,
    }


def test_what_cannot_be_reached_is_named_with_its_reason(p: SmallPlatform) -> None:
    p.queues.reachable = False

    ready = health.ready(p.w)

    assert (ready["redis"]["ok"], ready["redis"]["message"]) == (False, "Redis was cut off by the test.")
    assert health.status(p.w)["state"] == "degraded"


def part(p: SmallPlatform, name: str) -> dict[str, object] | None:
    return next((one for one in health.status(p.w)["parts"] if one["name"] == name), None)


def test_the_dispatcher_is_up_while_it_leads(p: SmallPlatform) -> None:
    dispatcher = part(p, "dispatcher")
    assert dispatcher is not None
    assert (dispatcher["state"], dispatcher["detail"]) == ("down", "no dispatcher leads")

    p.one(train())
    p.open(p.one(train("s")))

    dispatcher = part(p, "dispatcher")
    assert dispatcher is not None
    assert (dispatcher["state"], dispatcher["detail"]) == ("up", "leads in term 1; 1 queued, 1 starting")
    assert part(p, "ray") is None
    p.clock.go(60)
    dispatcher = part(p, "dispatcher")
    assert dispatcher is not None
    assert "heard of 60 s ago" in str(dispatcher["detail"])


def test_ray_is_as_the_leader_saw_it(p: SmallPlatform) -> None:
    term = p.term()
    leadership.tell(p.w, term, {"ray": {"ok": False, "detail": "no answer", "hint": "look"}})

    ray = part(p, "ray")
    assert ray is not None
    assert (ray["state"], ray["detail"], ray["hint"]) == ("failed", "no answer", "look")

    with pytest.raises(LostLeadership):
        leadership.tell(p.w, term - 1, {"ray": {"ok": True}})
    ray = part(p, "ray")
    assert ray is not None
    assert ray["state"] == "failed"
