"""Measuring one thing against another in one run.

Absolute times mean nothing on shared machines, so rivals are timed in turn, several rounds of them,
and what is reported is the ratio of their medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def ratio_of_medians(
    ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int = 7
) -> tuple[float, float, float]:
    """Seconds of ours, seconds of theirs, and ours over theirs, after one round to warm up.

    Each call must finish its work before it returns.
    """
    ours(), theirs()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for kept, run in zip(seconds, (ours, theirs), strict=True):
            began = time.perf_counter()
            run()
            kept.append(time.perf_counter() - began)
    mine, others = (statistics.median(kept) for kept in seconds)
    return mine, others, mine / others
