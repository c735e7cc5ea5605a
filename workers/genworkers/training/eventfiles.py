"""Metrics as TensorBoard reads them: event files, TFRecords of protocol buffers, written by tensorboardX.

A file holds what was measured between two checkpoints. So a Run that was killed leaves the files up to
its last one, the next Run goes on behind them, and no step is in two files.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

VERSION = "brain.Event:2"


@dataclass(frozen=True)
class Point:
    """What was measured at one step, and when, in seconds since the epoch."""

    time: float
    step: int
    values: Mapping[str, float]


class Points:
    """What was measured and is in no file yet. One thread adds, another takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: list[Point] = []

    def add(self, point: Point) -> None:
        """Keep a point for the next file."""
        with self._lock:
            self._points.append(point)

    def take(self, step: int) -> list[Point]:
        """Return the points up to that step, which are kept no longer."""
        with self._lock:
            taken = [point for point in self._points if point.step <= step]
            self._points = [point for point in self._points if point.step > step]
        return taken


def write_events(points: Sequence[Point], path: Path) -> None:
    """Write an event file; `path` must hold `tfevents` in its name for TensorBoard to see it."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.record_writer import RecordWriter

    writer = RecordWriter(str(path))
    begun = points[0].time if points else 0.0
    writer.write(Event(wall_time=begun, file_version=VERSION).SerializeToString())
    for point in points:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
        told = Event(wall_time=point.time, step=point.step, summary=Summary(value=values))
        writer.write(told.SerializeToString())
    writer.close()
