"""What tests steer the twin by: ends without warning, silence, and being out of reach."""

from __future__ import annotations

import pytest
from engine_actors import PATIENT

from genplatform.engine.inline import InlineEngine, InlineServing
from genplatform.engine.seam import Liveness, ServeOrder
from genplatform.errors import Unavailable


def test_a_failed_actor_is_told_with_the_reason_given() -> None:
    engine = InlineEngine()
    engine.start("a", PATIENT, {}, cpus=1, gpus=0)

    engine.fail("a", "Its node was lost.")

    deaths = engine.deaths()
    assert [(str(death), death.message) for death in deaths] == [("a", "Its node was lost.")]
    assert engine.capacity().free_cpus == 4.0


def test_a_silent_actor_exists_and_does_not_answer() -> None:
    engine = InlineEngine()
    engine.start("a", PATIENT, {}, cpus=1, gpus=0)

    engine.silence("a")
    silent = engine.liveness(["a"], 0)
    engine.silence("a", False)

    assert silent == {"a": Liveness.SILENT}
    assert engine.liveness(["a"], 0) == {"a": Liveness.ALIVE}
    assert engine.actors() == ["a"]


def test_out_of_reach_it_says_unknown_and_raises_and_forgets_nothing() -> None:
    engine = InlineEngine()
    engine.start("a", PATIENT, {}, cpus=1, gpus=0)

    engine.reachable = False
    unknown = engine.liveness(["a", "b"], 0)
    for call in (engine.capacity, engine.actors, engine.deaths):
        with pytest.raises(Unavailable):
            call()
    engine.reachable = True

    assert unknown == {"a": Liveness.UNKNOWN, "b": Liveness.UNKNOWN}
    assert engine.actors() == ["a"]


def test_serving_out_of_reach_raises_and_keeps_its_orders() -> None:
    serving = InlineServing()
    serving.apply(ServeOrder("digits", {"route": "/e/digits"}, 1, 1, 1))

    serving.reachable = False
    with pytest.raises(Unavailable):
        serving.served()
    serving.reachable = True

    assert list(serving.served()) == ["digits"]
