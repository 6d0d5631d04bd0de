"""Flows and descents beside the published curves, number by number."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from flowsim.reporting import Table
from flowsim.studies.gas_ethanol.settings import DESCENT_RATE, HORIZON, PUBLISHED_RATE, TABLED

if TYPE_CHECKING:
    from flowsim.studies.gas_ethanol.result import GasEthanol

#: From here on the published curves have left the plateau near the start, whose length depends on
#: the scale of the start, which is not published.
SETTLED = 100_000
#: How exactly the published curves can be read.
READING = 0.03


@dataclasses.dataclass(frozen=True)
class Row:
    """One exponent and depth.

    Attributes
    ----------
    flow, published
        Loss − optimum at the iterations of ``TABLED``.
    worst
        The largest relative difference from 10⁵ iterations on; NaN without a flow.
    final_steps, final
        Where descent ended, in steps and in loss − optimum.
    beside
        Descent's final value over the flow's at the same flow time; NaN where not recorded.
    ended
        Why descent ended, if not as asked for.
    """

    p: int
    depth: int
    flow: tuple[float, ...]
    published: tuple[float, ...]
    worst: float
    final_steps: int
    final: float
    beside: float
    ended: str


def agreement_rows(result: GasEthanol) -> tuple[Row, ...]:
    """Compare each flow with its published curve."""
    settings = result.settings
    return tuple(_row(result, p, N) for p in settings.exponents for N in settings.depths)


def _row(result: GasEthanol, p: int, N: int) -> Row:
    flow, descent = result.find(p, N, "flow"), result.find(p, N, "descent")
    nan = float("nan")
    ours = tuple(nan if flow is None else flow.at(k) for k in TABLED)
    theirs = tuple(result.published.at(f"L{p}_best", str(N), k) for k in TABLED)
    settled = [
        abs(a / b - 1)
        for k, a, b in zip(TABLED, ours, theirs, strict=True)
        if k >= SETTLED and math.isfinite(a / b)
    ]
    if descent is None or not len(descent.trajectory):
        return Row(p, N, ours, theirs, max(settled, default=nan), 0, nan, nan, "not run")
    steps, final = int(descent.iterations[-1]), float(descent.excess[-1])
    same_time = steps * DESCENT_RATE[p, N] / PUBLISHED_RATE[p, N]
    beside = nan if flow is None else final / flow.at(same_time)
    ended = "" if descent.trajectory.result.success else descent.trajectory.result.name
    return Row(p, N, ours, theirs, max(settled, default=nan), steps, final, beside, ended)


def agreement_table(result: GasEthanol) -> Table:
    """One row for each exponent and depth, with a verdict in words."""
    rows = [
        (
            str(row.p),
            str(row.depth),
            f"{PUBLISHED_RATE[row.p, row.depth]:g}",
            _percent(row.worst),
            f"{DESCENT_RATE[row.p, row.depth]:g}",
            f"{row.final_steps:,}",
            number(row.final),
            f"{row.beside:.3f}" if math.isfinite(row.beside) else "–",
            _verdict(row),
        )
        for row in agreement_rows(result)
    ]
    return Table(
        title="Flow and descent against the published curves",
        columns=(
            "p", "depth", "η, flow", "off by", "η, descent", "steps", "final", "/ flow",
            "Verdict:",
        ),
        rows=tuple(rows),
        note=(
            "`off by`: the largest difference between the flow and the published curve from "
            f"{SETTLED:,} iterations on; the curves can be read to about ±3 %. `final`: loss − "
            "optimum where descent ended; `/ flow`: the same, over the flow's at that flow time."
        ),
    )  # fmt: skip


def number_table(result: GasEthanol, p: int) -> Table:
    """Loss − optimum of flow and paper at each tabled iteration, with their ratio."""
    rows = [row for row in agreement_rows(result) if row.p == p]
    lines = []
    for i, k in enumerate(TABLED):
        cells = [f"{k:,}"]
        for row in rows:
            ratio = row.flow[i] / row.published[i]
            cells += [number(row.flow[i]), number(row.published[i]),
                      f"{ratio:.3f}" if math.isfinite(ratio) else "–"]  # fmt: skip
        lines.append(tuple(cells))
    return Table(
        title=f"p = {p}: loss − optimum, flow against paper",
        columns=("iterations", *("flow", "paper", "ratio") * len(rows)),
        rows=tuple(lines),
        groups=(("", 1), *((f"depth {row.depth}, η = {PUBLISHED_RATE[p, row.depth]:g}", 3)
                           for row in rows)),
    )  # fmt: skip


def _verdict(row: Row) -> str:
    if not math.isfinite(row.worst):
        return "no flow to compare"
    words = f"flow agrees within {_percent(row.worst)}"
    if row.worst > READING:
        late = row.flow[-1] / row.published[-1]
        early = row.flow[0] / row.published[0]
        words = f"flow off by up to {_percent(row.worst)}, more than the reading"
        if early < 1 - READING and late < 1:
            words += ": the published curve stays longer on the plateau of the start, whose "
            words += "scale is not published"
        elif late > 1 + READING:
            words += f", at {' and '.join(f'{k:,}' for k in _far(row))} iterations"
    if row.ended:
        return f"no: {words}; descent ended early ({row.ended})"
    if DESCENT_RATE[row.p, row.depth] < PUBLISHED_RATE[row.p, row.depth]:
        words += "; descent takes a smaller step, safe to 10⁶ steps"
    return ("yes: " if row.worst <= READING else "no: ") + words


def _far(row: Row) -> list[int]:
    """Settled iterations at which flow and paper differ by more than can be read."""
    return [
        k
        for k, a, b in zip(TABLED, row.flow, row.published, strict=True)
        if k >= SETTLED and abs(a / b - 1) > READING
    ]


def number(value: float) -> str:
    """A loss to four digits, or a dash."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.4g}" if value >= 1e-3 else f"{value:.3e}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if math.isfinite(value) else "–"


def whole_span(result: GasEthanol, p: int) -> bool:
    """Whether descent with an exponent ran for all of the published iterations."""
    return result.settings.descent_steps(p) >= HORIZON
