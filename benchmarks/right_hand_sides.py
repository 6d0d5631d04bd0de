"""The right-hand sides, written by hand once for NumPy, JAX and PyTorch.

Each takes the array library, the time, the flat state and the data, and returns the velocity as a
flat array: what somebody who has only an integrator would write. The deep linear ones also run on
arrays of symbols, from which heyoka makes its Taylor integrators.
"""

from __future__ import annotations

import itertools
from typing import Any

Data = dict[str, Any]


def network(widths: tuple[int, ...]) -> Any:
    """A tanh network with biases and linear output; mean over examples of half a squared norm."""
    shapes = [(n, m) for m, n in itertools.pairwise(widths)]

    def velocity(xp: Any, t: Any, v: Any, data: Data) -> Any:
        layers, at = [], 0
        for n, m in shapes:
            layers.append((v[at : at + n * m].reshape(n, m), v[at + n * m : at + n * m + n]))
            at += n * m + n
        values = [data["X"]]
        for j, (W, b) in enumerate(layers):
            z = values[-1] @ W.T + b
            values.append(xp.tanh(z) if j < len(layers) - 1 else z)
        delta = (values[-1] - data["Y"]) / len(data["X"])
        parts = []
        for j in reversed(range(len(layers))):
            parts = [(delta.T @ values[j]).reshape(-1), delta.sum(0), *parts]
            if j:
                delta = (delta @ layers[j][0]) * (1 - values[j] * values[j])
        return -xp.concatenate(parts)

    return velocity


def last_layers_of_one(depth: int, d: int) -> Any:
    """The L4 loss mean(r^4) of w = a_N ... a_2 W_1 with one output; factors W_1, then scalars."""

    def velocity(xp: Any, t: Any, v: Any, data: Data) -> Any:
        w, scalars = v[:d], [v[d + j] for j in range(depth - 1)]
        outer = _product(scalars)
        r = data["X"] @ (outer * w) - data["y"]
        g = (4.0 / len(data["y"])) * ((r * r * r) @ data["X"])
        along = g @ w
        others = [_product(scalars[:j] + scalars[j + 1 :]) * along for j in range(depth - 1)]
        return -xp.concatenate([outer * g, xp.stack(others)])

    return velocity


def deep_linear(depth: int, d: int) -> Any:
    """Square factors W_1, ..., W_N of a product W; half the squared distance from the target.

    With a mask in the data only the observed entries count, divided by their number; a curvature
    multiplies the loss.
    """

    def velocity(xp: Any, t: Any, v: Any, data: Data) -> Any:
        factors = [v[j * d * d : (j + 1) * d * d].reshape(d, d) for j in range(depth)]
        before = [None]  # W_{j-1} ... W_1
        for W in factors:
            before.append(W if before[-1] is None else W @ before[-1])
        gradient = before[-1] - data["target"]
        if "mask" in data:
            gradient = data["mask"] * gradient
        if "curvature" in data:
            gradient = data["curvature"] * gradient
        parts = []
        for j in reversed(range(depth)):
            own = gradient if before[j] is None else gradient @ before[j].T
            parts = [own.reshape(-1), *parts]
            if j:
                gradient = factors[j].T @ gradient
        return -xp.concatenate(parts)

    return velocity


def spectral(depth: int, d: int) -> Any:
    """The balanced law on W itself, from one singular value decomposition; JAX and NumPy."""

    def velocity(xp: Any, t: Any, v: Any, data: Data) -> Any:
        W = v.reshape(d, d)
        U, s, Vt = xp.linalg.svd(W)
        power = s ** (2.0 / depth)
        weights = sum(
            power[:, None] ** (depth - j) * power[None, :] ** (j - 1) for j in range(1, depth + 1)
        )
        return -(U @ (weights * (U.T @ (W - data["target"]) @ Vt.T)) @ Vt).reshape(-1)

    return velocity


def logistic(xp: Any, t: Any, v: Any, data: Data) -> Any:
    """Logistic loss of separable data, labels multiplied into the rows of Z."""
    margins = data["Z"] @ v
    return xp.exp(-xp.logaddexp(0 * margins, margins)) @ data["Z"] / len(data["Z"])


def logistic_in_log_time(xp: Any, s: Any, v: Any, data: Data) -> Any:
    """The same on the time s = log(1 + t)."""
    margins = data["Z"] @ v
    return xp.exp(s - xp.logaddexp(0 * margins, margins)) @ data["Z"] / len(data["Z"])


def _product(numbers: list[Any]) -> Any:
    result = 1.0
    for number in numbers:
        result = result * number
    return result
