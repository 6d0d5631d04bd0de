"""A balanced network with one output is no mirror flow.

Its end-to-end parameter moves by dw/dt = -P(w) grad L(w) with

    P = |w|^(2-2/N) (I + (N-1) w w^T / |w|^2).

A mirror flow would need P^{-1} to be the Hessian of a potential.  A field M of symmetric matrices
is a Hessian exactly where its derivative is symmetric in all three places, DM[x] y = DM[y] x (its
rows are then gradients, and what they are gradients of is a gradient again).  For M = P^{-1} that
says, after multiplication by P from all sides, that the columns of P commute as vector fields.
They do not:

    [P e_i, P e_j] = (N-1) |w|^(2-4/N) (w_i e_j - w_j e_i).

At w = e_i this is (N-1) e_j: not 0 for N > 1, as soon as there are two directions.
"""

from __future__ import annotations

from sympy import Identity, MatAdd, MatMul, MatrixSymbol, Symbol, Transpose

from flowsim.problems import DeepLinear
from flowsim.symbolic import derive, integrability
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.columns import Inner
from flowsim.symbolic.differential import differential
from flowsim.symbolic.integrability import SIZE, W
from flowsim.symbolic.mirror import columns
from flowsim.symbolic.nodes import FrobeniusNorm
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.mirror import E_I, E_J, balanced_metric
from flowsim.theory.records import Theorem

THEOREM = balanced_metric

#: The metric, its inverse, two vectors, and the derivatives along them.
P, M = MatrixSymbol("P", SIZE, SIZE), MatrixSymbol("M", SIZE, SIZE)
A, B = MatrixSymbol("a", SIZE, 1), MatrixSymbol("b", SIZE, 1)
P_A, P_B = MatrixSymbol("DP[Pa]", SIZE, SIZE), MatrixSymbol("DP[Pb]", SIZE, SIZE)
M_A, M_B = MatrixSymbol("DM[Pa]", SIZE, SIZE), MatrixSymbol("DM[Pb]", SIZE, SIZE)


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every depth and every number of inputs.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    N = Symbol("N", integer=True, positive=True)
    norm = FrobeniusNorm(W)
    criterion(page)

    # The columns of P, from the law.
    field = integrability.column_field(derive(DeepLinear.of_depth("N")))
    first, other = (columns.at_gradient(field, e) for e in (E_I, E_J))
    a = 2 - 2 / N
    page.step(
        MatMul(P, E_I),
        MatAdd(MatMul(norm**a, E_I), MatMul((N - 1) * norm ** (a - 2) * Inner(W, E_I), W)),
        "The balanced law with one output, at the gradient e_i.",
        derived=first,
    )
    rules = columns.calculus(E_I, E_J)
    jacobian = rules.jacobian(other)
    page.step(
        MatrixSymbol("J_j", SIZE, SIZE),
        MatAdd(
            MatMul((N - 1) * norm ** (a - 2) * Inner(W, E_J), Identity(SIZE)),
            MatMul(a * norm ** (a - 2), E_J, Transpose(W)),
            MatMul((N - 1) * norm ** (a - 2), W, Transpose(E_J)),
            MatMul((N - 1) * (a - 2) * norm ** (a - 4) * Inner(W, E_J), W, Transpose(W)),
        ),
        "Product rule on the norms, the inner product and the columns of P e_j.",
        derived=jacobian,
    )
    found = columns.bracket(first, other, rules)
    scale = (N - 1) * norm ** (2 * a - 2)
    page.step(
        MatrixSymbol("[P e_i, P e_j]", SIZE, 1),
        MatAdd(MatMul(scale * Inner(W, E_I), E_J), MatMul(-scale * Inner(W, E_J), E_I)),
        "J_j P e_i - J_i P e_j: of the coefficient, a N - (N-1) remains, which is N - 1.",
        derived=found,
    )
    page.step(
        MatrixSymbol("[P e_i, P e_j] at w = e_i", SIZE, 1),
        MatMul(N - 1, E_J),
        "Orthonormal e_i and e_j, w = e_i: the columns commute for N = 1 alone.",
        derived=_at_unit_vector(found),
    )

    certify(theorem.statement(N), found, name=theorem.name)
    return page


def criterion(page: Derivation) -> None:
    """The columns of P commute where its inverse M is a Hessian, and only there."""
    of = MatrixPolynomial.of
    # Differentiate P M = I along P a: DP M + P DM = 0.
    product = differential(of(MatMul(P, M)), lambda X: of({P: P_A, M: M_A}[X]))
    page.step(
        MatrixSymbol("D(P M)[Pa]", SIZE, SIZE),
        MatAdd(MatMul(P_A, M), MatMul(P, M_A)),
        "P M = I has the derivative 0, so that DP = -P DM P.",
        derived=product,
    )
    inverse = [
        Rule.of(P_A, MatMul(-1, P, M_A, P)),
        Rule.of(P_B, MatMul(-1, P, M_B, P)),
    ]
    bracket = differential(of(MatMul(P, B)), lambda X: of(P_A) if X == P else None)
    bracket = bracket - differential(of(MatMul(P, A)), lambda X: of(P_B) if X == P else None)
    page.step(
        MatrixSymbol("[Pa, Pb]", SIZE, 1),
        MatMul(-1, P, MatAdd(MatMul(M_A, P, B), MatMul(-1, M_B, P, A))),
        "The bracket of two columns is P times DM[y] x - DM[x] y at x = Pa, y = Pb: it vanishes "
        "where DM is symmetric in all places, that is, where M is a Hessian.",
        derived=rewrite_fully(bracket, inverse),
    )


def _at_unit_vector(field: MatrixPolynomial) -> MatrixPolynomial:
    """A field in w, e_i and e_j at w = e_i."""
    inner = {Inner(W, E_I): 1, Inner(W, E_J): 0, FrobeniusNorm(W): 1}
    total = MatrixPolynomial(field.shape)
    for (word, _), c in field.terms.items():
        total = total + MatrixPolynomial.of(word[0].expr) * c.xreplace(inner)
    return total


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
