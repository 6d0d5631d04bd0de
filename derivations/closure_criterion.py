r"""The end-to-end motion closes where J J^T stands still in the directions that keep w.

Gradient flow on theta moves w = phi(theta) by w' = -P(theta) G with P = J J^T, whatever the loss.
Which theta are to be told apart?  A trajectory never leaves its leaf: the states that can be
reached along the fields grad phi_i, with any losses.  Let L_theta be the span at theta of these
fields and of their Lie brackets, r its dimension, and k the rank of J; let both be constant near
theta.

By Frobenius's theorem the leaf is a manifold with tangent space L_theta, and near theta it is the
common level set of D - r functions h: a function is constant along grad phi_i, hence along the
brackets, hence on the leaf.  These are the conserved quantities, whether or not anyone has a
formula for them.  P is a function of w and of their values, near theta, if and only if it is
constant on the fibres of (phi, h).  The rank of (phi, h) is k + D - r, since the gradients of h
span the orthogonal complement of L_theta, in which no row of J has a part; by the constant rank
theorem the fibres are manifolds, with tangent space L_theta intersected with ker J, and connected
if the neighbourhood is taken small.  So P is constant on them if and only if its derivative
vanishes on these tangent spaces: one way by integrating along a curve in the fibre, the other by
the chain rule.

What is to be computed, then, is the projector onto these directions, Q - J^+ J, and the change of
J J^T along them.  Both are found below over whole matrices of any size; the two places where third
objects (brackets, second derivatives) enter are shown for arbitrary functions of three variables.

The rest is arithmetic.  At a random point, ranks modulo a large prime are the generic ranks but for
a probability of about degree / 2^61.  If phi is analytic the verdict at one generic point is that
of almost all.  It stays local: u^3 - v^3 with 1/u + 1/v = c has several real states over one w,
each with a law of its own.
"""

from __future__ import annotations

from sympy import (
    Function,
    Integer,
    MatAdd,
    MatMul,
    MatrixSymbol,
    Symbol,
    Transpose,
    ZeroMatrix,
    symbols,
)

from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.differential import (
    Differential,
    LossGradient,
    Velocity,
    differential,
    read_gradient,
)
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.closure import JACOBIAN, LEAF, PSEUDO_INVERSE, closure_criterion
from flowsim.theory.records import Theorem

THEOREM = closure_criterion
of = MatrixPolynomial.of

J, Q, Jp = JACOBIAN, LEAF, PSEUDO_INVERSE
m, D = J.shape
n = Symbol("n", integer=True, positive=True)
THETA, W, G = MatrixSymbol("theta", D, 1), MatrixSymbol("w", m, 1), MatrixSymbol("G", m, 1)
H = MatrixSymbol("H", n, D)  # the gradients of conserved quantities, as rows
V = MatrixSymbol("v", D, 1)
DIRECTIONS = MatAdd(Q, MatMul(-1, Jp, J))

# Q projects onto the leaf's directions, among which are the rows of J and the columns of J^+.
PROJECTS = Rule.of(MatMul(Q, Q), Q)
ROWS = Rule.of(MatMul(J, Q), J)
COLUMNS = Rule.of(MatMul(Q, Jp), Jp)
INVERTS = Rule.of(MatMul(J, Jp, J), J)
ON_THE_LEAF = (PROJECTS, ROWS, COLUMNS, INVERTS)
# What is conserved is constant on the leaf.
CONSTANT = Rule.of(MatMul(H, Q), ZeroMatrix(n, D))


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the criterion for all sizes.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    step = page.step

    slope = read_gradient(of(J) @ of(Differential(THETA)), THETA, G)
    step(LossGradient(THETA), MatMul(Transpose(J), G), "Chain rule, dw = J dtheta.", derived=slope)
    step(
        Velocity(W),
        MatMul(-1, J, Transpose(J), G),
        "theta follows minus its gradient: P = J J^T.",
        derived=-(of(J) @ slope),
    )
    step(
        Velocity(MatrixSymbol("h", n, 1)),
        MatMul(-1, H, Transpose(J), G),
        "A function h moves by its gradients H: it is conserved for every loss if H J^T = 0.",
        derived=-(of(H) @ slope),
    )
    _brackets(page)

    # The directions in which all that is conserved stands still, and w too.
    Pi = of(DIRECTIONS)
    step(
        MatMul(J, DIRECTIONS),
        ZeroMatrix(m, D),
        "w stands still in them: J Q = J and J J^+ J = J.",
        derived=rewrite_fully(of(J) @ Pi, ON_THE_LEAF),
    )
    step(
        MatMul(Q, DIRECTIONS),
        DIRECTIONS,
        "They are tangent to the leaf.",
        derived=rewrite_fully(of(Q) @ Pi, ON_THE_LEAF),
    )
    step(
        MatMul(DIRECTIONS, DIRECTIONS),
        DIRECTIONS,
        "So Q - J^+ J is a projector.",
        derived=rewrite_fully(Pi @ Pi, ON_THE_LEAF),
    )
    kept = (Rule.of(MatMul(J, V), ZeroMatrix(m, 1)), Rule.of(MatMul(Q, V), V))
    step(
        MatMul(DIRECTIONS, V),
        V,
        "It leaves every v in place that is tangent to the leaf, Q v = v, and keeps w, J v = 0.",
        derived=rewrite_fully(Pi @ of(V), kept),
    )
    # H J^+ = H Q J^+ = 0, read once by either rule.
    step(
        MatMul(H, Jp),
        rewrite_fully(of(H) @ of(Q) @ of(Jp), [CONSTANT]).expr(),
        "The columns of J^+ are combinations of the rows of J.",
        derived=ZeroMatrix(n, m),
    )
    step(
        MatMul(H, DIRECTIONS),
        ZeroMatrix(n, D),
        "All that is conserved stands still in them.",
        derived=rewrite_fully(of(H) @ Pi, [CONSTANT, Rule.of(MatMul(H, Jp), ZeroMatrix(n, m))]),
    )
    _function_of_both(page)

    P = of(J) @ of(J).T
    change = differential(P, lambda X: of(Differential(X)) if X == J else None)
    step(
        Differential(MatrixSymbol("P", m, m)),
        MatAdd(MatMul(Differential(J), Transpose(J)), MatMul(J, Transpose(Differential(J)))),
        "Product rule, dJ being the derivative of J in such a direction: P is constant on a fibre "
        "if and only if this is 0 all along it.",
        derived=change,
    )
    certify(theorem.statement(1), change, name=theorem.name)
    certify(theorem.statement(1, part="directions"), Pi, name=theorem.name)
    return page


def _brackets(page: Derivation) -> None:
    """What is constant along two fields is constant along their bracket."""
    x = symbols("x y z", real=True)
    X = [Function(f"X{i}")(*x) for i in (1, 2, 3)]
    Y = [Function(f"Y{i}")(*x) for i in (1, 2, 3)]
    h = Function("h")(*x)

    def along(field: list, f: object) -> object:
        return sum(a * f.diff(b) for a, b in zip(field, x, strict=True))

    bracket = [along(X, b) - along(Y, a) for a, b in zip(X, Y, strict=True)]
    page.step(
        Symbol("X(Y h) - Y(X h) - [X, Y] h"),
        Integer(0),
        "With [X, Y] = DY X - DX Y the second derivatives of h cancel: if X h = Y h = 0 then "
        "[X, Y] h = 0.",
        derived=along(X, along(Y, h)) - along(Y, along(X, h)) - along(bracket, h),
    )


def _function_of_both(page: Derivation) -> None:
    """If P = F(w, h), it does not change where neither w nor h does."""
    x = symbols("x y z", real=True)
    w, h = Function("w")(*x), Function("h")(*x)
    a, b = symbols("a b", real=True)
    F = Function("F")
    dw, dh = ([f.diff(s) for s in x] for f in (w, h))
    # Orthogonal to both gradients, and to nothing else: the direction of the fibre in three
    # variables.
    v = [
        dw[1] * dh[2] - dw[2] * dh[1],
        dw[2] * dh[0] - dw[0] * dh[2],
        dw[0] * dh[1] - dw[1] * dh[0],
    ]
    slopes = [F(a, b).diff(s).subs({a: w, b: h}) for s in (a, b)]
    page.step(
        Symbol("D F(w, h) [v]"),
        Integer(0),
        "Conversely, if P = F(w, h), the chain rule gives F_w (grad w . v) + F_h (grad h . v), and "
        "v is orthogonal to both gradients.",
        derived=sum(c * (slopes[0] * p + slopes[1] * q) for c, p, q in zip(v, dw, dh, strict=True)),
    )


if __name__ == "__main__":
    for line in prove().steps:
        print(line)
    print(f"\nproved: {THEOREM.title}")
