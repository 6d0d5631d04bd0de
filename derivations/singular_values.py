"""How the singular values of a deep matrix factorisation move.

From a balanced start W = W_N ... W_1 obeys the balanced law (balanced_law.py),

    W' = - sum_{j=1..N} (W W^T)^((j-1)/N) G (W^T W)^((N-j)/N),      G = grad L(W),

whatever the loss.  Let sigma be a singular value with unit vectors u and v, W v = sigma u and
W^T u = sigma v, differentiable along the flow.  Seen from u and v, the powers of W W^T and W^T W
are powers of sigma, which add up to the same in every term of the sum:

    sigma' = u^T W' v = -N sigma^(2 - 2/N) <G, u v^T>.

Large singular values move faster, and the more so the deeper the network: that is the implicit bias
of depth towards low rank.
"""

from __future__ import annotations

from sympy import (
    Expr,
    Identity,
    Integer,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    Symbol,
    Transpose,
    ZeroMatrix,
)

from derivations import balanced_law as law_page
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.differential import Velocity, differential
from flowsim.symbolic.nodes import PSDPower
from flowsim.symbolic.rewriting import Rule, rewrite, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory import Theorem, balanced_law
from flowsim.theory.deep_linear import DECAY
from flowsim.theory.factorization import OWN, ROW, singular_values

THEOREM = singular_values

of = MatrixPolynomial.of
N, j, W, G = law_page.N, law_page.j, law_page.W, law_page.G
k, d = W.shape
sigma = ROW
u, v = MatrixSymbol("u_r", k, 1), MatrixSymbol("v_r", d, 1)


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every depth N, all widths and every loss.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    velocity = balanced_velocity(page)
    own = value_moves_by_its_own_vectors(page)
    acted = powers_on_vectors(page)
    seen = rewrite(rewrite(of(Transpose(u)) @ velocity @ of(v), acted["left"]), acted["right"])
    page.step(
        MatMul(Transpose(u), Velocity(W), v),
        MatMul(-N * sigma ** (2 - 2 / N), Transpose(u), G, v),
        "All N terms of the law are the same between u and v.",
        derived=seen,
    )
    entry = number(rewrite(seen, Rule.of(MatMul(Transpose(u), G, v), Identity(1)))) * OWN
    certify(theorem.statement(N), own.subs(Symbol("x"), entry), name=theorem.name)
    return page


def balanced_velocity(page: Derivation) -> MatrixPolynomial:
    """Prove the balanced law from the loss, and take it without weight decay."""
    proved = law_page.prove().steps[-1].rhs
    velocity = of(balanced_law.statement(N)).subs(DECAY, 0)
    page.step(
        Velocity(W),
        velocity.expr(j),
        "The balanced law, which follows from the loss and the chain rule (balanced_law.py).",
        derived=of(proved).subs(DECAY, 0).reflected(),
    )
    return velocity


def value_moves_by_its_own_vectors(page: Derivation) -> Expr:
    """Differentiate sigma = u^T W v: the vectors' own motion drops out.  x stands for u^T W' v."""
    away = {
        letter: Rule.of(MatMul(Transpose(letter), Velocity(letter)), ZeroMatrix(1, 1))
        for letter in (u, v)
    }
    length = differential(of(Transpose(u)) @ of(u), moving)
    page.step(
        Velocity(MatMul(Transpose(u), u)),
        ZeroMatrix(1, 1),
        "u keeps its length, so that u^T u' = 0; likewise v.",
        derived=rewrite_fully(length, [away[u], transposed(away[u])]),
    )
    rules = [
        Rule.of(MatMul(W, v), MatMul(sigma, u)),
        Rule.of(MatMul(Transpose(u), W), MatMul(sigma, Transpose(v))),
        *away.values(),
        *map(transposed, away.values()),
    ]
    rate = rewrite_fully(differential(of(Transpose(u)) @ of(W) @ of(v), moving), rules)
    page.step(
        Velocity(MatMul(Transpose(u), W, v)),
        MatMul(Transpose(u), Velocity(W), v),
        "sigma = u^T W v, and only W moves it.",
        derived=rate,
    )
    x = Symbol("x")
    replaced = rewrite(rate, Rule.of(MatMul(Transpose(u), Velocity(W), v), Identity(1)))
    return number(replaced) * x


def powers_on_vectors(page: Derivation) -> dict[str, Rule]:
    """W W^T and W^T W act on u and v by sigma^2; so their powers act by powers of it."""
    rules = [
        Rule.of(MatMul(W, v), MatMul(sigma, u)),
        Rule.of(MatMul(Transpose(W), u), MatMul(sigma, v)),
    ]
    for vector, gram, name in (
        (u, MatMul(W, Transpose(W)), "u is an eigenvector of W W^T."),
        (v, MatMul(Transpose(W), W), "v is an eigenvector of W^T W; powers act by powers."),
    ):
        page.step(
            MatMul(gram, vector),
            MatMul(sigma**2, vector),
            name,
            derived=rewrite_fully(of(gram) @ of(vector), rules),
        )
    return power_rules(u, sigma, v, sigma)


def power_rules(
    left: MatrixExpr, s_left: Expr, right: MatrixExpr, s_right: Expr
) -> dict[str, Rule]:
    """Return how the powers in the balanced law act on left and right singular vectors."""
    row = PSDPower(MatMul(W, Transpose(W)), (j - 1) / N)
    column = PSDPower(MatMul(Transpose(W), W), (N - j) / N)
    return {
        "left": Rule.of(
            MatMul(Transpose(left), row),
            MatMul(s_left ** (2 * (j - 1) / N), Transpose(left)),
            index=j,
        ),
        "right": Rule.of(
            MatMul(column, right), MatMul(s_right ** (2 * (N - j) / N), right), index=j
        ),
    }


def moving(node: MatrixExpr) -> MatrixPolynomial:
    """Every matrix here moves."""
    return of(Velocity(node))


def transposed(rule: Rule) -> Rule:
    """Return the rule for the transposes of both sides."""
    return Rule(tuple(letter.T for letter in reversed(rule.lhs)), rule.rhs.T)


def number(polynomial: MatrixPolynomial) -> Expr:
    """Return the coefficient of a 1 by 1 polynomial without letters, sums of constants included."""
    total = Integer(0)
    for (word, over), coefficient in polynomial.terms.items():
        if word or over is not None:
            raise ValueError(f"letters are left: {polynomial}")
        total += coefficient
    return total


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
