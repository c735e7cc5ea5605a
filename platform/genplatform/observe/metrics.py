"""Measures in Prometheus' text format, made from what is handed in: nothing is counted here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Gauge:
    """One measure: its name, what it means, and a value for each combination of label values."""

    name: str
    meaning: str
    labels: Sequence[str]
    values: Sequence[tuple[Sequence[str], float]]


class _Handed(Collector):
    def __init__(self, gauges: Sequence[Gauge]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        for gauge in self._gauges:
            family = GaugeMetricFamily(gauge.name, gauge.meaning, labels=list(gauge.labels))
            for labels, value in gauge.values:
                family.add_metric(list(labels), value)
            yield family


def exposition(gauges: Sequence[Gauge]) -> bytes:
    """Return the gauges as Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(_Handed(gauges))
    return generate_latest(registry)
