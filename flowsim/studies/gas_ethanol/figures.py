"""The study's figures, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowsim.reporting import Curve, Figure, Line, Panel, Points
from flowsim.studies.gas_ethanol.edge import norms
from flowsim.studies.gas_ethanol.settings import HORIZON, OPTIMUM

if TYPE_CHECKING:
    from flowsim.studies.gas_ethanol.result import GasEthanol
    from flowsim.studies.gas_ethanol.runs import Run

_COLOURS = {1: "blue", 2: "vermilion", 3: "green"}
_EXCESS = "loss − optimum"
_ITERATIONS = "iterations"


def loss_curves(result: GasEthanol) -> Figure:
    """Flows over the published curves, a panel for each exponent."""
    panels = []
    for p in result.settings.exponents:
        items = []
        for N in result.settings.depths:
            x, y = result.published.curve(f"L{p}_best", str(N))
            items.append(Points(x, y, "", _COLOURS[N]))
            flow = result.find(p, N, "flow")
            if flow is not None:
                items.append(_curve(flow, f"depth {N}, η = {flow.learning_rate:g}"))
        title = f"p = {p}: depth {'accelerates' if p == 4 else 'does not help'}"
        panels.append(
            Panel(title, f"{_ITERATIONS} (flow time t / η)", _EXCESS, tuple(items),
                  xscale="linear", xlim=(0, HORIZON * 1.02), ylim=_limits(p))
        )  # fmt: skip
    return Figure(
        tuple(panels),
        "Loss above the optimum along the flows of the derived laws (lines) over the published "
        "curves of gradient descent (circles, read off the figures to about ±3 %). Each flow's "
        "time is turned into iterations by one number, its η.",
    )


def descents(result: GasEthanol) -> Figure:
    """Descent over the flow, in flow time."""
    panels = []
    for p in result.settings.exponents:
        items = []
        for N in result.settings.depths:
            flow, descent = result.find(p, N, "flow"), result.find(p, N, "descent")
            if flow is not None:
                items.append(
                    Curve(flow.trajectory.ts, flow.excess, f"depth {N}: flow", _COLOURS[N],
                          width=4.5, dash="dotted")
                )  # fmt: skip
            if descent is not None:
                label = f"depth {N}: descent, η = {descent.learning_rate:g}"
                items.append(Curve(descent.trajectory.ts, descent.excess, label, _COLOURS[N]))
        panels.append(Panel(f"p = {p}", "flow time t = η × iterations", _EXCESS, tuple(items)))
    return Figure(
        tuple(panels),
        "Gradient descent on the layers (solid) and the flow that it approximates (dotted), at the "
        "same flow time. Where the lines coincide the flow is a faithful model of training.",
    )


def optimizers(result: GasEthanol) -> Figure | None:
    """Adaptive optimizers beside descent, p = 4."""
    plain, adam = [], []
    for baseline in result.settings.baselines:
        run = result.find(4, baseline.depth, baseline.name.lower())
        x, y = result.published.curve(*baseline.curve)
        if baseline.name == "Adam":
            adam.append(Points(x, y, "", _COLOURS[baseline.depth]))
            if run is not None:
                adam.append(_curve(run, f"depth {baseline.depth}: Adam"))
        else:
            colour = "purple" if baseline.name == "AdaGrad" else "orange"
            plain.append(Points(x, y, "", colour))
            if run is not None:
                plain.append(Curve(run.iterations, run.excess, f"depth 1: {run.rule}", colour))
    for N in result.settings.depths:
        run = result.find(4, N, "descent")
        if run is not None:
            label = f"depth {N}: descent, η = {run.learning_rate:g}"
            plain.append(Curve(run.iterations, run.excess, label, _COLOURS[N], "dashed"))
    panels = [
        Panel(title, _ITERATIONS, _EXCESS, tuple(items), xlim=(100, HORIZON), ylim=(2e-3, 8))
        for title, items in (
            ("AdaGrad and AdaDelta, beside plain descent", plain),
            ("Adam", adam),
        )
        if items
    ]
    if not panels:
        return None
    return Figure(
        tuple(panels),
        "p = 4. Adaptive optimizers (lines) over their published curves (circles). Left, dashed: "
        "plain descent on each depth, at about the largest step size that reaches 10⁶ steps.",
    )


def gaps(result: GasEthanol) -> Figure | None:
    """The gap between descent and flow against its prediction."""
    panels = []
    for key, comparison in sorted(result.comparisons.items()):
        name = key.removesuffix("-comparison").replace("-depth", ", depth ").replace("p", "p = ", 1)
        items = (
            Curve(comparison.iterations, comparison.gap, "measured", "blue", width=4.5,
                  dash="dotted"),
            Curve(comparison.iterations, comparison.predicted_gap, "predicted", "vermilion"),
            Curve(comparison.iterations, comparison.reference_error, "error of the flow", "grey",
                  "dashed", 1.2),
        )  # fmt: skip
        title = f"{name}, η = {comparison.learning_rate:g}"
        panels.append(Panel(title, _ITERATIONS, "‖θ(t) − θₖ‖", items))
    if not panels:
        return None
    return Figure(
        tuple(panels),
        "Distance between descent and flow at the same time, measured and predicted to leading "
        "order in η, and the integrator's own error, which lies far below.",
    )


def edge_panels(result: GasEthanol) -> Figure | None:
    """The edge of stability in four panels."""
    edge = result.edge
    if edge is None:
        return None
    c, emulated = edge.comparison, edge.emulated
    k, ke = c.iterations, emulated.stats["iterations"]
    opt = OPTIMUM[2]
    end = edge.exit_iteration
    mark = () if end is None else (Line("flow: η λₘₐₓ = 2", x=end),)
    span = (0.0, float(k[-1]) * 1.02)
    linear = {"xscale": "linear", "xlim": span}
    panels = (
        Panel("Sharpness against 2/η", _ITERATIONS, "sharpness", (
            Curve(k, c.sharpness, "λₘₐₓ along the flow", "grey", "dashed"),
            Curve(k, c.descent_sharpness, "λₘₐₓ along descent", "black", "dotted", 2.4),
            Curve(k, edge.layerwise_sharpness, "gain × λ, layers", "sky", width=5.0),
            Curve(ke, edge.emulated_sharpness, "gain × λ, rule on the product", "vermilion"),
            Line(f"2/η = {edge.limit:g}", y=edge.limit), *mark,
        ), yscale="linear", **linear),
        Panel("Loss", _ITERATIONS, _EXCESS, (
            Curve(k, c.flow.loss - opt, "flow", "grey", "dashed"),
            Curve(k, c.descent.loss - opt, "descent on the layers", "blue"),
            Curve(ke, emulated.loss - opt, "rule on the product", "vermilion"), *mark,
        ), ylim=(2e-3, 1), **linear),
        Panel("Balance of the layers", _ITERATIONS, "| ‖W₂‖² − ‖W₁‖² |", (
            Curve(k, edge.imbalance, "descent on the layers", "blue"),
            *_flow_drift(result), *mark,
        ), ylim=(1e-12, 1e3), **linear),
        Panel("Size of the product", _ITERATIONS, "‖w‖", (
            Curve(k, norms(c.flow), "flow", "grey", "dashed"),
            Curve(k, norms(c.descent), "descent on the layers", "blue"),
            Curve(ke, norms(emulated), "rule on the product", "vermilion"),
            Line(f"{edge.frozen_norm:.3f}", y=edge.frozen_norm), *mark,
        ), yscale="linear", **linear),
    )  # fmt: skip
    return Figure(
        panels,
        f"p = 2, depth 2, η = {edge.learning_rate:g}. Descent on the layers follows the flow until "
        "the sharpness reaches 2/η; then its gain stays pinned there while the balance of the "
        "layers, which the flow conserves, breaks. The rule on the product cannot break it and "
        "stops growing.",
    )


def edge_gap(result: GasEthanol) -> Figure | None:
    """The gap at the edge: where the prediction ends."""
    if result.edge is None:
        return None
    c, end = result.edge.comparison, result.edge.exit_iteration
    mark = () if end is None else (Line("flow: η λₘₐₓ = 2", x=end),)
    items = (
        Curve(c.iterations, c.gap, "measured", "blue", width=4.5, dash="dotted"),
        Curve(c.iterations, c.predicted_gap, "predicted", "vermilion"),
        Curve(c.iterations, c.reference_error, "error of the flow", "grey", "dashed", 1.2),
        *mark,
    )
    title = f"p = 2, depth 2, η = {result.edge.learning_rate:g}"
    return Figure(
        (Panel(title, _ITERATIONS, "‖θ(t) − θₖ‖", items),),
        "The same at the edge of stability: the leading order in η describes the gap up to the "
        "edge, and beyond it descent leaves the flow by orders of magnitude.",
    )


def _flow_drift(result: GasEthanol) -> tuple[Curve, ...]:
    edge = result.edge
    if edge is None or edge.comparison.drift is None:
        return ()
    drift = edge.comparison.drift["flow"]
    return (Curve(edge.comparison.iterations, drift, "flow (drift)", "grey", "dashed"),)


def _curve(run: Run, label: str) -> Curve:
    return Curve(run.iterations, run.excess, label, _COLOURS[run.depth])


def _limits(p: int) -> tuple[float, float]:
    return (2e-3, 0.3) if p == 2 else (5e-3, 2.0)
