"""A vector times a scalar under a gradient of fixed direction: a hyperbolic rotation.

Let w_1, a vector, and w_2, a number, follow the negative gradient of L(w_1 w_2), and let
grad L(w(t)) = g(t) e with a fixed unit vector e.  Only a = <e, w_1> moves, and measured in
Gamma = integral_0^t g,

    da/dGamma = -w_2,    dw_2/dGamma = -a:

(w_2, a) turns hyperbolically, and w_2^2 - a^2 stays.
"""

from __future__ import annotations

from sympy import (
    Identity,
    MatAdd,
    MatMul,
    MatrixSymbol,
    Symbol,
    Transpose,
    ZeroMatrix,
    cosh,
    diff,
    exp,
    sinh,
)

from derivations._scaled_vector import FIRST, SECOND, G, descent_direction
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.differential import Velocity
from flowsim.symbolic.rewriting import Rule, rewrite
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.records import Theorem
from flowsim.theory.scaled_vector import (
    ALONG,
    INTEGRATED,
    SCALE_0,
    SIZE,
    scaled_vector_line,
)

THEOREM = scaled_vector_line
of = MatrixPolynomial.of


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    flow = descent_direction(page)
    e, g = MatrixSymbol("e", SIZE, 1), Symbol("g", real=True)
    unit = Rule.of(MatMul(Transpose(e), e), Identity(1))
    velocities = {
        x: flow(x).substitute(lambda y: of(e) * g if y == G else None) for x in (FIRST, SECOND)
    }
    along = rewrite(of(e).T @ velocities[FIRST], unit)
    page.step(
        Velocity(MatMul(Transpose(e), FIRST)),
        MatMul(-g, SECOND),
        "The component of w_1 along e, with e^T e = 1.",
        derived=along,
    )
    page.step(
        Velocity(SECOND),
        MatMul(-g, Transpose(FIRST), e),
        "w_2 feels that component.",
        derived=velocities[SECOND],
    )
    across = MatrixPolynomial.identity(SIZE) - of(e) @ of(e).T
    page.step(
        Velocity(MatMul(MatAdd(Identity(SIZE), MatMul(-1, e, Transpose(e))), FIRST)),
        ZeroMatrix(SIZE, 1),
        "Nothing across e moves.",
        derived=rewrite(across @ velocities[FIRST], unit),
    )
    # The two coefficients of g, as numbers: a' = -g w_2, w_2' = -g a, and dGamma = g dt.
    rate_a, rate_w = (c / g for p in (along, velocities[SECOND]) for c in p.terms.values())
    first = SCALE_0 * cosh(INTEGRATED) - ALONG * sinh(INTEGRATED)
    second = ALONG * cosh(INTEGRATED) - SCALE_0 * sinh(INTEGRATED)
    for name, solution, slope in (("w_2", first, rate_w * second), ("a", second, rate_a * first)):
        page.step(
            Symbol(f"d{name}/dGamma"),
            slope,
            f"{name} = {solution} solves the equation.",
            derived=diff(solution, INTEGRATED),
        )
    page.step(Symbol("w_2(0)"), SCALE_0, "The start.", derived=first.subs(INTEGRATED, 0))
    page.step(Symbol("a(0)"), ALONG, "The start.", derived=second.subs(INTEGRATED, 0))
    page.step(
        Symbol("w_2^2 - a^2"),
        SCALE_0**2 - ALONG**2,
        "A hyperbolic rotation.",
        derived=(first**2 - second**2).rewrite(exp),
    )
    certify(theorem.statement(2), first, name=theorem.name)
    certify(theorem.statement(2, factor=1), second, name=f"{theorem.name}, w_1")
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
