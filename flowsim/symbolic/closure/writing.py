r"""The law of one part, written to be read.

It is :math:`\dot w = -(\alpha G + \beta \langle w, G\rangle w)` where P has that structure, else it
is written entry by entry.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportAssignmentType=false
# pyright: reportIndexIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Sequence

import sympy
from sympy import Eq, Expr, IndexedBase, Mul, Symbol

from flowsim.symbolic.closure.radicals import RHO, Explicit, Primitive

__all__ = ["equation_of", "lines_of", "radial", "vector_symbols"]

NORM = Symbol("normw", positive=True)
LONGEST_LINE = 200
MOST_LINES = 4
HIGHEST_SHOWN = 4
# They do not commute, so that they are written last: rho*G.
VECTOR_W, VECTOR_G = Symbol("w", commutative=False), Symbol("G", commutative=False)
INNER = Symbol("<w, G>", real=True)


def radial(found: Explicit, w: Sequence[Expr]) -> tuple[Expr, Expr] | None:
    r"""The α and β of :math:`P = \alpha I + \beta w w^\top`; None where P has no such form."""
    m = len(w)
    if m < 2:
        return None
    relation = None
    if found.primitive is not None:
        relation = found.primitive.relation.expression()

    def same(a: Expr, b: Expr) -> bool:
        above, _ = sympy.fraction(sympy.together(a - b))
        if relation is not None:
            above = sympy.rem(sympy.expand(above), relation, RHO)
        return sympy.expand(above) == 0

    first = found.entries[0, 1]
    beta = sympy.cancel(first / (w[0] * w[1]))
    if any(
        not same(found.entries[i, j], beta * w[i] * w[j]) for i in range(m) for j in range(i + 1, m)
    ):
        return None
    alphas = [sympy.cancel(found.entries[i, i] - beta * w[i] ** 2) for i in range(m)]
    if any(not same(alpha, alphas[0]) for alpha in alphas[1:]):
        return None
    alphas += [k * RHO for k in (1, 2)] if relation is not None else []
    kept = [alpha for alpha in alphas if same(alpha, alphas[0])]
    alpha = min(kept, key=lambda e: int(e.count_ops()))
    beta = sympy.expand(beta) if len(sympy.Add.make_args(sympy.expand(beta))) < 3 else beta
    return sympy.factor(alpha), beta


def in_norm(e: Expr, w: Sequence[Expr]) -> Expr:
    """An expression with the sum of squares of w written as the square of its norm."""
    if len(w) < 2:
        return e
    others = sympy.Add(*(x**2 for x in w[:-1]))

    def shown(part: Expr) -> Expr:
        replaced = sympy.expand(sympy.expand(part).subs(w[-1] ** 2, NORM**2 - others))
        return replaced if not replaced.has(*w) else part

    changed = e.replace(lambda x: isinstance(x, sympy.Add), shown)
    return changed


def lines_of(
    found: Explicit,
    w: Sequence[Expr],
    G: Sequence[Expr],
) -> tuple[Eq, ...]:
    """The law, and what rho is."""
    rho: list[Eq] = []
    primitive = found.primitive
    scalar = len(w) == 1
    entries = found.entries
    if primitive is not None:
        if scalar and primitive.root is not None and entries[0, 0] == RHO:
            entries = {(0, 0): primitive.root}
        elif primitive.root is not None:
            rho = [Eq(RHO, in_norm(primitive.root, w), evaluate=False)]
    parts = radial(found, w)
    if parts is not None:
        alpha, beta = (in_norm(e, w) for e in parts)
        velocity = -alpha * VECTOR_G - beta * INNER * VECTOR_W
        return (Eq(VECTOR_W, velocity, evaluate=False), *rho)
    laws = []
    for i, x in enumerate(w):
        terms = [
            Mul(-entries[min(i, j), max(i, j)], G[j])
            for j in range(len(w))
            if entries[min(i, j), max(i, j)] != 0
        ]
        laws.append(Eq(x, sympy.Add(*terms), evaluate=False))
    if len(laws) > MOST_LINES or any(len(str(line.rhs)) > LONGEST_LINE for line in laws):
        laws = []  # too long to be read; the preconditioner holds them
    return (*laws, *rho)


def equation_of(primitive: Primitive, w: Sequence[Expr]) -> Eq | None:
    """The equation of rho, where it is short enough to be read."""
    relation = primitive.relation.expression()
    if sympy.degree(relation, RHO) > HIGHEST_SHOWN or len(str(relation)) > LONGEST_LINE:
        return None
    return Eq(in_norm(relation, w), 0, evaluate=False)


def vector_symbols(m: int, scalar: bool) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    """Symbols for the entries of w and of the gradient."""
    if scalar:
        return (Symbol("w", real=True),), (Symbol("G", real=True),)
    w, G = IndexedBase("w", real=True), IndexedBase("G", real=True)
    return tuple(w[i] for i in range(m)), tuple(G[i] for i in range(m))
