"""Random numbers for tests: the seed is shown when a test fails."""

import random
import sys


def seeded(seed: int | None = None) -> random.Random:
    """Return a generator; a seed that failed goes in here and becomes a named test."""
    chosen = random.randrange(10**6) if seed is None else seed
    sys.stdout.write(f"seed {chosen}\n")
    return random.Random(chosen)
