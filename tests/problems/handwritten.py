"""The lp loss written out by hand in NumPy, one row and one output at a time."""

import math

import numpy as np


def lp_value(X, y, p, scale, w):
    """Mean over rows of scale * |x.w - y|^p, summed over outputs."""
    outputs = y.reshape(len(y), -1).T  # (k, m)
    total = 0.0
    for labels, weights in zip(outputs, np.atleast_2d(w), strict=True):
        total += sum(
            abs(math.fsum(x * weights) - label) ** p for x, label in zip(X, labels, strict=True)
        )
    return scale * total / len(X)


def lp_gradient(X, y, p, scale, w):
    """The gradient of lp_value, of the shape of w."""
    outputs = y.reshape(len(y), -1).T
    rows = []
    for labels, weights in zip(outputs, np.atleast_2d(w), strict=True):
        r = np.array([math.fsum(x * weights) for x in X]) - labels
        rows.append(scale * p / len(X) * (np.copysign(np.abs(r) ** (p - 1), r) * (r != 0)) @ X)
    return np.reshape(rows, w.shape)


def differences(f, w, h=1e-3):
    """Fourth-order central differences of a scalar function, in extended precision."""
    w = np.asarray(w, np.longdouble)
    gradient = np.empty(w.shape, np.longdouble)
    for i in np.ndindex(w.shape):
        values = []
        for step in (-2, -1, 1, 2):
            moved = w.copy()
            moved[i] += step * np.longdouble(h)
            values.append(f(moved))
        gradient[i] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
    return np.asarray(gradient, np.float64)
