"""Gradient flow of a product of matrices under a quadratic loss, integrated without flowsim."""

import numpy as np
from scipy.integrate import solve_ivp


def product(factors):
    W = factors[0]
    for factor in factors[1:]:
        W = factor @ W
    return W


def gradients(factors, G):
    """Gradients of L(W_N ... W_1) with respect to the factors, G that with respect to W."""
    out = []
    for j, W in enumerate(factors):
        above = product([np.eye(len(W)), *factors[j + 1 :]])
        below = product([np.eye(factors[0].shape[1]), *factors[:j]])
        out.append(above.T @ G @ below.T)
    return out


def velocity_of_product(factors, velocities):
    """Product rule, by hand."""
    return sum(
        product([*factors[:j], velocities[j], *factors[j + 1 :]]) for j in range(len(factors))
    )


def flow(start, gradient, times, *, rtol=1e-13, atol=1e-18):
    """Factors along W_j' = -grad_j, at the times given; ``gradient`` is that of L in W."""
    shapes = [W.shape for W in start]
    ends = np.cumsum([W.size for W in start])[:-1]

    def unpack(y):
        return [part.reshape(s) for part, s in zip(np.split(y, ends), shapes, strict=True)]

    def field(_, y):
        factors = unpack(y)
        moves = gradients(factors, gradient(product(factors)))
        return -np.concatenate([g.ravel() for g in moves])

    run = solve_ivp(
        field,
        (0.0, times[-1]),
        np.concatenate([W.ravel() for W in start]),
        method="DOP853",
        rtol=rtol,
        atol=atol,
        t_eval=times,
    )
    return [unpack(y) for y in run.y.T]


def product_flow(start, target, curvature, times):
    """W at the times given, for L = 1/2 tr (W - S) Sigma (W - S)^T."""
    run = flow(start, lambda W: (W - target) @ curvature, times)
    return np.array([product(factors) for factors in run])


def orthogonal(n, rng):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def diagonal(values, shape):
    D = np.zeros(shape)
    D[range(len(values)), range(len(values))] = values
    return D
