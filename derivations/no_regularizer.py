"""By how much the flow of a deep linear network fails to be a gradient flow.

A balanced network with one output and depth N moves its end-to-end parameter w by -F(w),

    F = |w|^(2-2/N) (g + (N-1) Pr_w g),    g = grad L(w),  H its Jacobian.

If F were the gradient of some function, then depth would be a regularizer in disguise: another
loss, descended by plain gradient flow.  A field is a gradient only where its Jacobian is symmetric,
so differentiate.  What is not symmetric comes from two places: from the norm in front, and from the
projection.  Together

    J - J^T = -(N-1) |w|^(-2/N) (q w^T - w q^T),    q = (N-2)/N g + H w,

and q is itself a gradient, of <w, grad L> - (2/N) L.  Hence (d > 1, away from 0) F is a gradient
field if and only if <w, grad L> - (2/N) L is the same all over every sphere; along rays that is
Euler's equation, and its solutions are

    L = R(|w|) + h(w)     with h homogeneous of degree 2/N.

The page ends with both directions of that: a homogeneous h contributes nothing, and its potential
is |w|^(2-2/N) h; a radial R contributes nothing, and its potential has the slope N |w|^(2-2/N) R'.

The theorem of the paper (no regularizer for N > 2 where grad L(0) is not 0) is the case in which L
has a linear part at the origin, and 2/N < 1.  At N = 2 a linear part is homogeneous of degree 2/N:
there a regularizer exists.
"""

from __future__ import annotations

from sympy import Expr, Identity, Integer, MatAdd, MatMul, MatrixSymbol, Symbol, Transpose

from flowsim.problems import DeepLinear
from flowsim.symbolic import derive, integrability
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.columns import Calculus, Inner
from flowsim.symbolic.integrability import CALCULUS, LOSS, SIZE, G, H, W
from flowsim.symbolic.nodes import FrobeniusNorm
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.no_regularizer import antisymmetric_part
from flowsim.theory.records import Theorem

THEOREM = antisymmetric_part

#: Names for what the lines are about.
FIELD = MatrixSymbol("F", SIZE, 1)
JACOBIAN = MatrixSymbol("J", SIZE, SIZE)
Q = MatrixSymbol("q", SIZE, 1)
J_MINUS_JT = MatAdd(JACOBIAN, MatMul(-1, Transpose(JACOBIAN)))
POTENTIAL_GRADIENT = MatrixSymbol("grad Phi", SIZE, 1)


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every depth and every number of inputs.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page, of = Derivation(), MatrixPolynomial.of
    N = Symbol("N", integer=True, positive=True)
    norm, inner = FrobeniusNorm(W), Inner(W, G)
    w, g = of(W), of(G)

    # The field, from the law that the engine derives from the loss and the chain rule.
    F = integrability.column_field(derive(DeepLinear.of_depth("N")))
    page.step(
        FIELD,
        (g * norm ** (2 - 2 / N) + w * ((N - 1) * norm ** (-2 / N) * inner)).expr(),
        "The balanced law with one output, read as a column; Pr_w g = w <w, g> / |w|^2.",
        derived=F,
    )

    # Differentiate: the norm, the inner product, and the columns.
    a = 2 - 2 / N
    page.step(
        MatrixSymbol("grad |w|^a", SIZE, 1),
        MatMul(a * norm ** (a - 2), W),
        "Chain rule, with |w|^2 = <w, w>.",
        derived=CALCULUS.gradient(norm**a, SIZE),
    )
    page.step(
        MatrixSymbol("grad <w, g>", SIZE, 1),
        (g + of(H) @ w).expr(),
        "Product rule, with dg = H dw and H symmetric.",
        derived=CALCULUS.gradient(inner, SIZE),
    )
    J = CALCULUS.jacobian(F)
    wt, gt = Transpose(W), Transpose(G)
    page.step(
        JACOBIAN,
        MatAdd(
            MatMul(norm**a, H),
            MatMul((N - 1) * norm ** (a - 2) * inner, Identity(SIZE)),
            MatMul((N - 1) * (a - 2) * norm ** (a - 4) * inner, W, wt),
            MatMul(a * norm ** (a - 2), G, wt),
            MatMul((N - 1) * norm ** (a - 2), W, MatAdd(gt, MatMul(wt, H))),
        ),
        "Product rule on both summands of F. The first three terms are symmetric.",
        derived=J,
    )

    # The two that are not.
    found = integrability.antisymmetric_part_of(F)
    page.step(
        J_MINUS_JT,
        MatAdd(
            MatMul((a - N + 1) * norm ** (a - 2), MatAdd(MatMul(G, wt), MatMul(-1, W, gt))),
            MatMul((N - 1) * norm ** (a - 2), MatAdd(MatMul(W, wt, H), MatMul(-1, H, W, wt))),
        ),
        "What is left of the Jacobian without its symmetric terms.",
        derived=found,
    )
    q = integrability.regularity_gradient(N)
    page.step(
        Q,
        MatAdd(MatMul((N - 2) / N, G), MatMul(H, W)),
        "The gradient of <w, grad L> - (2/N) L, by the chain rule.",
        derived=q,
    )
    closed = CALCULUS.normal((q @ w.T - w @ q.T) * (-(N - 1) * norm ** (-2 / N)))
    certify(closed, found, name="J - J^T through q")
    page.step(
        J_MINUS_JT,
        MatMul(-(N - 1) * norm ** (-2 / N), MatAdd(MatMul(Q, wt), MatMul(-1, W, Transpose(Q)))),
        "The exponents agree, a - N + 1 = -(N-1)(N-2)/N. It is 0 exactly where q is parallel to w.",
        derived=(of(Q) @ w.T - w @ of(Q).T) * (-(N - 1) * norm ** (-2 / N)),
    )

    _homogeneous_and_radial_losses(page, F, N)
    certify(theorem.statement(N), found, name=theorem.name)
    return page


def _homogeneous_and_radial_losses(page: Derivation, F: MatrixPolynomial, N: Expr) -> None:
    """Find the potentials of the two kinds of losses that have one."""
    of = MatrixPolynomial.of
    norm, inner = FrobeniusNorm(W), Inner(W, G)

    # Euler: for h of degree 2/N, <w, grad h> = (2/N) h. So F is the gradient of |w|^(2-2/N) h.
    potential = norm ** (2 - 2 / N) * LOSS
    page.step(
        POTENTIAL_GRADIENT,
        MatAdd(
            MatMul(norm ** (2 - 2 / N), G), MatMul(2 * (N - 1) / N * norm ** (-2 / N) * LOSS, W)
        ),
        "Phi = |w|^(2-2/N) L: the product rule.",
        derived=CALCULUS.gradient(potential, SIZE),
    )
    page.step(
        FIELD,
        CALCULUS.gradient(potential, SIZE).expr(),
        "For L homogeneous of degree 2/N, where <w, g> = (2/N) L, F is the gradient of Phi.",
        derived=_with(F, {inner: 2 * LOSS / N}),
    )

    # A radial loss has g = (R'/|w|) w. So F = N |w|^(2-2/N) g, and that is radial too.
    slope = Symbol("R'", real=True)
    radial = Calculus({W: MatrixPolynomial.identity(SIZE)})
    along = radial.gradient(norm, SIZE) * slope
    radial_field = MatrixPolynomial((SIZE, 1))
    for (word, _), c in F.terms.items():
        column = along if word[0].node == G else of(W)
        radial_field = radial_field + column * c.xreplace({inner: slope * norm})
    page.step(
        FIELD,
        MatMul(N * norm ** (1 - 2 / N) * slope, W),
        "For L = R(|w|), where g = R' w/|w| and <w, g> = R' |w|, F is radial with the slope "
        "N |w|^(2-2/N) R'(|w|).",
        derived=radial_field,
    )

    # Conversely, along a ray Euler's equation rho L' - (2/N) L = psi(rho) has, for each psi, the
    # solutions R(rho) + h rho^(2/N): two of them differ by h, which depends on the ray alone.
    rho = Symbol("rho", positive=True)
    h = Symbol("h", real=True)
    ray = h * rho ** (2 / N)
    page.step(
        Symbol("rho h'(rho) - (2/N) h(rho)"),
        Integer(0),
        "Conversely, two losses with one <w, grad L> - (2/N) L differ on each ray by a multiple of "
        "rho^(2/N).",
        derived=rho * ray.diff(rho) - 2 * ray / N,
    )


def _with(vector_field: MatrixPolynomial, values: dict[Expr, Expr]) -> MatrixPolynomial:
    """Put scalars in place of scalars."""
    terms = [(c.xreplace(values), word, over) for (word, over), c in vector_field.terms.items()]
    return MatrixPolynomial(vector_field.shape, terms)


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
