"""What is judged: a published model on its data or on other data, or one that has just been trained."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from genplatform.errors import BadRequest, GenctlError
from genworkers import models
from genworkers.data.dataset import split
from genworkers.data.fetching import uploads_of
from genworkers.data.sources import open_source
from genworkers.judging.report import Asked, Stopped, Subject, Watch, judge, told
from genworkers.models import LoadedModel
from genworkers.sampler import Sampler
from genworkers.training.loop import Trained

log = logging.getLogger(__name__)

Say = Callable[[str], None]


def subject_of(loaded: LoadedModel, order: Mapping[str, Any], say: Say) -> Subject:
    """Return a published model with what an order holds it against: its own training data, where it names no other."""
    card = loaded.card
    data = order["data"] or card.get("data")
    if data is None:
        raise BadRequest(
            f"The model {loaded.name} does not say what it was trained on.", "Name what to hold it against: `data:`."
        )
    dataset = open_source(data, order["folders"], uploads_of(order["store_url"], order["tenant"]))
    own = card.get("data_digest") == dataset.digest
    parts, record = split(dataset, order["split"] or (_as_asked(card["split"]) if own else None))
    whose = "the data it was trained on" if own else "which is not the data it was trained on"
    say(f"Judging {loaded.name} on {len(dataset):,} items of {dataset.name}, {whose}.")
    # What its training found is of this data's validation part only where that is the same part.
    known = card.get("metrics", {}) if own and record == card["split"] else {}
    return Subject(loaded.sampler, dataset, parts, record, known)


def judge_trained(trained: Trained, wanted: Mapping[str, Any], seed: int, watch: Watch, say: Say) -> Any:
    """Judge what a training came to, as an evaluate job of the published version would; raises Stopped.

    Returns None for a model that cannot be judged, with the reason said: it is no worse for it.
    """
    recipe, state = trained.recipe, trained.state
    sampler = Sampler(recipe, models.served(recipe, state.modules), recipe.tile)
    asked = Asked(int(wanted["samples"]), seed, tuple(wanted["metrics"]))
    subject = Subject(sampler, trained.dataset, trained.parts, trained.split, state.metrics)
    return judge_if_possible(lambda: subject, asked, watch, say)


def judge_if_possible(subject: Callable[[], Subject], asked: Asked, watch: Watch, say: Say) -> Any:
    """Judge a model that is worth having without it too; return None, with the reason said, where that fails.

    Raises Stopped.
    """
    try:
        found = judge(subject(), asked, watch)
    except GenctlError as error:
        say(f"It was not judged: {error.message} {error.hint}".rstrip())
        return None
    except Stopped:
        raise
    except Exception as error:  # of a recipe's own code, or for want of memory: what was trained is not lost for it
        log.exception("not_judged")
        say(f"It was not judged: {type(error).__name__}: {error}")
        return None
    for line in told(found):
        say(line)
    return found


def _as_asked(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `split:` that the record of a split was made from."""
    return {**record["shares"], "seed": record["seed"], **({"by": record["by"]} if "by" in record else {})}
