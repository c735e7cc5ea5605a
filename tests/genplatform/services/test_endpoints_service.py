"""Endpoints: wishes counted by generation, and what is said of each by whoever serves them."""

from __future__ import annotations

from typing import Any

import pytest
from small_platform import TENANT, SmallPlatform
from together import together

from genplatform.catalog import EndpointRow
from genplatform.domain.states import EndpointState
from genplatform.errors import BadRequest, Conflict, LostLeadership, NotFound
from genplatform.services import endpoints

URL = "http://127.0.0.1:9/endpoints/default/digits"


def wish(p: SmallPlatform, name: str = "digits", model: str = "noise@1", **scale: int) -> dict[str, Any]:
    return endpoints.create(p.w, TENANT, name, model, **scale)


def row(p: SmallPlatform) -> EndpointRow:
    return endpoints.wishes(p.w)[0].row


def served(p: SmallPlatform, of: EndpointRow, state: EndpointState = EndpointState.READY, ready: int = 1) -> None:
    endpoints.observe(p.w, p.term(), of, state=state, ready=ready, url=URL, reason=None)


def test_a_wish_is_pending_until_it_is_seen_to_be_served(p: SmallPlatform) -> None:
    made = wish(p, max_replicas=3)

    assert (made["state"], made["model"], made["replicas"]) == ("pending", "noise@1", {"ready": 0, "min": 1, "max": 3})
    assert made["url"] == "http://127.0.0.1:8000/v1"
    assert not endpoints.route(p.w, TENANT, "digits").ready
    assert p.queues.wait_for_wake(0)

    served(p, row(p))

    shown = endpoints.show(p.w, TENANT, "digits")
    assert (shown["state"], shown["replicas"]["ready"], shown["reason"]) == ("ready", 1, None)
    assert endpoints.route(p.w, TENANT, "digits").ready


def test_the_same_wish_again_is_no_wish(p: SmallPlatform) -> None:
    wish(p)
    served(p, row(p))

    assert wish(p)["state"] == "ready"
    assert row(p).generation == 1


def test_another_model_or_scale_is_the_next_generation(p: SmallPlatform) -> None:
    p.trained("m")
    wish(p)
    served(p, row(p))

    assert wish(p, model="m")["state"] == "pending"
    assert (row(p).generation, endpoints.show(p.w, TENANT, "digits")["model"]) == (2, "m@1")
    wish(p, model="m", max_replicas=2)
    assert row(p).generation == 3
    assert endpoints.route(p.w, TENANT, "digits").ready  # the replicas of before still answer


def test_what_is_seen_of_an_earlier_wish_is_not_said_of_a_newer(p: SmallPlatform) -> None:
    wish(p)
    before = row(p)
    wish(p, max_replicas=2)

    served(p, before)

    assert endpoints.show(p.w, TENANT, "digits")["state"] == "pending"


def test_a_deleted_endpoint_is_gone_when_nothing_serves_it(p: SmallPlatform) -> None:
    wish(p)
    served(p, row(p))

    assert endpoints.delete(p.w, TENANT, "digits")["state"] == "deleting"
    assert endpoints.delete(p.w, TENANT, "digits")["state"] == "deleting"
    assert row(p).generation == 2
    with pytest.raises(NotFound):
        endpoints.route(p.w, TENANT, "digits")
    assert endpoints.served(p.w, TENANT) == []

    endpoints.gone(p.w, p.term(), row(p))

    assert endpoints.ls(p.w, TENANT) == {"endpoints": []}
    for act in (endpoints.show, endpoints.delete):
        with pytest.raises(NotFound):
            act(p.w, TENANT, "digits")


def test_one_wished_for_again_while_it_goes_stays_and_starts_anew(p: SmallPlatform) -> None:
    wish(p)
    served(p, row(p))
    endpoints.delete(p.w, TENANT, "digits")
    going = row(p)

    again = wish(p)
    endpoints.gone(p.w, p.term(), going)

    assert (again["state"], again["replicas"]["ready"]) == ("pending", 0)
    assert row(p).generation == 3
    # The replicas of before are being taken down: nobody is sent there.
    assert not endpoints.route(p.w, TENANT, "digits").ready


def test_wishes_that_cannot_be_are_refused(p: SmallPlatform) -> None:
    for name, scale in (
        ("", {}),
        ("a b", {}),
        ("x" * 64, {}),
        ("e", {"min_replicas": 2}),
        ("e", {"min_replicas": -1}),
        ("e", {"min_replicas": 0, "max_replicas": 0}),
        ("e", {"max_replicas": 10**6}),
    ):
        with pytest.raises(BadRequest):
            wish(p, name, **scale)
    with pytest.raises(NotFound, match="'nose@1'"):
        wish(p, model="nose@1")
    assert endpoints.ls(p.w, TENANT) == {"endpoints": []}


def test_a_model_is_routed_by_endpoint_and_by_version(p: SmallPlatform) -> None:
    p.trained("m")
    wish(p, "a", "m@1")
    wish(p, "b", "noise@1")

    assert [endpoints.route(p.w, TENANT, ref).name for ref in ("a", "b", "m@1", "noise@1")] == ["a", "b", "a", "b"]
    for ref in ("m@2", "m", "", "x", "m@latest"):
        with pytest.raises(NotFound):
            endpoints.route(p.w, TENANT, ref)
    with pytest.raises(NotFound):
        endpoints.route(p.w, "other", "a")
    assert [r.name for r in endpoints.served(p.w, TENANT)] == ["a", "b"]


def test_of_many_that_wish_for_one_at_once_it_is_made_once(on_each: SmallPlatform) -> None:
    def call() -> str:
        try:
            return str(wish(on_each)["state"])
        except Conflict:
            return "again"

    assert set(together([call] * 8)) <= {"pending", "again"}
    assert row(on_each).generation == 1


def test_a_term_that_is_over_says_nothing_of_endpoints(p: SmallPlatform) -> None:
    wish(p)
    old = p.term()
    p.clock.go(6)
    p.term("new")

    with pytest.raises(LostLeadership):
        endpoints.observe(p.w, old, row(p), state=EndpointState.READY, ready=1, url=URL, reason=None)
    with pytest.raises(LostLeadership):
        endpoints.gone(p.w, old, row(p))
    assert endpoints.show(p.w, TENANT, "digits")["state"] == "pending"


def test_the_order_says_all_that_a_replica_needs(p: SmallPlatform) -> None:
    wish(p)

    (one,) = endpoints.wishes(p.w)

    assert one.app == "default.digits"
    assert one.order["route"] == "/endpoints/default/digits"
    assert one.order["secret"] == endpoints.route(p.w, TENANT, "digits").secret
    assert one.order["model"]["recipe"] == "noise"
