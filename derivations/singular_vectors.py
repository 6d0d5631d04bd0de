"""How the singular vectors of a deep matrix factorisation turn.

Take the thin singular value decomposition W = U S V^T along a balanced flow, with singular values
that are positive and distinct.  Since U and V keep orthonormal columns, A = U^T U' and B = V^T V'
are antisymmetric, and the entries (r, q) and (q, r) of

    U^T W' V = A S + S' - S B

are two equations for A_rq and B_rq.  The balanced law says what the left-hand side is,
(U^T W' V)_rq = -M_rq g_rq with g = U^T G V and

    M_rq = sum_j sigma_r^(2(j-1)/N) sigma_q^(2(N-j)/N)
         = (sigma_q^2 - sigma_r^2) / (sigma_q^(2/N) - sigma_r^(2/N)).

The numerator cancels the denominator of the perturbation formula: what is left is the gap of the
singular values to the power 2/N.  Outside of the span of U only one term of the law survives, the
one without a power of W W^T.
"""

from __future__ import annotations

from collections.abc import Callable

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
    cancel,
    together,
)

from derivations import singular_values as values_page
from derivations.singular_values import G, N, W, d, j, k, number, of, power_rules
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.differential import Velocity, differential
from flowsim.symbolic.nodes import PSDPower
from flowsim.symbolic.rewriting import Rule, rewrite, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory import Theorem
from flowsim.theory.factorization import COLUMN, CROSSED, DIRECT, ROW, singular_vectors

THEOREM = singular_vectors

sigma_r, sigma_q = ROW, COLUMN
S = {"r": sigma_r, "q": sigma_q}
U = {name: MatrixSymbol(f"u_{name}", k, 1) for name in "rq"}
V = {name: MatrixSymbol(f"v_{name}", d, 1) for name in "rq"}
# Entries of A = U^T U' and B = V^T V'.
A, B = Symbol("A_rq", real=True), Symbol("B_rq", real=True)
X = {"rq": Symbol("x_rq", real=True), "qr": Symbol("x_qr", real=True)}


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every depth N, all widths and every loss.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    entries = {pair: perturbed(page, *pair) for pair in ("rq", "qr")}
    turns = solved(page, entries)
    multiplier = geometric_sum(page)
    velocity = values_page.balanced_velocity(page)
    law = {pair: between(page, velocity, *pair) for pair in ("rq", "qr")}

    gap = sigma_q ** (2 / N) - sigma_r ** (2 / N)
    for side, rate in turns.items():
        # x = -M g, and M the quotient that the geometric sum is.
        known = rate.subs({X[pair]: -multiplier * law[pair] for pair in X})
        pull = {
            "left": DIRECT * sigma_q + CROSSED * sigma_r,
            "right": DIRECT * sigma_r + CROSSED * sigma_q,
        }[side]
        page.step(
            A if side == "left" else B,
            -pull / gap,
            f"The {side} vectors: the difference of squares cancels.",
            derived=cancel(together(known)),
        )
        certify(theorem.statement(N, side=side), cancel(together(known)), name=theorem.name)
    certify(theorem.statement(N, side="leaving"), leaving(page, velocity), name=theorem.name)
    return page


def perturbed(page: Derivation, r: str, q: str) -> Expr:
    """Differentiate sigma: W v_q = sigma_q u_q, seen from u_r."""
    # In W v_q = sigma_q u_q: u_r^T W' v_q + u_r^T W v_q' = sigma_q u_r^T u_q', as u_r^T u_q = 0.
    left = differential(of(Transpose(U[r])) @ of(W) @ of(V[q]), _changing(W, V[q]))
    sign = Integer(1) if r == "r" else Integer(-1)
    rules = [
        Rule.of(MatMul(Transpose(U[r]), W), MatMul(S[r], Transpose(V[r]))),
        Rule.of(MatMul(Transpose(V[r]), Velocity(V[q])), MatMul(sign * B, Identity(1))),
    ]
    right = sign * A * S[q]
    found = right - number(
        rewrite_fully(
            left, [*rules, Rule.of(MatMul(Transpose(U[r]), Velocity(W), V[q]), ZeroMatrix(1, 1))]
        )
    )
    page.step(
        MatMul(Transpose(U[r]), Velocity(W), V[q]),
        sign * (S[q] * A - S[r] * B),
        f"Derivative of W v_{q} = sigma_{q} u_{q}, seen from u_{r}; A and B are antisymmetric.",
        derived=found,
    )
    return found


def solved(page: Derivation, entries: dict[str, Expr]) -> dict[str, Expr]:
    """Solve the two equations for A_rq and B_rq by forming the combinations that leave one."""
    x, y = entries["rq"], entries["qr"]
    square = sigma_q**2 - sigma_r**2
    page.step(
        sigma_q * X["rq"] + sigma_r * X["qr"],
        square * A,
        "sigma_q times the first equation plus sigma_r times the second; x is u^T W' v.",
        derived=sigma_q * x + sigma_r * y,
    )
    page.step(
        sigma_r * X["rq"] + sigma_q * X["qr"],
        square * B,
        "sigma_r times the first equation plus sigma_q times the second.",
        derived=sigma_r * x + sigma_q * y,
    )
    return {
        "left": (sigma_q * X["rq"] + sigma_r * X["qr"]) / square,
        "right": (sigma_r * X["rq"] + sigma_q * X["qr"]) / square,
    }


def geometric_sum(page: Derivation) -> Expr:
    """Sum sigma_r^(2(j-1)/N) sigma_q^(2(N-j)/N) over j: a geometric sum, symmetric in r and q."""
    x, y = sigma_r ** (2 / N), sigma_q ** (2 / N)
    term = sigma_r ** (2 * (j - 1) / N) * sigma_q ** (2 * (N - j) / N)
    partial = sigma_r ** (2 * j / N) * sigma_q ** (2 * (N - j) / N)
    page.step(
        term * (y - x),
        partial.subs(j, j - 1) - partial,
        "The sum telescopes: each term times the gap is a difference of neighbours.",
        derived=term * (y - x),
    )
    page.step(
        Symbol("M_rq") * (y - x),
        sigma_q**2 - sigma_r**2,
        "From the first neighbour to the last.",
        derived=partial.subs(j, 0) - partial.subs(j, N),
    )
    return (partial.subs(j, 0) - partial.subs(j, N)) / (y - x)


def between(page: Derivation, velocity: MatrixPolynomial, r: str, q: str) -> Expr:
    """Compare the law between u_r and v_q with the geometric sum; return the entry of g."""
    rules = power_rules(U[r], S[r], V[q], S[q])
    seen = rewrite(of(Transpose(U[r])) @ velocity @ of(V[q]), rules["left"])
    seen = rewrite(seen, rules["right"])
    entry = MatMul(Transpose(U[r]), G, V[q])
    term = sigma_r ** (2 * (j - 1) / N) * sigma_q ** (2 * (N - j) / N)
    stated = (of(entry) * -term).summed(j, 1, N)
    page.step(
        MatMul(Transpose(U[r]), Velocity(W), V[q]),
        stated.expr(j),
        "The law between the two vectors: the sum is M, whichever of the two comes first.",
        derived=seen if r == "r" else seen.reflected(),
    )
    return DIRECT if r == "r" else CROSSED


def leaving(page: Derivation, velocity: MatrixPolynomial) -> Expr:
    """Look at u_q' from a vector w that all of U is orthogonal to: w^T W = 0."""
    w = MatrixSymbol("w", k, 1)
    gone = Rule.of(MatMul(Transpose(w), W), ZeroMatrix(1, d))
    power = PSDPower(MatMul(W, Transpose(W)), (j - 1) / N)
    page.step(
        MatMul(Transpose(w), W, Transpose(W)),
        ZeroMatrix(1, k),
        "w is in the kernel of W W^T, and of its positive powers.",
        derived=rewrite(of(Transpose(w)) @ of(W) @ of(W).T, gone),
    )
    # The first term has the power 0 of W W^T; from j = 2 on the power is positive.
    first = velocity.peeled()
    kernel = Rule.of(MatMul(Transpose(w), power), ZeroMatrix(1, k), index=j)
    seen = rewrite(of(Transpose(w)) @ first @ of(V["q"]), kernel)
    seen = rewrite(seen, power_rules(U["q"], sigma_q, V["q"], sigma_q)["right"].at(Integer(1)))
    page.step(
        MatMul(Transpose(w), Velocity(W), V["q"]),
        MatMul(-(sigma_q ** (2 - 2 / N)), Transpose(w), G, V["q"]),
        "Of the law only its first term is left, the one without a power of W W^T.",
        derived=seen,
    )
    moved = differential(of(Transpose(w)) @ of(W) @ of(V["q"]), _changing(W, V["q"]))
    page.step(
        MatMul(sigma_q, Transpose(w), Velocity(U["q"])),
        MatMul(Transpose(w), Velocity(W), V["q"]),
        "Derivative of W v_q = sigma_q u_q, seen from w.",
        derived=rewrite(moved, gone),
    )
    entry = Rule.of(MatMul(Transpose(w), G, V["q"]), Identity(1))
    return number(rewrite(seen, entry)) / sigma_q


def _changing(*letters: MatrixSymbol) -> Callable[[MatrixExpr], MatrixPolynomial | None]:
    """Let some letters move, and keep the others for constants of the differentiation."""
    return lambda node: of(Velocity(node)) if node in letters else None


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
