"""Ray's own processes killed under a training run and a generate job: Ray is brought back, and both end right."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from long_work import GENERATE, TRAIN, claims_of, items_made_once, model_digest, submitted
from whole_platform import WholePlatform, eventually, kill

pytestmark = [pytest.mark.platform, pytest.mark.timeout(600)]


@pytest.mark.parametrize("victim", ["raylet", "gcs_server"])
def test_work_under_way_ends_right(
    platform: WholePlatform, undisturbed: str, victim: str, record_property: Callable[[str, object], None]
) -> None:
    train = submitted(platform, TRAIN.format(name=f"{victim}-train"))
    platform.partway(train, low=0.05)
    generate = submitted(platform, GENERATE.format(name=f"{victim}-generate"))
    record_property("generated_at_kill", platform.partway(generate))
    record_property("trained_at_kill", platform.partway(train))
    ray = platform.part("ray")

    kill(platform.process("ray", victim))
    trained, generated = platform.finished(train, 300), platform.finished(generate, 300)

    assert (trained["state"], generated["state"]) == ("succeeded", "succeeded"), (trained, generated, platform.logs())
    # The worker of a train Run is its Run's; those of a generate job's pool may come and go within one.
    ends = [(r["state"], r["cause"]) for r in trained["runs"]]
    # The first loss is retried at once; Ray as a whole is started anew after, and may take that second Run with it.
    assert (ends[0], ends[-1]) == (("lost", "node_lost"), ("succeeded", None))
    assert len(ends) == 2 or ends[1:-1] == [("lost", "node_lost")]
    assert [(r["state"], r["cause"]) for r in generated["runs"]] == [("succeeded", None)]
    assert model_digest(platform, trained) == undisturbed
    assert max(claims_of(items_made_once(platform, generated))) > 1
    assert platform.part("ray") != ray
    assert eventually(platform.is_up)
