"""``descend`` against a plain NumPy loop, on the gas-ethanol task.

The NumPy loop is what one would write: gradients by the chain rule, for p = 2 on the second moments
as ``descend`` does.
"""

from __future__ import annotations

import numpy as np

import flowsim as fs
from benchmarks.measure import ratio_of_medians
from benchmarks.section import Section

TITLE = "descend against a NumPy loop"


def measure(everything: bool = False) -> Section:
    """One row for each exponent and depth."""
    data = fs.datasets.gas_ethanol()
    X, y = data.X, data.y
    m = len(y)
    covariance, correlation = X.T @ X / m, X.T @ y / m
    direction = np.random.default_rng(0).normal(size=128)
    w0 = 0.01 * direction / np.linalg.norm(direction)

    def gradient(p, w):
        if p == 2:
            return 2 * (covariance @ w - correlation)
        return p * (X @ w - y) ** (p - 1) @ X / m

    def loop(p, depth, eta, steps):
        w1 = w0 / np.linalg.norm(w0) ** (1 - 1 / depth)
        scalars = np.full(depth - 1, np.linalg.norm(w0) ** (1 / depth))
        for _ in range(steps):
            outer = scalars.prod()
            g = gradient(p, outer * w1)
            along = g @ w1
            others = np.array([np.delete(scalars, i).prod() for i in range(depth - 1)])
            w1, scalars = w1 - eta * outer * g, scalars - eta * others * along
        return w1 * scalars.prod()

    rows = []
    for p, depth, eta, steps in [
        (2, 1, 1e-2, 20_000),
        (2, 2, 1e-3, 20_000),
        (2, 3, 5e-4, 20_000),
        (4, 1, 1e-3, 1_000),
        (4, 2, 2e-4, 1_000),
        (4, 3, 7e-5, 1_000),
    ]:
        net = fs.DeepLinear((128, *[1] * depth))
        problem = fs.Problem(fs.LpLoss(X, y, p=p, scale=1.0), net)
        theta = net.balanced(w0)
        run = fs.descend(problem, theta, learning_rate=eta, steps=steps)
        by_hand = loop(p, depth, eta, steps)
        difference = np.linalg.norm(run.end_to_end[-1] - by_hand) / np.linalg.norm(by_hand)
        seconds = ratio_of_medians(
            lambda problem=problem, theta=theta, eta=eta, steps=steps: fs.descend(
                problem, theta, learning_rate=eta, steps=steps
            ),
            lambda p=p, depth=depth, eta=eta, steps=steps: loop(p, depth, eta, steps),
            rounds=3,
        )
        rows.append(
            {
                "p": p,
                "N": depth,
                "descend us a step": 1e6 * seconds[0] / steps,
                "NumPy us a step": 1e6 * seconds[1] / steps,
                "NumPy / descend": 1 / seconds[2],
                "relative difference": difference,
            }
        )
    return Section(tables=[("", rows)])
