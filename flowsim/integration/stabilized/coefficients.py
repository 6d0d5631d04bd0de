r"""Computes the coefficients of ROCK4, and writes them to ``rock4.npz``.

::

    python -m flowsim.integration.stabilized.coefficients

**The polynomial.** With s stages the stability polynomial is ``R(z) = w(z) P(z)``: ``w`` has degree
4 and two pairs of complex zeros; ``P``, of degree s - 4, is orthogonal on ``[-beta, -gamma]`` with
the weight ``w² / sqrt((z + beta)(-gamma - z))`` (a Chebyshev weight times ``w²``: by a theorem of
Bernstein ``w P`` then all but equioscillates). Both are 1 at 0. Six numbers are free, the two
complex zeros, beta and gamma. Six equations fix them: R agrees with exp to order 4 (four), and
``|R|`` is 0.95 at -beta and at its highest extremum. The interval comes out near 0.353 s².

**The method.** The three-term recurrence of P gives the first s - 4 stages,

    g_0 = y_0,   d_j = mu_j h f(g_{j-1}) - kappa_j d_{j-1},   g_j = g_{j-1} + d_j.

Four more, an explicit method started at g_{s-4}, have the stability polynomial ``w``. What they
must do for the whole to have order 4 follows by composition in Butcher's group: eight elementary
weights, one a rooted tree of up to four nodes. Ten coefficients meet eight equations; the two that
are free are chosen so that all nodes lie within the step and no stage leaves ``|Y| <= 1.05 |y_0|``.

**The error estimate** is the one combination of ``g_{s-4} - y_0`` and the last four derivatives
that vanishes up to order 3: ``E(z) = z^4 / 100 + ...``. It is bounded by about 2 on the whole
interval and 0.7 or more in the mean square, so that it sees stiff errors as well; it crosses zero
at single points only.

**Floating point** finds the six numbers; the zeros of w and all that follows are then computed with
40 digits. The method is Abdulle's; the placing of the finishing stages' nodes and the error
estimate are our own.

References
----------
A. Abdulle, "Fourth order Chebyshev methods with recurrence relation", SIAM J. Sci. Comput. 23
(2002) 2041-2054.
"""

# NumPy's stubs are narrower than what is done here.
# pyright: reportArgumentType=false, reportCallIssue=false, reportPossiblyUnboundVariable=false
# pyright: reportIndexIssue=false

from __future__ import annotations

from math import factorial, prod
from pathlib import Path
from typing import Any, NamedTuple

import mpmath
import numpy as np
from scipy.optimize import root

#: Largest |R| on the interval, away from z = 0.
DAMPING = 0.95

#: Nodes of the second and third finishing stage, as fractions of the time they bridge.
NODES = (-0.15, 0.5)

#: Rooted trees of up to four nodes, each as the positions of its root's children in this list, and
#: their densities: order 4 asks for the elementary weights 1 / density.
TREES: tuple[tuple[int, ...], ...] = ((), (0,), (0, 0), (1,), (0, 0, 0), (0, 1), (2,), (3,))
DENSITIES = (1, 2, 3, 6, 4, 8, 12, 24)

#: Where the coefficients are kept.
FILE = Path(__file__).with_name("rock4.npz")


class Polynomial(NamedTuple):
    """Stability polynomial: the real and imaginary parts of w's zeros, beta and gamma."""

    zeros: Any  # (4,) re, im, re, im
    beta: float
    gamma: float


class Coefficients(NamedTuple):
    """The method of s stages."""

    mu: np.ndarray  # (s - 4,)
    kappa: np.ndarray  # (s - 4,)
    a: np.ndarray  # (4, 4) strictly lower triangular
    b: np.ndarray  # (4,)
    e: np.ndarray  # (5,) weights of g_{s-4} - y_0 and of the last four derivatives in the estimate
    beta: float


def stage_numbers(largest: int = 150) -> list[int]:
    """Every stage number from 5 to 40, then steps of at most 5 %.

    >>> stage_numbers(46)[-4:]
    [40, 42, 44, 46]
    """
    numbers = list(range(5, 41))
    while (following := int(1.05 * numbers[-1])) <= largest:
        numbers.append(following)
    return [s for s in numbers if s <= largest]


def recurrence(stages: int, polynomial: Polynomial) -> tuple[Any, Any]:
    """Return mu and kappa of the recurrence of P, by Stieltjes' procedure.

    The integrals are sums over Gauss-Chebyshev nodes, exact for these degrees. The arithmetic is
    that of the zeros given: floats, or mpmath's numbers.
    """
    exact = isinstance(polynomial.zeros[0], mpmath.mpf)
    number, cos, pi = (mpmath.mpf, mpmath.cos, mpmath.pi) if exact else (float, np.cos, np.pi)
    degree = stages - 4
    count = degree + 8
    x = np.array([cos(number(2 * k + 1) * pi / (2 * count)) for k in range(count)])
    beta, gamma = number(polynomial.beta), number(polynomial.gamma)
    z = -(beta + gamma) / 2 + (beta - gamma) / 2 * x
    weight = _horner(finishing_polynomial(polynomial.zeros), z) ** 2

    before, now, norm = 0 * z, 0 * z + number(1), weight.sum()
    rho, off = number(0), number(0)
    mu, kappa = [], []
    for _ in range(degree):
        diagonal = (weight * z * now**2).sum() / norm
        # In terms of polynomials that are 1 at z = 0: q_{j+1} = mu z q_j + (1 - kappa) q_j + ...
        scale = 1 / (-diagonal - off * rho)
        mu.append(scale)
        kappa.append(-off * scale * rho)
        rho = scale
        # Monic polynomials would overflow: their scale is kept at that of the interval.
        size = (beta - gamma) / 4
        before, now = now, ((z - diagonal) * now - off / size * before) / size
        norm_before, norm = norm, (weight * now**2).sum()
        off = norm / norm_before * size**2
    return np.array(mu), np.array(kappa)


def finishing_polynomial(zeros: Any) -> Any:
    """Return the coefficients of w, lowest first: 1 at z = 0, with the conjugate pairs given."""
    pairs = [
        np.array([1, -2 * re / (re**2 + im**2), 1 / (re**2 + im**2)])
        for re, im in (zeros[:2], zeros[2:])
    ]
    return np.convolve(*pairs)


def evaluate(z: Any, zeros: Any, mu: Any, kappa: Any) -> Any:
    """Return R(z)."""
    g, d = 0 * z + 1, 0 * z
    for m, k in zip(mu, kappa, strict=True):
        d = m * z * g - k * d
        g = g + d
    return g * _horner(finishing_polynomial(zeros), z)


def _horner(polynomial: Any, z: Any) -> Any:
    value = 0 * z
    for coefficient in polynomial[::-1]:
        value = value * z + coefficient
    return value


def _order_defects(zeros: Any, mu: Any, kappa: Any) -> list[Any]:
    """Return k! [z^k] R - 1 for k = 1 to 4."""
    w = finishing_polynomial(zeros)
    g, d = [1 + 0 * w[0]] + [0 * w[0]] * 4, [0 * w[0]] * 5
    for m, k in zip(mu, kappa, strict=True):
        d = [m * shifted - k * old for shifted, old in zip([0, *g[:-1]], d, strict=True)]
        g = [x + y for x, y in zip(g, d, strict=True)]
    return [factorial(n) * sum(g[i] * w[n - i] for i in range(n + 1)) - 1 for n in range(1, 5)]


def _defects(unknown: np.ndarray, stages: int) -> np.ndarray:
    """Return the residuals of the six equations."""
    polynomial = Polynomial(unknown[:4], unknown[4] * stages**2, unknown[5])
    parts = (polynomial.zeros, *recurrence(stages, polynomial))
    # The highest extremum is the first or the second left of zero; a parabola finds its height.
    height = np.abs(evaluate(np.linspace(-25.0, -2.5, 800), *parts))
    at = np.flatnonzero((height[1:-1] >= height[:-2]) & (height[1:-1] >= height[2:])) + 1
    left, top, right = height[at - 1], height[at], height[at + 1]
    peak = (top + (left - right) ** 2 / (8 * (2 * top - left - right))).max(initial=0.0)
    end = abs(evaluate(np.array(-polynomial.beta), *parts))
    return np.array([*_order_defects(*parts), end / DAMPING - 1, peak / DAMPING - 1])


def find_polynomials(numbers: list[int]) -> dict[int, Polynomial]:
    """Return the stability polynomials, by continuation from five stages upward.

    There the zeros of exp's Taylor polynomial of degree 4 are near enough to start from.

    Raises
    ------
    ArithmeticError
        If an iteration does not converge.
    """
    taylor = np.roots([1 / 24, 1 / 6, 1 / 2, 1, 1])
    upper = sorted(taylor[taylor.imag > 0], key=lambda root: root.real)
    unknown = np.array([*(f(r) for r in upper for f in (np.real, np.imag)), 0.24, 3.0])
    found = {}
    for stages in numbers:
        solution = root(_defects, unknown, args=(stages,), tol=1e-12)
        if np.abs(solution.fun).max() > 1e-8:
            raise ArithmeticError(f"no polynomial of {stages} stages: defects {solution.fun}")
        unknown = solution.x
        found[stages] = Polynomial(unknown[:4], float(unknown[4]) * stages**2, float(unknown[5]))
    return found


def _polish(stages: int, polynomial: Polynomial) -> Polynomial:
    """Solve the equations of order 4 for the zeros with the precision in use."""
    beta, gamma = polynomial.beta, polynomial.gamma

    def defects(zeros: Any) -> Any:
        return _order_defects(zeros, *recurrence(stages, Polynomial(zeros, beta, gamma)))

    step = 1e-6
    slopes = [
        (np.array(defects(polynomial.zeros + h)) - np.array(defects(polynomial.zeros - h)))
        / (2 * step)
        for h in step * np.eye(4)
    ]
    inverse = np.linalg.inv(np.array(slopes).T)
    zeros = np.array([mpmath.mpf(float(x)) for x in polynomial.zeros])
    for _ in range(8):
        defect = defects(zeros)
        if max(map(abs, defect)) < 1e-25:
            return Polynomial(zeros, beta, gamma)
        zeros = zeros - np.array(inverse.tolist(), object) @ np.array(defect)
    raise ArithmeticError(f"the zeros of {stages} stages did not converge")


def derivative_weights(weights: Any) -> list[Any]:
    """Return the elementary weights of h f(Y) from those of the stage Y, tree by tree."""
    return [prod((weights[child] for child in tree), start=1) for tree in TREES]


def recurrence_weights(mu: Any, kappa: Any) -> list[Any]:
    """Return the elementary weights of the last stage of the recurrence."""
    g, d = [0] * 8, [0] * 8
    for m, k in zip(mu, kappa, strict=True):
        d = [m * new - k * old for new, old in zip(derivative_weights(g), d, strict=True)]
        g = [x + y for x, y in zip(g, d, strict=True)]
    return g


def finish(mu: Any, kappa: Any) -> tuple[Any, Any, Any]:
    """Return a, b and e of the finishing stages that make the recurrence a method of order 4."""
    p = recurrence_weights(mu, kappa)
    # The weights asked of the finishing method by itself: those of exp, less what the recurrence,
    # and the recurrence followed by a part of each tree, contribute.
    t = [mpmath.mpf(1) / density - q for density, q in zip(DENSITIES, p, strict=True)]
    w0 = t[0]
    w1 = t[1] - p[0] * w0
    w2 = t[2] - 2 * p[0] * w1 - p[0] ** 2 * w0
    w3 = t[3] - p[0] * w1 - p[1] * w0
    w4 = t[4] - 3 * p[0] * w2 - 3 * p[0] ** 2 * w1 - p[0] ** 3 * w0
    w5 = t[5] - p[0] * (p[1] * w0 + p[0] * w1 + w2 + w3) - p[1] * w1
    w6 = t[6] - p[2] * w0 - p[0] ** 2 * w1 - 2 * p[0] * w3
    w7 = t[7] - p[3] * w0 - p[1] * w1 - p[0] * w3

    # With the weights b eliminated, the equations leave one for the last node, and it is linear.
    c2, c3 = (node * w0 for node in map(mpmath.mpf, NODES))
    ratio = w7 / (w6 - c2 * w3)
    c4 = (w5 - ratio * (w4 - c2 * w2)) / (w3 + ratio * (c2 * w1 - w2))
    vandermonde = mpmath.matrix([[c**k for c in (0, c2, c3, c4)] for k in range(4)])
    b = list(mpmath.lu_solve(vandermonde, mpmath.matrix([w0, w1, w2, w4])))
    # The sums of a_ij c_j for the third and the fourth stage.
    third = (c4 * w3 - w5) / (b[2] * (c4 - c3))
    fourth = (w3 - b[2] * third) / b[3]
    a32 = third / c2
    a43 = w7 / (b[3] * third)
    a42 = (fourth - a43 * c3) / c2
    a = [[], [c2], [c3 - a32, a32], [c4 - a42 - a43, a42, a43]]

    parts = [p]
    for row in a:
        stage = [
            p[tree] + sum(x * k[tree] for x, k in zip(row, parts[1:], strict=False))
            for tree in range(8)
        ]
        parts.append(derivative_weights(stage))
    system = mpmath.matrix([[part[tree] for part in parts[1:]] for tree in range(4)])
    e = [mpmath.mpf(1), *mpmath.lu_solve(system, mpmath.matrix([-x for x in p[:4]]))]
    # E(z) = z^4 / 100 + ...
    size = 100 * sum(x * part[7] for x, part in zip(e, parts, strict=True))
    return a, b, [x / size for x in e]


def compute(stages: int, polynomial: Polynomial) -> Coefficients:
    """Return the coefficients of the method with this stability polynomial, rounded to float64.

    The finishing stages are computed from the rounded recurrence: the order is that of what is
    stored.
    """
    with mpmath.workdps(40):
        polished = _polish(stages, polynomial)
        mu, kappa = (np.array(x, float) for x in recurrence(stages, polished))
        a, b, e = finish([mpmath.mpf(x) for x in mu], [mpmath.mpf(x) for x in kappa])
    square = np.zeros((4, 4))
    for i, row in enumerate(a):
        square[i, :i] = [float(x) for x in row]
    return Coefficients(mu, kappa, square, np.array(b, float), np.array(e, float), polynomial.beta)


def elementary_weights(method: Coefficients) -> np.ndarray:
    """Return the elementary weights of the whole method, with 40 digits, from what is stored."""
    with mpmath.workdps(40):
        exact = [[mpmath.mpf(float(x)) for x in part] for part in (method.mu, method.kappa)]
        p = recurrence_weights(*exact)
        ks: list[Any] = []
        for row in (*method.a, method.b):
            stage = [
                x + sum(float(r) * k[n] for r, k in zip(row, ks, strict=False))
                for n, x in enumerate(p)
            ]
            ks.append(derivative_weights(stage))
        return np.array(stage, float)


def order_defect(method: Coefficients) -> float:
    """Return the largest defect of the eight conditions of order 4."""
    return float(np.abs(elementary_weights(method) - 1 / np.array(DENSITIES, float)).max())


def amplification(method: Coefficients, z: Any) -> tuple[Any, Any, Any]:
    """Return R(z), the error estimate's E(z), and the largest |stage| on the way to them."""
    g, d = 1 + 0 * z, 0 * z
    largest = np.abs(g)
    for m, k in zip(method.mu, method.kappa, strict=True):
        d = m * z * g - k * d
        g = g + d
        largest = np.maximum(largest, np.abs(g))
    ks: list[Any] = []
    for row in method.a:
        stage = g + sum(r * k for r, k in zip(row, ks, strict=False))
        largest = np.maximum(largest, np.abs(stage))
        ks.append(z * stage)
    end = g + sum(b * k for b, k in zip(method.b, ks, strict=True))
    error = sum(e * k for e, k in zip(method.e, [g - 1, *ks], strict=True))
    return end, error, largest


def main() -> None:
    """Compute the coefficients of every stage number, check each, print the checks, and save."""
    numbers = stage_numbers()
    found = find_polynomials(numbers)
    methods = []
    print("stages   beta   beta/s^2  order defect  max|R|  max|stage|   max|E|  |E(-beta)|")
    for stages in numbers:
        method = compute(stages, found[stages])
        defect = order_defect(method)
        angle = np.linspace(0, np.pi, 100 * stages)
        z = (method.beta * (np.cos(angle) - 1) / 2).astype(np.longdouble)
        end, error, stage = amplification(method, z)
        damped = np.abs(end[z < -0.1]).max()
        print(
            f"{stages:6d} {method.beta:9.3f} {method.beta / stages**2:7.4f} {defect:11.1e} "
            f"{damped:11.5f} {stage.max():9.3f} {np.abs(error).max():9.4f} {abs(error[-1]):9.4f}"
        )
        if defect > 1e-15 or damped > DAMPING + 0.005:
            raise ArithmeticError(f"the method of {stages} stages is not what it should be")
        methods.append(method)
    width = numbers[-1] - 4
    np.savez_compressed(
        FILE,
        stages=np.array(numbers),
        beta=np.array([method.beta for method in methods]),
        **{
            name: np.array([np.pad(getattr(m, name), (0, width - len(m.mu))) for m in methods])
            for name in ("mu", "kappa")
        },
        **{name: np.array([getattr(m, name) for m in methods]) for name in ("a", "b", "e")},
    )
    print(f"wrote {FILE}, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
