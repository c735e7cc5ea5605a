"""The secret of nodes' tokens: bound to the record, kept in memory, and never believed for long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa
from fake_node import node_secret
from small_platform import TENANT, SmallPlatform
from together import together

from genplatform.catalog import Catalog
from genplatform.domain.tokens import RunGrant, issue
from genplatform.errors import Unavailable
from genplatform.services.identity import AGAIN_SECONDS, FRESH_SECONDS, NodeSecret

GRANT = RunGrant(TENANT, "j_23456789ab", 2)


def token(p: SmallPlatform) -> str:
    return issue(node_secret(p.w), GRANT)


def become_another_record(p: SmallPlatform, incarnation: str = "another") -> None:
    with p.w.catalog.engine.begin() as connection:
        connection.execute(sa.text("UPDATE identity SET incarnation = :it"), {"it": incarnation})


class Asked:
    """Counts how often the catalog is asked which record it is."""

    def __init__(self, catalog: Catalog) -> None:
        self.times = 0
        sa.event.listen(catalog.engine, "before_cursor_execute", self._count)

    def _count(self, *said: object) -> None:
        self.times += "FROM identity" in str(said[2])


@pytest.fixture
def asked(p: SmallPlatform) -> Iterator[Asked]:
    return Asked(p.w.catalog)


def test_the_same_run_of_another_record_has_another_token(on_each: SmallPlatform) -> None:
    before = token(on_each)

    become_another_record(on_each)

    assert token(on_each) != before
    assert NodeSecret(on_each.w).grant(before) is None
    assert NodeSecret(on_each.w).grant(token(on_each)) == GRANT


def test_a_door_asks_the_catalog_once_for_many_requests(p: SmallPlatform, asked: Asked) -> None:
    held, door = token(p), NodeSecret(p.w)
    asked.times = 0

    granted = [door.known(held) or door.grant(held) for _ in range(100)]
    p.clock.go(FRESH_SECONDS - 0.1)
    granted.append(door.known(held))

    assert granted == 101 * [GRANT]
    assert asked.times == 1


def test_tokens_that_nobody_knows_cost_a_question_a_second(p: SmallPlatform, asked: Asked) -> None:
    door = NodeSecret(p.w)

    for _ in range(100):
        assert door.grant("run:default:j_23456789ab:2:" + 40 * "0") is None
    p.clock.go(AGAIN_SECONDS)
    door.grant("")

    assert asked.times == 2


def test_a_door_that_lived_through_a_restore_takes_old_tokens_for_a_moment_and_new_ones_at_once(
    p: SmallPlatform,
) -> None:
    old, door = token(p), NodeSecret(p.w)
    assert door.grant(old) == GRANT
    become_another_record(p)
    new = token(p)
    p.clock.go(AGAIN_SECONDS)

    assert door.known(old) == GRANT
    assert (door.known(new), door.grant(new)) == (None, GRANT)
    assert (door.known(old), door.grant(old)) == (None, None)


def test_an_old_token_is_refused_after_a_moment_although_no_new_one_comes(p: SmallPlatform) -> None:
    old, door = token(p), NodeSecret(p.w)
    assert door.grant(old) == GRANT
    become_another_record(p)

    p.clock.go(FRESH_SECONDS)

    assert (door.known(old), door.grant(old)) == (None, None)


def test_a_clock_that_is_set_back_makes_nothing_fresh(p: SmallPlatform) -> None:
    old, door = token(p), NodeSecret(p.w)
    assert door.grant(old) == GRANT
    become_another_record(p)

    p.clock.go(-3600)

    assert (door.known(old), door.grant(old)) == (None, None)


class Away(Catalog):
    """A catalog that cannot be reached while `away`."""

    away = True
    tried = 0

    def read(self):  # type: ignore[no-untyped-def]
        self.tried += 1
        if self.away:
            raise Unavailable("The catalog is away.", "Wait.")
        return super().read()


def test_what_was_known_stays_known_while_the_catalog_is_away_and_it_is_asked_once_a_second(
    p: SmallPlatform, catalog_url: str
) -> None:
    catalog = Away(catalog_url)
    catalog.away = False
    held, door = token(p), NodeSecret(replace(p.w, catalog=catalog))
    assert door.grant(held) == GRANT
    catalog.away, catalog.tried = True, 0
    p.clock.go(FRESH_SECONDS)

    granted = [door.known(held) or door.grant(held) for _ in range(10)]
    with pytest.raises(Unavailable, match="away"):
        door.grant("run:default:j_23456789ab:3:" + 40 * "0")

    assert granted == 10 * [GRANT]
    assert catalog.tried == 1
    catalog.close()


def test_a_door_that_never_could_ask_says_so_and_opens_when_it_can(p: SmallPlatform, catalog_url: str) -> None:
    catalog = Away(catalog_url)
    held, door = token(p), NodeSecret(replace(p.w, catalog=catalog))
    for _ in range(2):
        with pytest.raises(Unavailable, match="away"):
            door.grant(held)

    catalog.away = False
    p.clock.go(AGAIN_SECONDS)

    assert door.grant(held) == GRANT
    assert catalog.tried == 2
    catalog.close()


def test_the_first_requests_of_all_wait_for_the_one_that_asks(p: SmallPlatform, asked: Asked) -> None:
    held, door = token(p), NodeSecret(p.w)
    asked.times = 0

    granted = together(8 * [lambda: door.grant(held)])

    assert granted == 8 * [GRANT]
    assert asked.times == 1
