"""Commuting parametrizations follow a mirror flow.

Let w = G(theta) with m entries, J its Jacobian, and let theta follow the negative gradient of
L(G(theta)).  The rows of J are the gradients of the entries, X_i = grad G_i, as vector fields on
parameter space.  If they commute, [X_i, X_j] = 0, then there is a function psi of m numbers mu with

    d psi / d mu_i = X_i(psi),     psi(0) = theta(0),

because what could go wrong in integrating these m equations at once is exactly the bracket.  With
mu(t) = - int grad L, the function psi(mu(t)) obeys the flow and starts where it does: it is it.
So the factors never know anything of the loss but the integral of its gradient.  The rest is
reading: w as a function of mu has the symmetric Jacobian J J^T, so it is the gradient of a convex
R*; and mu as a function of w is the gradient of the conjugate R.  Hence

    d/dt grad R(w) = d mu / dt = - grad L(w).
"""

from __future__ import annotations

from sympy import Identity, MatAdd, MatMul, MatrixSymbol, Transpose

from flowsim.symbolic import differential as calculus
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.differential import Differential, LossGradient, Velocity
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.mirror import ENTRIES, FACTORS, GRADIENT, STATE, commuting
from flowsim.theory.records import Theorem

THEOREM = commuting

J = MatrixSymbol("J", ENTRIES, FACTORS)
W, MU = MatrixSymbol("w", ENTRIES, 1), MatrixSymbol("mu", ENTRIES, 1)
#: Two of the gradient fields and their Jacobians, the Hessians of two entries.
X_I, X_J = MatrixSymbol("X_i", FACTORS, 1), MatrixSymbol("X_j", FACTORS, 1)
H_I, H_J = MatrixSymbol("H_i", FACTORS, FACTORS), MatrixSymbol("H_j", FACTORS, FACTORS)
#: The Hessian of the potential R, the inverse of that of R*.
M = MatrixSymbol("R''", ENTRIES, ENTRIES)

Jt = Transpose(J)


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for any number of factors and of entries.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page, of = Derivation(), MatrixPolynomial.of

    # The flow of the factors.
    dw = of(J) @ of(Differential(STATE))
    slope = calculus.read_gradient(dw, STATE, GRADIENT)
    page.step(
        LossGradient(STATE),
        MatMul(Jt, GRADIENT),
        "Chain rule, dL = <g, dw> with dw = J dpsi.",
        derived=slope,
    )
    flow = -slope
    page.step(
        Velocity(W),
        MatMul(-1, J, Jt, GRADIENT),
        "dw = J dpsi along the flow.",
        derived=of(J) @ flow,
    )

    # The bracket, and what it is the obstruction to.
    hessians = {X_I: of(H_I), X_J: of(H_J)}
    i_along_j = calculus.differential(of(X_I), lambda X: hessians[X] @ of(X_J))
    j_along_i = calculus.differential(of(X_J), lambda X: hessians[X] @ of(X_I))
    bracket = j_along_i - i_along_j
    page.step(
        MatrixSymbol("[X_i, X_j]", FACTORS, 1),
        MatAdd(MatMul(H_J, X_I), MatMul(-1, H_I, X_J)),
        "The bracket of two gradient fields, DY X - DX Y; their Jacobians are Hessians.",
        derived=bracket,
    )
    page.step(
        MatrixSymbol("d^2 psi/dmu_j dmu_i - d^2 psi/dmu_i dmu_j", FACTORS, 1),
        MatAdd(MatMul(H_I, X_J), MatMul(-1, H_J, X_I)),
        "Differentiate d psi/dmu_i = X_i(psi) by mu_j, and the other way round: minus the bracket.",
        derived=-bracket,
    )
    commute = Rule.of(MatMul(H_J, X_I), MatMul(H_I, X_J))
    page.step(
        MatrixSymbol("d^2 psi/dmu_j dmu_i - d^2 psi/dmu_i dmu_j", FACTORS, 1),
        MatMul(0, X_I),
        "The fields commute, so that the m equations have a common solution (Frobenius).",
        derived=rewrite_fully(-bracket, [commute]),
    )

    # psi(mu(t)) is the flow.
    dpsi = of(Jt) @ of(Differential(MU))
    page.step(
        Differential(STATE),
        MatMul(Jt, Differential(MU)),
        "All m equations at once: the X_i are the columns of J^T.",
        derived=dpsi,
    )
    moved = dpsi.substitute(lambda X: -of(GRADIENT) if Differential(MU) == X else None)
    page.step(
        Velocity(STATE),
        MatMul(-1, Jt, GRADIENT),
        "With dmu/dt = -g, psi(mu(t)) obeys the equation of the factors, from the same start.",
        derived=moved,
    )
    certify(flow, moved, name="psi(mu(t)) follows the gradient flow")

    # The potentials.
    metric = of(J) @ of(Jt)
    page.step(
        Differential(W),
        MatMul(J, Jt, Differential(MU)),
        "w = G(psi(mu)).",
        derived=of(J) @ dpsi,
    )
    page.step(
        MatrixSymbol("R*''", ENTRIES, ENTRIES),
        MatMul(J, Jt),
        "The Jacobian of w is symmetric and positive semidefinite: w is the gradient of a convex "
        "function R* of mu.",
        derived=metric.T,
    )
    inverse = Rule.of(MatMul(M, J, Jt), Identity(ENTRIES))
    page.step(
        Velocity(MatrixSymbol("grad R", ENTRIES, 1)),
        MatMul(-1, GRADIENT),
        "The conjugate R has the inverse Hessian, R'' J J^T = I.",
        derived=rewrite_fully(of(M) @ of(J) @ flow, [inverse]),
    )

    found = rewrite_fully(of(M) @ of(J) @ moved, [inverse])
    certify(theorem.statement(), found, name=theorem.name)
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
