"""What a job needs: found by name, id or prefix; released when it succeeds, cancelled when it does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from small_platform import TENANT, SmallPlatform, generate, train
from together import together

from genplatform.errors import BadSpec
from genplatform.services import cancel


@pytest.mark.parametrize("said", [lambda i: "t", lambda i: i, lambda i: i[:6]], ids=["name", "id", "prefix"])
def test_a_need_is_named_by_name_id_or_prefix(p: SmallPlatform, said: Callable[[str], str]) -> None:
    t = p.one(train("t"))
    g = p.one(generate("g", model="t", more=f"needs: [{said(t)}]\n"))

    assert p.state(g) == "waiting"

    p.trainer(p.open(t)).publish()

    assert p.state(g) == "queued"
    assert p.reason(g) is None


def test_a_name_means_its_newest_job(p: SmallPlatform) -> None:
    p.trained("t")
    p.one(train("t"))

    assert p.state(p.one(generate("g", more="needs: [t]\n"))) == "waiting"


def test_a_need_that_has_succeeded_is_met(p: SmallPlatform) -> None:
    p.trained("t")

    assert p.state(p.one(generate("g", more="needs: [t]\n"))) == "queued"


def test_a_need_that_cannot_succeed_any_more_is_refused(p: SmallPlatform) -> None:
    cancelled = p.one(train("c"))
    cancel.cancel(p.w, TENANT, cancelled)
    failed = p.one(train("f"))
    p.trainer(p.open(failed)).fail()

    for need, state in ((cancelled, "cancelled"), (failed, "failed")):
        with pytest.raises(BadSpec, match=f"{need} .* has {state}"):
            p.submit(generate(more=f"needs: [{need}]\n"))


def test_a_job_waits_for_all_it_needs(p: SmallPlatform) -> None:
    a, b = p.submit(train("a") + "---\n" + train("b"))
    g = p.one(generate("g", more="needs: [a, b]\n"))

    p.trainer(p.open(a)).publish()
    assert p.state(g) == "waiting"

    p.trainer(p.open(b)).publish()
    assert p.state(g) == "queued"


def test_two_needs_that_succeed_at_once_release_the_job_once(on_each: SmallPlatform) -> None:
    p = on_each
    names = [f"t{n}" for n in range(6)]
    ids = p.submit("---\n".join(train(n) for n in names))
    g = p.one(generate("g", more=f"needs: [{', '.join(names)}]\n"))
    nodes = [p.trainer(p.open(i)) for i in ids]

    together([lambda n=n: n.publish() for n in nodes])

    assert p.state(g) == "queued"
    assert len(p.events(g, "queued")) == 1


def test_a_job_submitted_while_its_need_succeeds_is_never_left_waiting(on_each: SmallPlatform) -> None:
    p = on_each
    for n in range(5):
        node = p.trainer(p.open(p.one(train(f"t{n}"))))

        _, g = together([node.publish, lambda n=n: p.one(generate(f"g{n}", more=f"needs: [t{n}]\n"))])

        assert p.state(str(g)) == "queued"


def test_submits_with_the_same_needs_in_another_order_do_not_lock_each_other_out(on_each: SmallPlatform) -> None:
    names = [f"t{n}" for n in range(8)]
    on_each.submit("---\n".join(train(n) for n in names))
    there, back = ", ".join(names), ", ".join(reversed(names))
    calls = [
        lambda n=n: on_each.one(generate(f"g{n}", more=f"needs: [{there if n % 2 else back}]\n")) for n in range(8)
    ]

    for _ in range(3):
        assert len(set(together(calls))) == 8


def test_a_failed_need_cancels_what_needs_it_all_the_way_down(p: SmallPlatform) -> None:
    a = p.one(train("a"))
    b = p.one(train("b", "needs: [a]\n"))
    c = p.one(generate("c", more="needs: [b]\n"))
    other = p.one(train("other"))

    p.trainer(p.open(a)).fail(message="no data")

    assert [p.state(j) for j in (a, b, c, other)] == ["failed", "cancelled", "cancelled", "queued"]
    assert p.reason(b) == p.reason(c) == "dependency_failed"
    assert p.job(b)["reason"]["message"] == f"It needs a ({a}), which failed."
    assert p.job(c)["reason"]["message"] == f"It needs b ({b}), which was cancelled."


def test_what_needs_a_job_by_two_ways_is_cancelled_once(p: SmallPlatform) -> None:
    a = p.one(train("a"))
    p.submit(train("b", "needs: [a]\n") + "---\n" + train("c", "needs: [a]\n"))
    d = p.one(train("d", "needs: [b, c]\n"))

    p.trainer(p.open(a)).fail()

    assert p.state(d) == "cancelled"
    assert len(p.events(d, "cancelled")) == 1


def test_a_chain_of_any_length_is_cancelled(p: SmallPlatform) -> None:
    chain = [train("t0")] + [train(f"t{n}", f"needs: [t{n - 1}]\n") for n in range(1, 700)]
    ids = p.submit("---\n".join(chain))

    p.trainer(p.open(ids[0])).fail()

    assert p.state(ids[0]) == "failed"
    assert {p.row(i).state for i in ids[1:]} == {"cancelled"}


def test_a_cancelled_need_cancels_what_needs_it(p: SmallPlatform) -> None:
    a = p.one(train("a"))
    b = p.one(train("b", "needs: [a]\n"))

    cancel.cancel(p.w, TENANT, a)

    assert (p.state(b), p.reason(b)) == ("cancelled", "dependency_failed")


def test_a_need_that_is_tried_again_is_still_waited_for(p: SmallPlatform) -> None:
    a = p.one(train("a"))
    b = p.one(train("b", "needs: [a]\n"))

    p.trainer(p.open(a)).fail("node_lost")

    assert (p.state(a), p.state(b)) == ("queued", "waiting")
