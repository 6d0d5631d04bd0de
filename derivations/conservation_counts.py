"""How many conservation laws the product of two matrices has.

Let W = U V^T with U of n rows, V of m rows and r columns each, and p = n + m. A function of (U, V)
is conserved by gradient flow for every loss if and only if its gradient is orthogonal to the fields

    X_E = (E V, E^T U),     the gradients of <E, U V^T>, for all n by m matrices E,

and then to everything that their Lie brackets generate. By Frobenius's theorem the number of
independent ones, near a generic point, is p r less the dimension that is generated.

All these fields are linear in Z = (U; V). Their brackets are rotations of U and of V, and with
these the family is closed: it is the Lie algebra of the matrices J K, K antisymmetric and
J = diag(I, -I), which keep Z^T J Z = U^T U - V^T V. What is left to do is counting: a matrix J K
moves Z unless K vanishes on the columns of Z.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportReturnType=false
from __future__ import annotations

from sympy import (
    Expr,
    Identity,
    Integer,
    MatAdd,
    MatMul,
    MatrixSymbol,
    Rational,
    Symbol,
    Transpose,
    ZeroMatrix,
    summation,
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
from flowsim.theory import Theorem
from flowsim.theory.conservation_counts import COLUMNS, RANK, ROWS, WIDTH, two_layer_count

THEOREM = two_layer_count

n, m, r, rho = ROWS, COLUMNS, WIDTH, RANK
p = n + m
of = MatrixPolynomial.of

Field = tuple[MatrixPolynomial, MatrixPolynomial]

U, V = MatrixSymbol("U", n, r), MatrixSymbol("V", m, r)
E, F = MatrixSymbol("E", n, m), MatrixSymbol("F", n, m)
A, B = MatrixSymbol("A", n, n), MatrixSymbol("B", m, m)


def bracket(X: Field, Y: Field) -> Field:
    """The Lie bracket DY X - DX Y of two fields on (U, V)."""

    def moved(field: MatrixPolynomial, along: Field) -> MatrixPolynomial:
        return differential(field, {U: along[0], V: along[1]}.get)

    return (moved(Y[0], X) - moved(X[0], Y), moved(Y[1], X) - moved(X[1], Y))


def gradient_field(M: MatrixPolynomial) -> Field:
    """The field X_M = (M V, M^T U)."""
    return M @ of(V), M.T @ of(U)


def rotation(a: MatrixPolynomial, b: MatrixPolynomial) -> Field:
    """The field (a U, b V)."""
    return a @ of(U), b @ of(V)


def antisymmetric(M: MatrixSymbol) -> MatrixPolynomial:
    """M - M^T, which is any antisymmetric matrix as M is any matrix."""
    return of(M) - of(M).T


def pairs(size: Expr) -> Expr:
    """The number of pairs of rows: of free entries of an antisymmetric matrix."""
    k = Symbol("k", integer=True)
    return summation(k, (k, 0, size - 1))


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for all sizes n, m and r.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()

    # The fields: W is bilinear, and dL = <E, dW> for a loss with gradient E.
    W = of(U) @ of(V).T
    dW = differential(W, {U: of(Differential(U)), V: of(Differential(V))}.get)
    page.step(
        LossGradient(U),
        MatMul(E, V),
        "Chain rule: the gradient of <E, U V^T> with respect to U.",
        derived=read_gradient(dW, U, E),
    )
    page.step(
        LossGradient(V),
        MatMul(Transpose(E), U),
        "The same with respect to V: together the field X_E.",
        derived=read_gradient(dW, V, E),
    )

    # What is generated: rotations, and no more.
    turned = bracket(gradient_field(of(E)), gradient_field(of(F)))
    page.step(
        Velocity(U),
        MatMul(MatAdd(MatMul(F, Transpose(E)), MatMul(-1, E, Transpose(F))), U),
        "The bracket [X_E, X_F] turns U by an antisymmetric matrix ...",
        derived=turned[0],
    )
    page.step(
        Velocity(V),
        MatMul(MatAdd(MatMul(Transpose(F), E), MatMul(-1, Transpose(E), F)), V),
        "... and V by another.",
        derived=turned[1],
    )
    e, g = MatrixSymbol("e", n, 1), MatrixSymbol("g", n, 1)
    f = MatrixSymbol("f", m, 1)
    orthonormal = [
        Rule.of(Transpose(f) * f, Identity(1)),
        Rule.of(Transpose(e) * g, ZeroMatrix(1, 1)),
        Rule.of(Transpose(g) * e, ZeroMatrix(1, 1)),
    ]
    single = bracket(gradient_field(of(e * Transpose(f))), gradient_field(of(g * Transpose(f))))
    page.step(
        Velocity(U),
        MatMul(MatAdd(MatMul(g, Transpose(e)), MatMul(-1, e, Transpose(g))), U),
        "With E = e f^T and F = g f^T, e and g orthogonal, f of length 1, it is the rotation of U "
        "in the plane of e and g; such rotations span all antisymmetric matrices.",
        derived=rewrite_fully(single[0], orthonormal),
    )
    page.step(
        Velocity(V),
        ZeroMatrix(m, r),
        "It leaves V alone. So every rotation of U is generated and, with the roles of U and V "
        "exchanged, every rotation of V.",
        derived=rewrite_fully(single[1], orthonormal),
    )
    a, b = antisymmetric(A), antisymmetric(B)
    mixed = bracket(rotation(a, b), gradient_field(of(E)))
    again = of(E) @ b - a @ of(E)
    page.step(
        Velocity(U),
        (again @ of(V)).expr(),
        "The bracket of a rotation (a U, b V) and X_E is X_M with M = E b - a E ...",
        derived=mixed[0],
    )
    page.step(
        Velocity(V),
        (again.T @ of(U)).expr(),
        "... in both components, as a and b are antisymmetric.",
        derived=mixed[1],
    )
    A2, B2 = MatrixSymbol("A_2", n, n), MatrixSymbol("B_2", m, m)
    a2, b2 = antisymmetric(A2), antisymmetric(B2)
    twice = bracket(rotation(a, b), rotation(a2, b2))
    commutator = a2 @ a - a @ a2
    page.step(
        Velocity(U),
        (commutator @ of(U)).expr(),
        "Two rotations give a rotation again: the algebra is closed.",
        derived=twice[0],
    )
    certify((-commutator).expr(), commutator.T, name="a commutator of rotations is antisymmetric")
    certify(((b2 @ b - b @ b2) @ of(V)).expr(), twice[1], name="the rotation of V in that bracket")

    # Conserved by all of it.
    gram = MatAdd(MatMul(Transpose(U), U), MatMul(-1, Transpose(V), V))
    for field, why in (
        (gradient_field(of(E)), "U^T U - V^T V is constant along every X_E ..."),
        (rotation(a, b), "... and along every rotation."),
    ):
        page.step(
            Velocity(gram),
            ZeroMatrix(r, r),
            why,
            derived=differential(of(gram), {U: field[0], V: field[1]}.get),
        )

    # Counting. Antisymmetric a and b, and any E: the matrices J K with K antisymmetric.
    dimension = Symbol("dim_g", integer=True)
    page.step(
        dimension,
        Rational(1, 2) * p * (p - 1),
        "Pairs of rows of U, pairs of rows of V, and the entries of E: as many as pairs of p.",
        derived=pairs(n) + pairs(m) + n * m,
        check="sums over the rows",
    )
    J, M = MatrixSymbol("J", p, p), MatrixSymbol("M", p, p)
    reflection = [Rule.of(J * J, Identity(p)), Rule.of(Transpose(J), J)]
    K = antisymmetric(M)
    X = of(J) @ K
    page.step(
        MatAdd(MatMul(Transpose(MatrixSymbol("X", p, p)), J), MatMul(J, MatrixSymbol("X", p, p))),
        ZeroMatrix(p, p),
        "X = J K satisfies X^T J + J X = 0, and X Z = 0 if and only if K Z = J X Z = 0.",
        derived=rewrite_fully(X.T @ of(J) + of(J) @ X, reflection),
    )
    # An orthogonal change of rows brings Z of rank rho to (T; 0), T with a right inverse R.
    T, R = MatrixSymbol("T", rho, r), MatrixSymbol("R", r, rho)
    K11, K21 = MatrixSymbol("K_11", rho, rho), MatrixSymbol("K_21", p - rho, rho)
    inverse = [Rule.of(T * R, Identity(rho))]
    for block in (K11, K21):
        page.step(
            MatMul(block, T, R),
            block,
            "In rows where Z = (T; 0), T of full rank with the right inverse R, K Z = 0 makes the "
            "blocks of K that meet T vanish; the antisymmetric block on the other p - rho rows is "
            "free.",
            derived=rewrite_fully(of(block) @ of(T) @ of(R), inverse),
        )
    moved = pairs(p) - pairs(p - rho)
    page.step(
        Symbol("dim_gZ", integer=True),
        Rational(1, 2) * (p * (p - 1) - (p - rho) * (p - rho - 1)),
        "The dimension generated at Z: that of the algebra less that of the K that vanish on Z.",
        derived=moved,
        check="sums over the rows",
    )
    left = p * r - moved
    page.step(
        Symbol("count", integer=True),
        Rational(1, 2) * r * (r + 1),
        "By Frobenius's theorem p r less that. A narrow product, r <= p, has rank rho = r.",
        derived=left.subs(rho, r),
        check="sums over the rows",
    )
    page.step(
        Symbol("count", integer=True),
        p * r - Rational(1, 2) * p * (p - 1),
        "A wide one, r >= p, has rank rho = p.",
        derived=left.subs(rho, p),
        check="sums over the rows",
    )

    # A narrow product has that many laws in U^T U - V^T V = Z^T J Z alone: all its entries.
    Z, H = MatrixSymbol("Z", p, r), MatrixSymbol("H", r, r)
    S = MatrixSymbol("S", r, r)
    symmetric = of(S) + of(S).T
    invertible = [*reflection, Rule.of(Transpose(Z) * Z * H, Identity(r)), Rule.of(Transpose(H), H)]
    invertible.append(Rule.of(H * Transpose(Z) * Z, Identity(r)))
    push = of(J) @ of(Z) @ of(H) @ symmetric * Rational(1, 2)
    page.step(
        Velocity(MatMul(Transpose(Z), J, Z)),
        MatAdd(S, Transpose(S)),
        "With H = (Z^T Z)^{-1}, which exists for rho = r, moving Z by J Z H (S + S^T) / 2 moves "
        "Z^T J Z by any symmetric matrix: its r (r + 1) / 2 entries are independent, and every "
        "other law is a function of them.",
        derived=rewrite_fully(differential(of(Transpose(Z) * J * Z), {Z: push}.get), invertible),
    )

    stated = theorem.statement(Integer(2))
    certify(stated, left, name=theorem.name)
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
