"""The study's HTML report."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from flowsim.reporting import (
    Details,
    Facts,
    Formula,
    Page,
    Paragraph,
    Section,
    Table,
    write_page,
)
from flowsim.studies.gas_ethanol import figures
from flowsim.studies.gas_ethanol.agreement import (
    READING,
    SETTLED,
    agreement_rows,
    agreement_table,
    number_table,
)
from flowsim.studies.gas_ethanol.findings import findings, findings_table, flow_ratio
from flowsim.studies.gas_ethanol.settings import OPTIMUM, START_SCALE
from flowsim.trajectory.storage import provenance

if TYPE_CHECKING:
    from flowsim.reporting.blocks import Part
    from flowsim.studies.gas_ethanol.result import GasEthanol

_LAYERS = {1: "one layer", 2: "two layers", 3: "three layers"}
_SOURCE = "Arora, Cohen and Hazan, ICML 2018, arXiv:1802.06509; read off the figures to about ±3 %"


def report_gas_ethanol(result: GasEthanol, path: str | os.PathLike[str]) -> Path:
    """Write the study as one self-contained HTML file and return its path.

    Parameters
    ----------
    result
        What was computed; of a study that was interrupted, what is there.
    path
        The file.
    """
    sections = [
        Section("What agrees with the paper, and what does not", _agreement(result)),
        Section("The laws", _laws(result)),
        Section("Flow and descent", _descents(result)),
        Section("Adaptive optimizers", _optimizers(result)),
        Section("The gap and its prediction", _gaps(result)),
        Section("The edge of stability", _edge(result)),
        Section("How it was computed", _provenance(result)),
    ]
    title = "Gas-sensor regression with deep linear networks: flow, descent and a paper's curves"
    page = Page(title, answer(result), tuple(s for s in sections if s.parts))
    return write_page(page, path)


def answer(result: GasEthanol) -> str:
    """What was found, in two or three sentences."""
    text = _depth_matters(result) + _closeness(result)
    if result.edge is not None and result.edge.exit_iteration is not None:
        text += (
            f"At η = {result.edge.learning_rate:g} and p = 2 descent leaves its flow where the "
            "sharpness reaches 2/η."
        )
    return text.strip() or "Nothing was finished: the study ended before its first run did."


def _depth_matters(result: GasEthanol) -> str:
    """Whether depth helps, from the flows."""
    helped, hindered = flow_ratio(result, 4), flow_ratio(result, 2)
    shallow, deep = (_LAYERS[result.settings.depths[i]] for i in (0, -1))
    told = []
    for p, ratio in ((4, helped), (2, hindered)):
        if not math.isfinite(ratio):
            continue
        far = f"{ratio:.1f} times closer to" if ratio > 1 else f"{1 / ratio:.1f} times farther from"
        told.append((f"ℓ{p}", "speeds up" if ratio > 1 else "does not speed up", far))
    if not told:
        return ""
    (name, verb, far), *rest = told
    text = (
        f"Depth {verb} {name} regression: after 10⁶ iterations the flow of {deep} is {far} the "
        f"optimum than that of {shallow}"
    )
    return text + "".join(f", while for {name} it is {far} it" for name, _, far in rest) + ". "


def _closeness(result: GasEthanol) -> str:
    """How near the flows are to the published curves."""
    off = [row.worst for row in agreement_rows(result) if math.isfinite(row.worst)]
    if not off:
        return ""
    since = f"from {SETTLED:,} iterations on"
    if len(off) == 1:
        return f"The flow is within {100 * off[0]:.0f} % of the published curve, {since}. "
    near = sum(value <= READING for value in off)
    count = "all" if near == len(off) else f"{near} of {len(off)}"
    rest = "" if near == len(off) else f", and all within {100 * max(off):.0f} %"
    return f"{count.capitalize()} flows match their published curves within 3 % {since}{rest}. "


def _agreement(result: GasEthanol) -> tuple[Part, ...]:
    found = findings(result)
    agree, differ = (sum(f.agrees is value for f in found) for value in (True, False))
    return (
        Paragraph(
            "The task: 2,565 readings of 128 gas-sensor features, standardised; loss mean "
            "|x·w − y|ᵖ; linear networks of 1, 2 and 3 layers, one unit wide. Arora, Cohen and "
            "Hazan (2018) report that depth speeds up training for p = 4 and not for p = 2. Of "
            f"what can be checked here, {agree} claims hold and {differ} do not."
        ),
        *_warnings(result),
        figures.loss_curves(result),
        *((findings_table(result),) if found else ()),
        agreement_table(result),
        Details(
            "All numbers of the comparison",
            tuple(number_table(result, p) for p in result.settings.exponents),
        ),
    )


def _warnings(result: GasEthanol) -> tuple[Part, ...]:
    words = []
    if result.interrupted:
        words.append("The study was interrupted: what follows holds what was finished.")
    words += [f"{title} failed: {text}" for title, text in result.failures.items()]
    words += [f"{title} ended early. {text}" for title, text in result.unfinished.items()]
    return tuple(map(Paragraph, words))


def _laws(result: GasEthanol) -> tuple[Part, ...]:
    parts: list[Part] = [
        Paragraph(
            "Gradient flow on the layers moves their product w = W_N ⋯ W_1 by these laws, derived "
            "from the chain rule with every step checked by a normal form. They hold where the "
            "start is balanced, and the flow keeps it so."
        )
    ]
    for N, law in result.laws.items():
        parts.append(Formula(law.latex(), f"depth {N}"))
    deepest = result.laws[max(result.laws)]
    if deepest.hypotheses:
        parts.append(Formula(deepest.latex("factor_flow"), f"the layers, depth {deepest.depth}"))
        parts.append(Formula(deepest.latex("general"), "from any start, balanced or not"))
        parts += [Formula(h.statement_latex, f"presumed: {h.name}") for h in deepest.hypotheses]
    parts += [
        Formula(rf"\frac{{\mathrm{{d}}}}{{\mathrm{{d}}t}}\left({_latex(q.expression)}\right) = 0",
                "conserved")
        for q in deepest.conserved
    ]  # fmt: skip
    steps = tuple(
        Formula(step.latex(), f"{i}. {step.justification}")
        for i, step in enumerate(deepest.steps, 1)
    )
    parts.append(Details(f"The derivation for depth {deepest.depth}, step by step", steps))
    return tuple(parts)


def _latex(expression: object) -> str:
    from flowsim.symbolic import printing

    return printing.latex(expression)  # pyright: ignore[reportArgumentType]


def _descents(result: GasEthanol) -> tuple[Part, ...]:
    words = (
        "Descent is Euler's method on the flow. It runs here on the layers themselves, at the "
        "published curves' step sizes for p = 2. For p = 4 the step sizes that fit the flow to the "
        "curves are not safe for descent from this start: depth 1 diverges at once and depth 3 "
        "after about 2·10⁵ steps. Descent takes smaller ones there, about the largest that reach "
        "10⁶ steps."
    )
    return Paragraph(words), figures.descents(result)


def _optimizers(result: GasEthanol) -> tuple[Part, ...]:
    figure = figures.optimizers(result)
    if figure is None:
        return ()
    rows = []
    for b in result.settings.baselines:
        run = result.find(4, b.depth, b.name.lower())
        final = "–" if run is None else f"{run.excess[-1]:.4g}"
        settings = ", ".join(f"{k.replace('_', ' ')} {v:g}" for k, v in b.parameters.items())
        rows.append((b.name, str(b.depth), settings, b.grid, final))
    return (
        Paragraph(
            "The paper's settings of these optimizers are not published. Those here gave the least "
            "loss after 20,000 steps, of a small grid, among those still finite after 100,000."
        ),
        figure,
        Table("Settings", ("Optimizer:", "depth", "Settings:", "Tried:", "final"), tuple(rows)),
    )


def _gaps(result: GasEthanol) -> tuple[Part, ...]:
    figure = figures.gaps(result)
    if figure is None:
        return ()
    rows = []
    for key, c in sorted(result.comparisons.items()):
        small = (c.learning_rate * c.sharpness <= 0.02) & (c.gap > 10 * c.reference_error)
        off = abs(c.predicted_gap[small] / c.gap[small] - 1).max() if small.any() else float("nan")
        rows.append(
            (key.removesuffix("-comparison"), f"{c.learning_rate:g}", f"{c.iterations[-1]:,}",
             f"{(c.learning_rate * c.sharpness).max():.3g}", f"{c.gap[-1]:.4g}",
             f"{c.predicted_gap[-1]:.4g}", f"{100 * off:.2f} %" if math.isfinite(off) else "–",
             f"{c.reference_error.max():.1g}")
        )  # fmt: skip
    return (
        Formula(
            r"\dot{e}_1 = -H e_1 - \frac{1}{2} H \nabla \ell, \qquad "
            r"\theta_k = \theta(k \eta) + \eta \, e_1(k \eta) + O(\eta^2)",
            "the leading-order gap",
        ),
        Paragraph(
            "H is the Hessian along the flow: the gap is driven by curvature. It is integrated "
            "along the flow and laid beside the measured gap."
        ),
        figure,
        Table(
            "Gap between descent and flow, in the layers' parameters",
            ("Run:", "η", "steps", "largest η λ_max", "gap at the end", "predicted",
             "off, where η λ_max ≤ 0.02", "error of the flow"),
            tuple(rows),
        ),
    )  # fmt: skip


def _edge(result: GasEthanol) -> tuple[Part, ...]:
    edge = result.edge
    if edge is None:
        return ()
    at = edge.exit_iteration
    words = (
        f"The largest eigenvalue of the loss's Hessian in w is λ = {edge.curvature:.2f}; the "
        f"layers multiply it by their gain. Descent at η = {edge.learning_rate:g} is stable up to "
        f"a sharpness of 2/η = {edge.limit:g}. "
    )
    words += (
        "The flow did not get there in these steps."
        if at is None
        else f"The flow passes it at {at:,.0f} iterations (t = {at * edge.learning_rate:.4g}), and "
        "from there on it is no model of descent."
    )
    shown = (figures.edge_panels(result), figures.edge_gap(result))
    return Paragraph(words), *(figure for figure in shown if figure is not None)


def _provenance(result: GasEthanol) -> tuple[Part, ...]:
    stamp, settings = provenance(), result.settings
    optima = ", ".join(f"{OPTIMUM[p]:.10g} for p = {p}" for p in settings.exponents)
    versions = json.loads(stamp["versions"])
    rows = [
        (run.key, run.rule, f"{run.learning_rate:g}", f"{run.trajectory.stats['steps']:,}",
         f"{run.trajectory.stats['gradients']:,}", f"{run.trajectory.stats['seconds']:.1f}",
         str(run.trajectory.settings.get("solver", run.trajectory.settings.get("strategy", ""))),
         run.trajectory.result.name)
        for run in result.runs
    ]  # fmt: skip
    return (
        Facts(
            (
                ("date", stamp["created"]),
                ("versions", ", ".join(f"{name} {v}" for name, v in versions.items())),
                ("data", f"{result.dataset.source}; SHA-256 {result.dataset.checksum}"),
                ("published curves", _SOURCE),
                ("start", f"balanced, ‖w‖ = {START_SCALE:g}, a Gaussian direction of seed "
                 f"{settings.seed}"),
                ("precision", f"float64; flows to a relative tolerance of {settings.rtol:g}"),
                ("optimum", optima),
                ("time", f"{result.seconds:.0f} s"),
            )
        ),
        Details(
            "Every run",
            (Table("Runs", ("Run:", "Rule:", "η", "steps", "gradients", "seconds", "Solver:",
                            "ended"), tuple(rows)),),
        ),
    )  # fmt: skip
