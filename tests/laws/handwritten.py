"""The flow of a deep linear network written out in NumPy, sharing no code with the package."""

import functools

import numpy as np


def product(factors):
    """W_N ... W_1."""
    return functools.reduce(lambda done, W: W @ done, factors)


def velocity_of_product(factors, velocities):
    """d/dt (W_N ... W_1) by the product rule."""
    total = 0.0
    for j, V in enumerate(velocities):
        moved = [*factors[:j], V, *factors[j + 1 :]]
        total = total + product(moved)
    return total


def balanced_law(W, G, N):
    """-U (M * (U'GV)) V' with full U, V and structural zeros, M the sum of the theory."""
    k, d = W.shape
    U, s, Vt = np.linalg.svd(W)
    s = np.where(s > 1e-13 * s[0], s, 0.0)
    left, right = np.zeros(k), np.zeros(d)
    left[: s.size], right[: s.size] = s, s

    def power(x, e):
        return np.ones_like(x) if e == 0 else x**e

    M = sum(
        np.multiply.outer(power(left, 2 * (N - j) / N), power(right, 2 * (j - 1) / N))
        for j in range(1, N + 1)
    )
    return -U @ (M * (U.T @ G @ Vt.T)) @ Vt


def loss_of(X, Y, W, p):
    """Mean of |residual|^p / p over rows, summed over outputs."""
    return np.sum(np.abs(X @ W.T - Y) ** p) / (p * len(X))


def gradient_of(X, Y, W, p):
    """Its gradient, shape (k, d)."""
    r = X @ W.T - Y
    return (np.sign(r) * np.abs(r) ** (p - 1)).T @ X / len(X)


def rank_r(k, d, r, seed):
    """A k by d matrix whose first r singular values are 1.3, 0.9, 0.65, ..., the rest zero."""
    rng = np.random.default_rng(seed)
    U = np.linalg.qr(rng.normal(size=(k, k)))[0][:, :r]
    V = np.linalg.qr(rng.normal(size=(d, d)))[0][:, :r]
    return (U * (1.3 * 0.7 ** np.arange(r))) @ V.T


def relative(a, b):
    """Distance over the norm of b."""
    return np.linalg.norm(np.asarray(a) - b) / np.linalg.norm(b)
