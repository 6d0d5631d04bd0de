"""The mirror potential of u^2 - v^2 is the hypentropy.

Let beta = u^2 - v^2 follow gradient flow from u_0 = v_0 = alpha.  With nu minus the integrated
gradient, u = alpha exp(2 nu) and v = alpha exp(-2 nu), so that beta = 2 alpha^2 sinh(4 nu).  Solved
for nu this is the gradient of a potential,

    nu = (1/4) arsinh(beta / (2 alpha^2)) = Q'(beta),
    Q = (1/4) [beta arsinh(beta / (2 alpha^2)) - sqrt(beta^2 + 4 alpha^4) + 2 alpha^2],

and nu' = -grad L is the mirror flow of Q.  For small beta it is a square, for large beta |beta|
times a logarithm of beta / alpha^2: between ridge and lasso, as alpha decides.
"""

from __future__ import annotations

from sympy import Integer, Symbol, asinh, cosh, diff, exp, sinh, sqrt

from derivations._coordinates import diagonal_flow, network, tidy
from flowsim.symbolic.certify import Derivation, certify
from flowsim.theory.diagonal import SLOPE, U, V
from flowsim.theory.mirror_potentials import ALPHA, BETA, DUAL, hypentropy
from flowsim.theory.records import Theorem

THEOREM = hypentropy


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page, N, c = Derivation(), Integer(2), 2 * ALPHA**2
    field = {x: -velocity / SLOPE for x, velocity in diagonal_flow(page, N).items()}
    u, v = ALPHA * exp(2 * DUAL), ALPHA * exp(-2 * DUAL)
    for x, solution in ((U, u), (V, v)):
        page.step(
            Symbol(f"d{x}/dnu"),
            field[x].subs(x, solution),
            f"{x} = {solution} solves the equation, and is alpha at nu = 0.",
            derived=diff(solution, DUAL),
        )
    page.step(
        Symbol("beta"),
        (c * sinh(4 * DUAL)).rewrite(exp),
        "beta = 2 alpha^2 sinh(4 nu).",
        derived=network(u, v, N),
    )
    nu = asinh(BETA / c) / 4
    page.step(
        Symbol("2 alpha^2 sinh(4 nu)"),
        BETA,
        "Solved for nu = arsinh(beta/(2 alpha^2))/4.",
        derived=c * sinh(4 * nu),
    )

    # The dual potential is the size of the factors.
    size, cosine = (u**2 + v**2 - c) / 4, c * (cosh(4 * DUAL) - 1) / 4
    page.step(
        Symbol("Q*"),
        cosine.rewrite(exp),
        "The dual potential (u^2 + v^2 - 2 alpha^2)/4, a hyperbolic cosine of nu.",
        derived=size,
    )
    potential = (BETA * asinh(BETA / c) - sqrt(BETA**2 + c**2) + c) / 4
    page.step(
        Symbol("Q"),
        potential,
        "Legendre: Q = nu beta - Q*(nu), with cosh(arsinh x) = sqrt(1 + x^2).",
        derived=tidy(nu * BETA - cosine.subs(DUAL, nu)),
    )
    page.step(
        Symbol("Q'(beta)"),
        nu,
        "Its gradient is nu: the mirror map.",
        derived=tidy(diff(potential, BETA)),
    )
    page.step(Symbol("Q(0)"), Integer(0), "At beta = 0.", derived=potential.subs(BETA, 0))
    certify(theorem.statement(2), potential, name=theorem.name)
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
