"""Numbers to hold laws against: an evaluator of the nodes, and factor flows, in plain NumPy.

Nothing here shares code with the package: powers come from the singular value decomposition of the
end-to-end matrix, and velocities from the factors themselves.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from sympy import Identity, KroneckerProduct, MatAdd, MatMul, MatrixSymbol, Transpose, ZeroMatrix

from flowsim.symbolic import Chain, FrobeniusNorm, Layer, MatrixSum, Projection, PSDPower


@dataclass(frozen=True)
class Network:
    """As much of a deep linear network as a derivation needs."""

    depth: int | str
    widths: tuple[int, ...] | None = None

    def __call__(self, factors):
        product = factors[0]
        for W in factors[1:]:
            product = W @ product
        return product


def evaluate(expr, theta, G, numbers=None):
    """Evaluate a law on factors W_1, ..., W_N (a list) and a gradient G."""
    numbers = dict(numbers or {})
    product = chain(theta, len(theta), 1)

    def scalar(c):
        norms = {n: np.linalg.norm(matrix(n.matrix)) for n in c.atoms(FrobeniusNorm)}
        return float(c.subs({**norms, **numbers}))

    def width(n):
        sizes = [theta[0].shape[1], *(W.shape[0] for W in theta)]
        return sizes[int(n.indices[0])]

    def matrix(e):
        match e:
            case Layer():
                return theta[int(e.index) - 1]
            case Chain():
                return chain(theta, int(e.first), int(e.last))
            case MatrixSymbol():
                return {"W": product, "G": G}[e.name]
            case Identity():
                return np.eye(size(e.rows))
            case ZeroMatrix():
                return np.zeros([size(n) for n in e.shape])
            case Transpose():
                return matrix(e.arg).T
            case PSDPower():
                return power(matrix(e.base), float(e.exponent))
            case Projection():
                w, g = (matrix(a) for a in e.args)
                return w * np.sum(w * g) / np.sum(w * w)
            case MatrixSum():
                upper, lower = int(e.upper), int(e.lower)
                terms = [e.term.subs(e.index, i) for i in range(lower, upper + 1)]
                return sum(matrix(t) for t in terms)
            case KroneckerProduct():
                return np.kron(*(matrix(a) for a in e.args))
            case MatAdd():
                return sum(matrix(a) for a in e.args)
            case MatMul():
                c, factors = e.as_coeff_matrices()
                return scalar(c) * np.linalg.multi_dot(
                    [*map(matrix, factors), np.eye(size(e.cols))]
                )
        raise TypeError(e)

    def size(n):
        return int(np.prod([width(f) ** int(p) for f, p in n.as_powers_dict().items()]))

    return matrix(expr)


def chain(theta, b, a):
    product = np.eye(theta[a - 1].shape[1] if a <= len(theta) else theta[-1].shape[0])
    for i in range(a, b + 1):
        product = theta[i - 1] @ product
    return product


def power(A, p):
    """A^p of a positive semidefinite matrix, 0^0 = 1."""
    U, s, _ = np.linalg.svd(A)
    s = np.where(s < 1e-14 * s.max(), 0.0, s)
    return (U * s**p) @ U.T


def balanced(widths, rng):
    """Balanced factors from the singular value decomposition of a random matrix."""
    N, rank = len(widths) - 1, min(widths)
    U = np.linalg.qr(rng.standard_normal((widths[-1], rank)))[0]
    V = np.linalg.qr(rng.standard_normal((widths[0], rank)))[0]
    s = np.linspace(0.4, 1.3, rank) ** (1 / N)
    inner = [np.linalg.qr(rng.standard_normal((n, rank)))[0] for n in widths[1:-1]]
    sides = [V, *inner, U]
    return [(sides[j + 1] * s) @ sides[j].T for j in range(N)]


def random_factors(widths, rng):
    return [rng.standard_normal((m, n)) for n, m in pairwise(widths)]


def quadratic(widths, rng):
    """A loss of W with a dense Hessian, and its value only: gradients by differences."""
    target = rng.standard_normal((widths[-1], widths[0]))
    root = rng.standard_normal((widths[0], widths[0]))

    def loss(W):
        return 0.5 * np.sum(((W - target) @ root) ** 2)

    return loss


def gradient_by_differences(f, X, h=1e-5):
    """Central differences, exact for quadratic f up to round-off."""
    g = np.zeros_like(X)
    for index in np.ndindex(X.shape):
        E = np.zeros_like(X)
        E[index] = h
        g[index] = (f(X + E) - f(X - E)) / (2 * h)
    return g


def factor_velocities(loss, theta, decay=0.0):
    """Minus the gradient of the regularised loss in the factors, by differences of its values."""

    def with_factor(j, X):
        return [*theta[:j], X, *theta[j + 1 :]]

    def total(factors):
        penalty = 0.5 * decay * sum(np.sum(W**2) for W in factors)
        return loss(chain(factors, len(factors), 1)) + penalty

    return [
        -gradient_by_differences(lambda X, j=j: total(with_factor(j, X)), W)
        for j, W in enumerate(theta)
    ]


def product_velocity(theta, velocities):
    """The velocity of the product, by differences along the velocities of its factors."""
    h = 1e-5 / max(np.linalg.norm(V) for V in velocities)
    ahead = [W + h * V for W, V in zip(theta, velocities, strict=True)]
    behind = [W - h * V for W, V in zip(theta, velocities, strict=True)]
    return (chain(ahead, len(theta), 1) - chain(behind, len(theta), 1)) / (2 * h)
