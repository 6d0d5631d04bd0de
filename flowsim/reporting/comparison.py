"""The report of one comparison: laws, losses, gap, curvature, what should be conserved."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flowsim.reporting.blocks import Details, Facts, Figure, Formula, Page, Paragraph, Part, Section
from flowsim.reporting.html import write_page
from flowsim.reporting.panels import Curve, Line, Panel
from flowsim.trajectory.storage import provenance

if TYPE_CHECKING:
    from flowsim.comparison import Comparison

_ITERATIONS = "iterations"


def report_comparison(comparison: Comparison, path: str | os.PathLike[str]) -> Path:
    """Write a comparison as one self-contained HTML file and return its path.

    Parameters
    ----------
    comparison
        What :func:`flowsim.compare` returns.
    path
        The file.
    """
    sections = (
        Section("The law", _law(comparison)),
        Section("Loss", (_losses(comparison),)),
        Section("Gap, measured and predicted", _gap(comparison)),
        Section("Curvature", (_curvature(comparison),)),
        Section("What should be conserved", _drift(comparison)),
        Section("How it was computed", (_facts(comparison),)),
    )
    title = f"Gradient descent and its flow, η = {comparison.learning_rate:g}"
    return write_page(
        Page(title, comparison_answer(comparison), tuple(s for s in sections if s.parts)), path
    )


def comparison_answer(c: Comparison) -> str:
    """What was found, in a sentence or two."""
    steps, gap, predicted = int(c.iterations[-1]), float(c.gap[-1]), float(c.predicted_gap[-1])
    rate = f"η = {c.learning_rate:g}"
    if c.regime_exit is not None:
        at = c.regime_exit / c.learning_rate
        text = (
            f"The flow models gradient descent at {rate} up to iteration {at:,.0f} "
            f"(t = {c.regime_exit:.4g}): from there on η λ_max exceeds 2."
        )
    elif not np.isfinite(predicted) or predicted == 0:
        text = f"After {steps:,} steps at {rate} descent is {gap:.3g} away from its flow."
    else:
        off = abs(gap / predicted - 1)
        largest = float((c.learning_rate * c.sharpness).max())
        text = (
            f"After {steps:,} steps at {rate} descent is {gap:.3g} away from its flow; theory "
            f"predicts {predicted:.3g}, {100 * off:.2g} % off, with η λ_max up to {largest:.2g}."
        )
    if not c.descent.result.success:
        text += f" Descent ended early: {c.descent.result.reason.value}"
    if not c.flow.result.success:
        text += f" The flow ended early: {c.flow.result.reason.value}"
    return text


def _law(c: Comparison) -> tuple[Part, ...]:
    law = c.law
    if law is None:
        return (
            Paragraph("Nothing symbolic is known of this problem: its flow is θ' = −∇ℓ(θ)."),
            Formula(r"\dot{\theta} = -\nabla \ell(\theta)", "the flow"),
        )
    flows = law.rows("factor_flow")
    parts: list[Part] = [
        Formula(row.typeset, "the parameters" if n == 0 else "") for n, row in enumerate(flows)
    ]
    parts.append(Formula(law.latex(), "the end-to-end value"))
    parts += [Formula(h.statement_latex, f"presumed: {h.name}") for h in law.hypotheses]
    if c.balance_defect is not None:
        parts.append(Paragraph(f"Balance defect of this start: {c.balance_defect:.2g}, relative."))
    steps = tuple(Formula(s.latex(), f"{i}. {s.justification}") for i, s in enumerate(law.steps, 1))
    parts.append(Details("The derivation, step by step", steps))
    return tuple(parts)


def _losses(c: Comparison) -> Figure:
    items = (
        Curve(c.iterations, c.flow.loss, "flow", "grey", "dotted", 4.5),
        Curve(c.iterations, c.descent.loss, "descent", "blue"),
        *_exit(c),
    )
    return Figure(
        (Panel("Loss", _ITERATIONS, "loss", items),),
        "The loss along gradient descent and along its flow at the same time t = kη.",
    )


def _gap(c: Comparison) -> tuple[Part, ...]:
    panels = [
        _gap_panel(c, "Gap in the parameters", "‖θ(t) − θₖ‖", c.gap, c.predicted_gap,
                   c.reference_error)
    ]  # fmt: skip
    if c.end_to_end_gap is not None and c.predicted_end_to_end_gap is not None:
        panels.append(
            _gap_panel(c, "Gap end to end", "‖w(t) − wₖ‖", c.end_to_end_gap,
                       c.predicted_end_to_end_gap, None)
        )  # fmt: skip
    return (
        Formula(
            r"\dot{e}_1 = -H e_1 - \frac{1}{2} H \nabla \ell, \qquad "
            r"\theta_k = \theta(k \eta) + \eta \, e_1(k \eta) + O(\eta^2)",
            "the leading-order gap",
        ),
        Figure(
            tuple(panels),
            "Distance between descent and flow at the same time, measured and predicted to leading "
            "order in η. A gap below the error of the flow has not been measured.",
        ),
    )


def _gap_panel(
    c: Comparison,
    title: str,
    ylabel: str,
    gap: np.ndarray,
    predicted: np.ndarray,
    error: np.ndarray | None,
) -> Panel:
    items = [
        Curve(c.iterations, gap, "measured", "blue", "dotted", 4.5),
        Curve(c.iterations, predicted, "predicted", "vermilion"),
    ]
    if error is not None:
        items.append(Curve(c.iterations, error, "error of the flow", "grey", "dashed", 1.2))
    return Panel(title, _ITERATIONS, ylabel, (*items, *_exit(c)))


def _curvature(c: Comparison) -> Figure:
    limit = 2.0 / c.learning_rate
    upper = (
        Curve(c.iterations, c.sharpness, "along the flow", "grey", "dotted", 4.5),
        Curve(c.iterations, c.descent_sharpness, "along descent", "blue"),
        Line(f"2/η = {limit:g}", y=limit),
        *_exit(c),
    )
    lower = (Curve(c.iterations, c.lambda_min, "along the flow", "blue"), *_exit(c))
    return Figure(
        (
            Panel("Sharpness λₘₐₓ", _ITERATIONS, "λₘₐₓ", upper),
            Panel("Lowest curvature λₘᵢₙ", _ITERATIONS, "λₘᵢₙ", lower, yscale="linear"),
        ),
        "Extreme eigenvalues of the Hessian. Above 2/η descent is unstable, and the flow is no "
        "model of it. Where λ_min is negative, gaps grow.",
    )


def _drift(c: Comparison) -> tuple[Part, ...]:
    if c.drift is None:
        return ()
    items = (
        Curve(c.iterations, c.drift["flow"], "flow", "grey", "dashed"),
        Curve(c.iterations, c.drift["descent"], "descent", "blue"),
        *_exit(c),
    )
    caption = (
        "How far the balance of the layers, which the law conserves, has moved (Frobenius norm): "
        "along the flow by the integrator's error, along descent by its step size."
    )
    return (Figure((Panel("Drift", _ITERATIONS, "drift", items),), caption),)


def _exit(c: Comparison) -> tuple[Line, ...]:
    if c.regime_exit is None:
        return ()
    return (Line("flow: η λₘₐₓ = 2", x=c.regime_exit / c.learning_rate),)


def _facts(c: Comparison) -> Facts:
    stamp = provenance()
    versions = ", ".join(f"{n} {v}" for n, v in json.loads(stamp["versions"]).items())
    settings = c.flow.settings
    return Facts(
        (
            ("date", stamp["created"]),
            ("versions", versions),
            ("step size", f"{c.learning_rate:g}"),
            ("steps", f"{int(c.iterations[-1]):,}"),
            ("solver", str(settings["solver"])),
            ("tolerances", f"relative {settings['rtol']:g}, absolute {settings['atol']:.3g}"),
            (
                "error of the flow",
                f"{float(np.max(c.reference_error)):.2g}, by halving the tolerance",
            ),
            ("precision", str(settings["dtype"])),
            ("descent", str(c.descent.result)),
            ("flow", str(c.flow.result)),
        )
    )
