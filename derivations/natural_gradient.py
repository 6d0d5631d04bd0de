"""Natural gradient flow forgets the network: squared error falls at rate 1.

The loss is L = 1/2 E ||y - W x||^2, whose minimiser in W is W*.  Write w and w* for W and W*,
column stacked, and J for the Jacobian of w with respect to the parameters, so that w' = J theta'.
With the second moment Sigma of the inputs and H = Sigma (x) I,

    grad L = J^T H (w - w*),        Fisher matrix = J^T H J,

the latter for outputs of unit variance, with targets sampled from the model: their residuals are
uncorrelated with covariance I, whatever the parameters.  Natural gradient flow is
theta' = -(J^T H J)^+ grad L.  Where J is onto,

    w' = -(w - w*),       W(t) = W* + e^(-t) (W_0 - W*).

The pseudo-inverse has a formula, J^T (J J^T)^-1 H^-1 (J J^T)^-1 J, and that it is the one is
checked by Penrose's four equations.
"""

from __future__ import annotations

from sympy import (
    Expr,
    Identity,
    Integer,
    MatAdd,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    Symbol,
    Transpose,
    diff,
    exp,
)

from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.differential import (
    Differential,
    LossGradient,
    Velocity,
    differential,
    read_gradient,
)
from flowsim.symbolic.nodes import PSDPower
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import Letter, MatrixPolynomial
from flowsim.theory import Theorem
from flowsim.theory.rates import TIME, natural_gradient, optimum

THEOREM = natural_gradient

of = MatrixPolynomial.of
N = Symbol("N", integer=True, positive=True)
n, m = Symbol("n", integer=True, positive=True), Symbol("m", integer=True, positive=True)
# n numbers in W, m parameters.
w, goal, theta = MatrixSymbol("w", n, 1), MatrixSymbol("w^*", n, 1), MatrixSymbol("theta", m, 1)
J = MatrixSymbol("J", n, m)


def symmetric(name: str) -> PSDPower:
    """Return a symmetric positive semidefinite letter."""
    return PSDPower(MatrixSymbol(name, n, n), 1)


# H = Sigma (x) I and its inverse; the inverse of J J^T, which exists as J is onto.
H, H_inverse, K = symmetric("H"), symmetric("H^-1"), symmetric("(J J^T)^-1")
RULES = [
    Rule.of(MatMul(H, H_inverse), Identity(n)),
    Rule.of(MatMul(H_inverse, H), Identity(n)),
    Rule.of(MatMul(J, Transpose(J), K), Identity(n)),
    Rule.of(MatMul(K, J, Transpose(J)), Identity(n)),
]


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for any map from parameters to W whose Jacobian is onto.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    gradient = chain_rule(page)
    fisher = of(Transpose(J)) @ of(H) @ of(J)
    inverse = pseudo_inverse(page, fisher)

    velocity = rewrite_fully(-(of(J) @ inverse @ gradient), RULES)
    page.step(
        Velocity(w),
        MatAdd(goal, MatMul(-1, w)),
        "w' = J theta', theta' = -F^+ grad L: everything cancels but the way to the optimum.",
        derived=velocity,
    )
    rate = rate_of(velocity, w, goal)
    certify(theorem.statement(N), solved(page, rate), name=theorem.name)
    return page


def chain_rule(page: Derivation) -> MatrixPolynomial:
    """From the loss, up to a constant 1/2 (w - w*)^T H (w - w*), to its gradient in theta."""
    away = of(w) - of(goal)
    change = differential(
        away.T @ of(H) @ away, lambda node: of(Differential(w)) if node == w else None
    )
    slope = read_gradient(change, w, Identity(1)) * (Integer(1) / 2)
    page.step(
        LossGradient(w),
        MatMul(H, MatAdd(w, MatMul(-1, goal))),
        "The loss is 1/2 (w - w*)^T H (w - w*) plus a constant.",
        derived=slope,
    )
    pulled = read_gradient(of(J) @ of(Differential(theta)), theta, MatrixSymbol("g", n, 1))
    gradient = pulled.substitute(lambda node: slope if node == MatrixSymbol("g", n, 1) else None)
    page.step(
        LossGradient(theta),
        MatMul(Transpose(J), H, MatAdd(w, MatMul(-1, goal))),
        "Chain rule, dw = J d theta.",
        derived=gradient,
    )
    return gradient


def pseudo_inverse(page: Derivation, fisher: MatrixPolynomial) -> MatrixPolynomial:
    """State the pseudo-inverse of the Fisher matrix, and check Penrose's equations."""
    inverse = of(MatMul(Transpose(J), K, H_inverse, K, J))

    def settled(matrix: MatrixPolynomial) -> MatrixPolynomial:
        return rewrite_fully(matrix, RULES)

    left, right = settled(fisher @ inverse), settled(inverse @ fisher)
    F, P = MatrixSymbol("F", m, m), MatrixSymbol("F^+", m, m)
    for lhs, stated, because, found in (
        (MatMul(F, P, F), fisher, "Penrose's first equation for the Fisher matrix.", left @ fisher),
        (MatMul(P, F, P), inverse, "The second.", right @ inverse),
        (Transpose(MatMul(F, P)), left, "The third: F F^+ is symmetric.", left.T),
        (Transpose(MatMul(P, F)), right, "The fourth: F^+ F is symmetric.", right.T),
    ):
        page.step(lhs, stated.expr(), because, derived=settled(found))
    return inverse


def rate_of(velocity: MatrixPolynomial, at: MatrixExpr, target: MatrixExpr) -> Expr:
    """Return the number r of which the velocity is ``r (target - at)``."""
    rate = velocity.terms.get(((Letter(target),), None), Integer(0))
    certify((of(target) - of(at)) * rate, velocity, name="straight to the optimum")
    return rate


def solved(page: Derivation, rate: Expr) -> MatrixPolynomial:
    """Solve W' = rate (W* - W) from W_0, and check the solution."""
    target, start = optimum(N), MatrixSymbol("W_0", *optimum(N).shape)
    solution = of(target) + (of(start) - of(target)) * exp(-rate * TIME)
    moved = MatrixPolynomial(
        solution.shape, [(diff(c, TIME), word, over) for (word, over), c in solution.terms.items()]
    )
    whole = MatrixSymbol("W", *solution.shape)
    page.step(
        Velocity(whole),
        ((of(target) - solution) * rate).expr(),
        "W* + e^(-r t)(W_0 - W*), r the rate found: it moves by r (W* - W).",
        derived=moved,
    )
    page.step(
        MatrixSymbol("W(0)", *solution.shape),
        start,
        "And it starts at W_0.",
        derived=solution.subs(TIME, 0),
    )
    return solution


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
