"""Who leads: one at a time, each with a higher term, and a stale term is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from postgres import PostgresServer
from records import NOW, a_job
from together import together

from genplatform.catalog import Catalog

LEASE = 5.0


def take(catalog: Catalog, holder: str, now: float) -> int | None:
    with catalog.write() as tx:
        return tx.leaders.take(holder, now, LEASE)


def test_one_leads_until_its_lease_is_over_and_the_next_has_the_next_term(catalog):
    assert take(catalog, "a", NOW) == 1
    assert take(catalog, "b", NOW + 4.999) is None
    assert take(catalog, "b", NOW + 5.0) == 2
    assert take(catalog, "a", NOW + 5.0) is None


def test_a_leader_that_renews_in_time_keeps_its_term_and_one_that_comes_late_opens_another(catalog):
    assert [take(catalog, "a", NOW + t) for t in (0, 3, 7, 11)] == [1, 1, 1, 1]
    assert take(catalog, "a", NOW + 16) == 2


def test_a_stale_term_is_refused_and_the_current_one_holds_also_past_its_time(catalog):
    take(catalog, "a", NOW)
    take(catalog, "b", NOW + 10)

    with catalog.write() as tx:
        assert tx.leaders.hold(1) is False
        assert tx.leaders.hold(3) is False
        assert tx.leaders.hold(2) is True


def test_a_leader_that_gives_up_is_followed_at_once_and_another_cannot_end_its_lease(catalog):
    take(catalog, "a", NOW)
    with catalog.write() as tx:
        tx.leaders.give_up("b", NOW + 1)
    assert take(catalog, "b", NOW + 1) is None

    with catalog.write() as tx:
        tx.leaders.give_up("a", NOW + 1)
    assert take(catalog, "b", NOW + 1) == 2


def test_what_a_leader_sees_is_kept_for_its_term_only(catalog):
    take(catalog, "a", NOW)
    with catalog.write() as tx:
        tx.leaders.tell(1, {"ray": "up"})
        tx.leaders.tell(2, {"ray": "down"})
        leader = tx.leaders.current()
    take(catalog, "b", NOW + 6)
    with catalog.read() as tx:
        follower = tx.leaders.current()
        nobody = tx.leaders.current("nosuch")

    assert (leader.holder, leader.term, leader.expires_at, leader.data) == ("a", 1, NOW + 5, {"ray": "up"})
    assert (follower.holder, follower.term, follower.data) == ("b", 2, {})
    assert nobody is None


def test_of_many_that_reach_for_a_free_lease_one_gets_it(catalog):
    terms = together([lambda h=h: take(catalog, f"d{h}", NOW) for h in range(10)])

    assert sorted(t for t in terms if t is not None) == [1]


def test_nobody_takes_over_while_a_write_of_the_leader_is_open(postgres: PostgresServer, postgres_url):
    """SQLite has one writer; on PostgreSQL the held row keeps the next leader waiting."""
    catalog = Catalog(postgres_url)
    take(catalog, "a", NOW)

    with ThreadPoolExecutor(1) as pool:
        with catalog.write() as tx:
            assert tx.leaders.hold(1)
            next_term = pool.submit(take, catalog, "b", NOW + 60)
            while not next_term.done() and not postgres.blocked():
                pass
            took_over_at_once = next_term.done()
            a_job(tx)
        term = next_term.result()
    catalog.close()

    assert not took_over_at_once
    assert term == 2
