"""Histograms count as Prometheus does."""

from chaos.engine.meter import Histogram


def test_a_value_on_a_bound_belongs_to_that_bucket() -> None:
    """Bounds are inclusive, and +Inf counts everything."""
    histogram = Histogram((1, 2))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    assert [2, 3, 4] == histogram.cumulative()


def test_a_value_may_be_counted_several_times() -> None:
    """One call stands for a batch of equal values."""
    histogram = Histogram((1,))
    histogram.observe(0.5, times=4)
    assert (4, 2.0) == (histogram.count, histogram.sum)
