"""Curves of metrics, small enough for a line."""

from __future__ import annotations

import math

from genctl.curves import Curves, sparkline


def test_a_sparkline_goes_from_the_least_to_the_greatest() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([3, 1]) == "█▁"
    assert sparkline([2, 2, 2]) == "▁▁▁"
    assert sparkline([1]) == ""
    assert sparkline([]) == ""
    assert sparkline([1e308, -1e308]) == "▁▁"


def test_many_values_are_drawn_as_means_and_none_is_left_out() -> None:
    falling = [float(1000 - n) for n in range(1000)]

    drawn = sparkline(falling, 8)

    assert drawn == "█▇▆▅▄▃▂▁"
    assert len(sparkline([0.0] * 59 + [40.0], 20)) == 20
    assert sparkline([0.0] * 59 + [40.0], 20)[-1] == "█"


def test_the_newest_value_of_each_metric_is_shown_wherever_it_was_told() -> None:
    curves = Curves()
    curves.add(1, {"loss": 2.0, "learning_rate": 0.1, "memory_mib": 300.4})
    curves.add(1, {"validation_loss": 3.0})
    curves.add(2, {"loss": 1.0, "learning_rate": 0.05})

    assert list(curves.drawn(4)) == ["loss  █▁  1", "validation_loss  3"]
    assert list(curves.drawn(1)) == ["loss  █▁  1"]
    assert list(curves.of_the_rest()) == ["learning rate 0.05", "memory 300 MiB"]


def test_several_optimizers_stand_together_and_once_where_they_are_alike() -> None:
    curves = Curves()
    curves.add(1, {"g_learning_rate": 0.1, "d_learning_rate": 0.1, "g_gradient_norm": 1.5, "d_gradient_norm": 2.0})

    assert list(curves.of_the_rest()) == ["learning rate 0.1", "gradient norm 1.5 / 2"]


def test_a_run_that_goes_on_from_before_draws_its_own_points() -> None:
    curves = Curves()
    for step, loss in ((1, 5.0), (2, 4.0), (3, 9.0), (2, 3.0), (3, 1.0)):
        curves.add(step, {"loss": loss})

    assert list(curves.drawn(1)) == [f"loss  {sparkline([5.0, 3.0, 1.0])}  1"]


def test_what_is_no_number_has_no_curve_and_obeys_no_terminal() -> None:
    curves = Curves()
    curves.add(1, {"a\x1b[31m": "nan", "b": math.inf, "cpu_percent": None})

    assert list(curves.drawn(4)) == ["a\\x1b[31m  nan", "b  inf"]
    assert list(curves.of_the_rest()) == []
