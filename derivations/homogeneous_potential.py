"""The potential of a homogeneous parametrization is the size of its factors.

Let the gradient fields of the entries of w = G(theta) commute, so that d psi = J^T dmu and
w = grad R*(mu) (commuting.py).  Which function is R*?  If all entries are homogeneous of one degree
N, Euler's identity answers in a line: J(psi) psi = N G(psi) = N w, and so

    d (|psi|^2 / (2N)) = (1/N) <psi, J^T dmu> = (1/N) <J psi, dmu> = <w, dmu> .

The dual potential is half the squared norm of all factors over N, and nothing had to be integrated.

If the entries are homogeneous only with weights, J A psi = w with a diagonal matrix A, the
potential is <psi, A psi>/2 for the same reason.  At the end stand three families in which psi
itself is elementary: powers, whose potentials are those of diagonal networks of every depth;
products of two entries; quadratic forms with commuting matrices, for which psi is a matrix
exponential.
"""

from __future__ import annotations

from sympy import Identity, Integer, MatMul, MatrixSymbol, Rational, Symbol, Transpose, cosh, sinh

from flowsim.symbolic import differential as calculus
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.differential import Differential
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.mirror import ENTRIES, FACTORS, STATE, homogeneous_potential
from flowsim.theory.records import Theorem

THEOREM = homogeneous_potential

N = Symbol("N", positive=True)
J = MatrixSymbol("J", ENTRIES, FACTORS)
W, MU = MatrixSymbol("w", ENTRIES, 1), MatrixSymbol("mu", ENTRIES, 1)
Jt = Transpose(J)


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every degree N and any number of factors and entries.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page, of = Derivation(), MatrixPolynomial.of

    # Euler: G(s theta) = s^N G(theta); differentiate at s = 1.
    s, entry = Symbol("s", positive=True), Symbol("w_k", real=True)
    page.step(
        Symbol("d/ds G_k(s psi) at s = 1"),
        N * entry,
        "G_k(s psi) = s^N G_k(psi), differentiated.",
        derived=(s**N * entry).diff(s).subs(s, 1),
    )
    scaled = calculus.differential(of(W), lambda X: of(J) @ of(STATE) if X == W else None)
    euler = Rule.of(MatMul(J, STATE), MatMul(N, W))
    page.step(
        MatMul(J, STATE),
        MatMul(N, W),
        "Chain rule for the same derivative, dw = J dpsi with dpsi = psi: Euler's identity.",
        derived=rewrite_fully(scaled, [euler]),
    )

    # The differential of the squared norm.
    dpsi = of(Jt) @ of(Differential(MU))
    page.step(
        Differential(STATE),
        MatMul(Jt, Differential(MU)),
        "The fields commute: d psi/dmu_i is the gradient of the entry i (commuting.py).",
        derived=(of(Differential(MU)).T @ of(J)).T,
    )

    def moved(X: MatrixSymbol) -> MatrixPolynomial | None:
        return dpsi if X == STATE else None

    square = of(MatMul(Transpose(STATE), STATE))
    change = calculus.differential(square, moved)
    gradient = _gradient(change)
    page.step(
        MatrixSymbol("grad |psi|^2", ENTRIES, 1),
        MatMul(2, J, STATE),
        "Product rule, and dL = <grad, dmu> read off; both terms are the same number.",
        derived=gradient,
    )
    page.step(
        MatrixSymbol("grad |psi|^2", ENTRIES, 1),
        MatMul(2 * N, W),
        "Euler's identity.",
        derived=rewrite_fully(gradient, [euler]),
    )
    page.step(
        Differential(W),
        MatMul(J, Jt, Differential(MU)),
        "Once more, dw = J dpsi: the Hessian of R* is J J^T, positive semidefinite.",
        derived=of(J) @ dpsi,
    )
    # The same with a weight for each entry of the factors: u^4 - v^2 has the weights 1/4 and 1/2.
    weights = MatrixSymbol("A", FACTORS, FACTORS)
    quarter = calculus.differential(of(MatMul(Transpose(STATE), weights, STATE)), moved)
    diagonal = Rule.of(Transpose(weights), weights)
    weighted = Rule.of(MatMul(J, weights, STATE), W)
    page.step(
        MatrixSymbol("grad <psi, A psi>/2", ENTRIES, 1),
        W,
        "Euler's identity with weights, J A psi = w with a diagonal A, in place of A = I/N.",
        derived=rewrite_fully(_gradient(quarter) * Rational(1, 2), [diagonal, weighted]),
    )
    _elementary(page)

    stated = calculus.differential(of(theorem.statement(N)), moved)
    found = rewrite_fully(_gradient(stated), [euler])
    certify(of(W), found, name=theorem.name)
    page.step(
        MatrixSymbol("grad R*", ENTRIES, 1),
        W,
        "The potential that the theorem states, differentiated in the same way.",
        derived=found,
    )
    return page


def _gradient(change: MatrixPolynomial) -> MatrixPolynomial:
    """The gradient of a number with the differential ``change``, linear in dmu."""
    one = MatrixSymbol("1", Integer(1), Integer(1))
    column = calculus.read_gradient(change, MU, one)
    # The 1 x 1 matrix that stands for dL/dL is 1, transposed or not.
    ones = [Rule.of(x, Identity(Integer(1))) for x in (one, Transpose(one))]
    return rewrite_fully(column, ones)


def _elementary(page: Derivation) -> None:
    """Three families whose flows d psi/dmu = grad G have an elementary solution."""
    mu = Symbol("mu", real=True)
    x, y, c = Symbol("x", positive=True), Symbol("y", positive=True), Symbol("c", real=True)
    n = Symbol("n", positive=True)
    # With n = N - 2, a power is u = (x^-n - n N c mu)^(-1/n); B stands for what is in brackets.
    B = Symbol("B", positive=True)
    slope = -n * (n + 2) * c
    power = B ** (-1 / n)
    page.step(
        Symbol("du/dmu"),
        c * (n + 2) * power ** (n + 1),
        "G = c u^N, N = n + 2: u = B^(-1/n) with B = x^-n - n N c mu solves du/dmu = c N u^(N-1).",
        derived=power.diff(B) * slope,
    )
    page.step(
        Symbol("d(u^2/(2N))/dmu"),
        c * power ** (n + 2),
        "Its potential u^2/(2N) has the derivative G.",
        derived=(power**2 / (2 * (n + 2))).diff(B) * slope,
    )
    u, v = (a * cosh(c * mu) + b * sinh(c * mu) for a, b in ((x, y), (y, x)))
    page.step(
        Symbol("d((u^2 + v^2)/4)/dmu"),
        c * u * v,
        "G = c u v: u and v are hyperbolic, and (u^2 + v^2)/4 has the derivative G.",
        derived=((u**2 + v**2) / 4).diff(mu),
    )
    A, P = MatrixSymbol("A", FACTORS, FACTORS), MatrixSymbol("psi", FACTORS, 1)
    of = MatrixPolynomial.of

    def moved(X: MatrixSymbol) -> MatrixPolynomial | None:
        return of(A) @ of(P) * 2 if X == P else None

    quarter = calculus.differential(of(MatMul(Transpose(P), P)), moved) * Rational(1, 4)
    page.step(
        Symbol("d(|psi|^2/4)/dmu"),
        MatMul(Transpose(P), A, P),
        "G = <psi, A psi> with A symmetric: psi = e^(2 mu A) psi_0 moves by 2 A psi.",
        derived=rewrite_fully(quarter, [Rule.of(Transpose(A), A)]),
    )


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
