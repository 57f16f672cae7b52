"""The plugin types that come with the picker."""

from picker.plugins.filters import prefix_affinity
from picker.plugins.pickers import expected_delay, max_score, random_choice
from picker.plugins.profiles import single
from picker.plugins.scorers import delay, kv_usage, queue_depth
from picker.scheduling.registry import Registry


def built_in() -> Registry:
    """Return a registry of everything in this package."""
    return Registry(
        [
            prefix_affinity.TYPE,
            expected_delay.TYPE,
            max_score.TYPE,
            random_choice.TYPE,
            single.TYPE,
            delay.TYPE,
            kv_usage.TYPE,
            queue_depth.TYPE,
        ]
    )
