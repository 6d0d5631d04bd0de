"""``integrate`` against a hand-written diffeqsolve of the same field with the same solver.

The gas-ethanol flow, p = 4, depths 2 and 3, at the same tolerances, save times and step-size
controller settings, after compilation. What is above 1 is what flowsim's watch costs: chunks that
can be interrupted, guards, and reading the record.
"""

from __future__ import annotations

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import flowsim as fs
from benchmarks.measure import ratio_of_medians
from benchmarks.section import Bar, Section
from flowsim.integration import LinearlyImplicitExtrapolation

TITLE = "integrate against a hand-written diffeqsolve"
_RTOL = 1e-8


@eqx.filter_jit
def _by_hand(field, solver, y0, ts, rtol, atol):
    controller = diffrax.PIDController(rtol=rtol, atol=atol, pcoeff=0.2, icoeff=0.4)
    return diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        solver,
        0.0,
        ts[-1],
        None,
        y0,
        saveat=diffrax.SaveAt(ts=ts),
        stepsize_controller=diffrax.ClipStepSizeController(controller, step_ts=ts),
        max_steps=None,
        adjoint=diffrax.ForwardMode(),
    ).ys


def measure(everything: bool = False) -> Section:
    """One row for each solver and depth."""
    data = fs.datasets.gas_ethanol()
    loss = fs.LpLoss(data.X, data.y, p=4, scale=1.0)
    rng = np.random.default_rng(0)
    direction = rng.normal(size=128)
    w0 = 0.01 * direction / np.linalg.norm(direction)
    rows = []
    cases = [
        (2, 3.6e-4 * 1e6, LinearlyImplicitExtrapolation()),
        (3, 1.75e-4 * 1e6, LinearlyImplicitExtrapolation()),
        (2, 5.0, diffrax.Dopri8()),
        (2, 5.0, diffrax.Tsit5()),
    ]
    for depth, t1, solver in cases:
        field = fs.derive(fs.DeepLinear((128, *[1] * depth))).lower(loss)
        ts = np.geomspace(t1 / 1e3, t1, 30)
        with fs.float64():
            y0 = jax.tree.map(jnp.asarray, field.start(w0))
            flow = fs.integrate(field, w0, t1, ts=ts, solver=solver, rtol=_RTOL)
            atol = flow.settings["atol"]
            times, tolerances = jnp.asarray(ts), (jnp.asarray(_RTOL), jnp.asarray(atol))

            def ours(field=field, t1=t1, ts=ts, solver=solver):
                fs.integrate(field, w0, t1, ts=ts, solver=solver, rtol=_RTOL)

            def theirs(field=field, y0=y0, times=times, tolerances=tolerances, solver=solver):
                jax.block_until_ready(_by_hand(field, solver, y0, times, *tolerances))

            seconds = ratio_of_medians(ours, theirs, rounds=5)
        rows.append(
            {
                "solver": type(solver).__name__,
                "N": depth,
                "t1": t1,
                "integrate s": seconds[0],
                "diffeqsolve s": seconds[1],
                "integrate / diffeqsolve": seconds[2],
            }
        )
    bars = [
        Bar(
            f"{row['solver']}, N = {row['N']}",
            "seconds of integrate over diffeqsolve's, after compilation",
            1.05,
            False,
            row["integrate / diffeqsolve"],
        )
        for row in rows
    ]
    return Section(tables=[("", rows)], bars=bars)
