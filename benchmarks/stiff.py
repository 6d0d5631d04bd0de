"""Solvers on the gas-ethanol flow, p = 4, depth 2, to the time of 10^6 iterations.

Each solver is asked for the same tolerance through ``integrate``; errors are against a run at a
tolerance of 1e-12. Kvaerno5 is the stiff solver that diffrax offers for this, LSODA, BDF and Radau
those of SciPy with exact Jacobians.
"""

from __future__ import annotations

import time

import numpy as np

import flowsim as fs

_SOLVERS = ("auto", "extrapolation", "kvaerno5", "LSODA", "BDF", "Radau")


def measure() -> list[dict[str, float]]:
    """One row for each solver and tolerance."""
    data = fs.datasets.gas_ethanol()
    loss = fs.LpLoss(data.X, data.y, p=4, scale=1.0)
    direction = np.random.default_rng(0).normal(size=128)
    w0 = 0.01 * direction / np.linalg.norm(direction)
    field = fs.derive(fs.DeepLinear((128, 1, 1))).lower(loss)
    t1 = 3.6e-4 * 1e6
    ts = np.geomspace(t1 / 1e3, t1, 12)
    reference = fs.integrate(field, w0, t1, ts=ts, rtol=1e-12).end_to_end
    rows = []
    for solver in _SOLVERS:
        for rtol in (1e-6, 1e-8):
            if solver == "kvaerno5" and rtol < 1e-6:
                continue  # a minute and no more to learn
            fs.integrate(field, w0, t1, ts=ts, rtol=rtol, solver=solver)
            began = time.perf_counter()
            flow = fs.integrate(field, w0, t1, ts=ts, rtol=rtol, solver=solver)
            seconds = time.perf_counter() - began
            error = np.linalg.norm(flow.end_to_end - reference, axis=1)
            rows.append(
                {
                    "solver": solver,
                    "rtol": rtol,
                    "relative error": float((error / np.linalg.norm(reference, axis=1)).max()),
                    "seconds": seconds,
                    "gradients": flow.stats["gradients"],
                    "jacobians": flow.stats["jacobians"],
                    "steps": flow.stats["steps"],
                }
            )
    fastest = {
        rtol: next(r["seconds"] for r in rows if r["solver"] == "auto" and r["rtol"] == rtol)
        for rtol in (1e-6, 1e-8)
    }
    return [{**row, "seconds / auto": row["seconds"] / fastest[row["rtol"]]} for row in rows]
