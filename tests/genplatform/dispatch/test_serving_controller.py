"""The serving controller: what is served comes to match what is wished, and what is said of it is true."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_platform import TENANT, SmallPlatform

from genplatform.dispatch.serving import CONFIRM_SECONDS, ServingController
from genplatform.engine.inline import InlineServing
from genplatform.engine.seam import ServeOrder
from genplatform.errors import BadRequest, LostLeadership, Unavailable
from genplatform.services import endpoints

APP = "default.digits"


class Refusing(InlineServing):
    """Serving that cannot build the applications of some endpoints."""

    refused: frozenset[str] = frozenset()
    applied = 0

    def apply(self, order: ServeOrder) -> None:
        self.applied += 1
        if order.name in self.refused:
            raise BadRequest(f"Endpoint {order.name} cannot be served: no such recipe.")
        super().apply(order)


class Served(SmallPlatform):
    """The platform with a controller over serving by hand."""

    def __init__(self, database: str, folder: Path) -> None:
        super().__init__(database, folder)
        self.serving = Refusing()
        self.controller = ServingController(self.w, self.serving)

    def tick(self, times: int = 2) -> None:
        for _ in range(times):
            self.controller.tick(self.term())

    def wish(self, name: str = "digits", model: str = "noise@1", **scale: int) -> None:
        endpoints.create(self.w, TENANT, name, model, **scale)

    def seen(self, name: str = "digits") -> tuple[str, int]:
        shown = endpoints.show(self.w, TENANT, name)
        return shown["state"], shown["replicas"]["ready"]

    def why(self, name: str = "digits") -> str:
        reason = endpoints.show(self.w, TENANT, name)["reason"]
        return f"{reason['code']}: {reason['message']}" if reason else ""


@pytest.fixture
def s(catalog_url: str, tmp_path: Path) -> Iterator[Served]:
    made = Served(catalog_url, tmp_path)
    yield made
    made.close()


def test_serving_is_not_touched_before_somebody_wishes(s: Served) -> None:
    s.serving.reachable = False

    s.tick()

    assert s.serving.applied == 0


def test_a_wish_is_applied_and_becomes_ready(s: Served) -> None:
    s.wish(max_replicas=2)
    s.tick()
    assert (s.seen(), s.why()) == (("pending", 0), "starting: Its replicas are being started.")

    s.serving.become(APP, "running", 1)
    s.tick()

    assert (s.seen(), s.why()) == (("ready", 1), "")
    route = endpoints.route(s.w, TENANT, "digits")
    assert route.ready
    assert route.url == "http://127.0.0.1:0/endpoints/default/digits"


def test_fewer_replicas_than_wished_are_degraded(s: Served) -> None:
    s.wish(min_replicas=2, max_replicas=2)
    s.tick()
    s.serving.become(APP, "running", 1, "One does not fit.")
    s.tick()

    assert s.seen() == ("degraded", 1)
    assert s.why() == "replicas_missing: 1 of at least 2 replicas answer. One does not fit."


def test_what_cannot_start_has_failed_and_says_why(s: Served) -> None:
    s.wish()
    s.tick()
    s.serving.become(APP, "failed", 0, "The weights are gone.")
    s.tick()

    assert (s.seen(), s.why()) == (("failed", 0), "start_failed: The weights are gone.")
    s.serving.become(APP, "running", 1)
    s.tick()
    assert s.seen() == ("ready", 1)


def test_while_a_newer_wish_starts_the_older_answers_and_that_is_what_is_said(s: Served) -> None:
    s.trained("m")
    s.wish()
    s.tick()
    s.serving.become(APP, "running", 1)
    s.tick()
    s.wish(model="m@1")
    s.tick()

    assert s.seen() == ("degraded", 1)
    assert s.why() == "rolling_over: An earlier wish is answered until this one is up."
    s.serving.become(APP, "running", 1)
    s.tick()
    assert s.seen() == ("ready", 1)


def test_an_endpoint_without_a_least_is_ready_with_nobody(s: Served) -> None:
    s.wish(min_replicas=0)
    s.tick()
    s.serving.become(APP, "running", 0)
    s.tick()

    assert s.seen() == ("ready", 0)


def test_a_deleted_endpoint_is_taken_down_and_forgotten(s: Served) -> None:
    s.wish()
    s.tick()
    endpoints.delete(s.w, TENANT, "digits")
    s.tick(1)
    assert s.serving.served() == {}
    s.tick(1)

    assert endpoints.ls(s.w, TENANT) == {"endpoints": []}


def test_one_wished_for_again_while_it_is_taken_down_comes_up(s: Served) -> None:
    s.wish()
    s.tick()
    endpoints.delete(s.w, TENANT, "digits")
    s.tick(1)
    s.wish()
    s.tick()
    s.serving.become(APP, "running", 1)
    s.tick()

    assert s.seen() == ("ready", 1)


def test_what_nobody_wished_for_is_removed(s: Served) -> None:
    s.wish()
    s.serving.apply(ServeOrder("default.stranger", {"route": "/x"}, 1, 1, 1))

    s.tick()

    assert set(s.serving.served()) == {APP}


def test_after_serve_was_lost_all_is_applied_again(s: Served) -> None:
    s.wish()
    s.tick()
    s.serving.become(APP, "running", 1)
    s.tick()
    s.serving.remove(APP)

    s.tick()

    assert set(s.serving.served()) == {APP}
    assert s.seen() == ("pending", 0)


def test_an_order_that_an_earlier_leader_put_over_a_newer_is_put_right(s: Served) -> None:
    s.wish()
    s.tick()
    (old,) = endpoints.wishes(s.w)
    s.wish(max_replicas=3)
    s.tick()
    s.serving.apply(ServeOrder(APP, old.order, 1, 1, 1))
    s.serving.become(APP, "running", 1)

    s.tick()

    assert s.serving.served()[APP].generation == 2


def test_a_controller_that_starts_anew_starts_from_what_it_finds(s: Served) -> None:
    s.wish()
    s.tick()
    s.serving.become(APP, "running", 1)
    s.controller = ServingController(s.w, s.serving)

    s.tick()

    assert s.seen() == ("ready", 1)


def test_one_that_cannot_be_built_fails_and_holds_no_other_up(s: Served) -> None:
    s.serving.refused = frozenset({APP})
    s.wish()
    s.wish("zebra")
    s.tick()
    s.serving.become("default.zebra", "running", 1)
    s.tick(20)

    assert (s.seen(), s.why()) == (
        ("failed", 0),
        "refused: Endpoint default.digits cannot be served: no such recipe.",
    )
    assert s.seen("zebra") == ("ready", 1)
    assert s.serving.applied == 2  # it is not tried with every round

    s.serving.refused = frozenset()
    s.clock.go(60)
    s.tick()
    s.serving.become(APP, "running", 1)
    s.tick()
    assert s.seen() == ("ready", 1)


def test_a_newer_wish_is_tried_though_the_one_before_was_refused(s: Served) -> None:
    s.serving.refused = frozenset({APP})
    s.wish()
    s.tick()
    s.serving.refused = frozenset()
    s.wish(max_replicas=2)

    s.tick()

    assert set(s.serving.served()) == {APP}


def test_what_is_still_so_is_confirmed_now_and_then(s: Served) -> None:
    s.wish()
    s.tick()
    s.serving.become(APP, "running", 1)
    s.tick()
    first = endpoints.show(s.w, TENANT, "digits")["confirmed_at"]
    s.clock.go(CONFIRM_SECONDS - 1)
    s.tick()
    assert endpoints.show(s.w, TENANT, "digits")["confirmed_at"] == first

    s.clock.go(2)
    s.tick()

    assert endpoints.show(s.w, TENANT, "digits")["confirmed_at"] > first


def test_serving_that_cannot_be_reached_changes_nothing(s: Served) -> None:
    s.wish()
    s.tick()
    s.serving.become(APP, "running", 1)
    s.tick()
    s.serving.reachable = False

    with pytest.raises(Unavailable):
        s.tick()
    assert s.seen() == ("ready", 1)


def test_one_that_does_not_lead_says_nothing(s: Served) -> None:
    s.wish()
    old = s.term()
    s.controller.tick(old)
    s.clock.go(6)
    s.term("new")

    with pytest.raises(LostLeadership):
        s.controller.tick(old)
