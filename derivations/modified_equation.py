"""The flow that gradient descent follows more closely than gradient flow.

One step of gradient descent is theta - h g(theta), g = grad L.  Ask for a flow whose solution
after the time h is exactly that, order by order in h: theta' = f_1 + h f_2 + h^2 f_3 + ...  Along a
flow f every function F moves by its derivative DF[f], so the solution is the Lie series

    theta(h) = theta + h f + (h^2/2) Df[f] + (h^3/6) D(Df[f])[f] + ...

All that ever comes up are derivatives of L with their slots filled by such derivatives, one for
each rooted tree: g, H g, H^2 g, T[g, g] and so on.  The chain rule adds a branch at each vertex in
turn.
First order: f_1 = -g, which is gradient flow.  Second order: f_2 + (1/2) Df_1[f_1] = 0, that is

    f_2 = -(1/2) H g = -(1/4) grad |g|^2,

the implicit regularization of Barrett and Dherin.  It is the last term that is a gradient: in f_3
and f_4 the coefficients are not those of the gradient of anything.

The heavy ball differs in the numbers: the step back, theta - theta(-h), is the series at -h, so the
j-th term comes with 1 + lambda (-1)^j in place of 1.
"""

from __future__ import annotations

from itertools import product
from math import prod

from sympy import QQ, ZZ, Expr, Integer, MatAdd, MatMul, Rational, S, Symbol, factorial, ring
from sympy.polys.rings import PolyElement

from flowsim.symbolic import modified, trees
from flowsim.symbolic.certify import CertificationError, Derivation, certify
from flowsim.symbolic.integrability import SIZE
from flowsim.symbolic.modified import STEP, Combination
from flowsim.symbolic.nodes import WholeMatrix
from flowsim.symbolic.trees import LEAF, ElementaryDifferential, Tree
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.modified import modified_equation
from flowsim.theory.records import Theorem

THEOREM = modified_equation

G: Tree = LEAF
HG: Tree = (G,)
HHG: Tree = (HG,)
TGG: Tree = (G, G)


class Name(WholeMatrix):
    """A name for a column, as lines begin with it."""

    def __new__(cls, name: str) -> Name:
        """Make the node."""
        return super().__new__(cls, Symbol(name))

    shape = property(lambda self: (SIZE, S.One), doc="Rows and columns, (d, 1).")

    def _sympystr(self, printer: object) -> str:
        return self.args[0].name

    _latex = _sympystr


def column(combination: Combination) -> MatrixPolynomial:
    """A combination of elementary differentials as columns of symbolic size."""
    total = MatrixPolynomial((SIZE, S.One))
    for tree, c in combination.items():
        total = total + MatrixPolynomial.of(ElementaryDifferential(tree, SIZE)) * c
    return total


def differentials(*terms: tuple[Expr | int, Tree]) -> MatAdd:
    """Write a combination down."""
    return MatAdd(*(MatMul(c, ElementaryDifferential(tree, SIZE)) for c, tree in terms))


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every loss and every number of parameters.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    along, half, third = modified.along, Rational(1, 2), Rational(1, 3)
    _check_the_chain_rule()

    # The chain rule, on the first few trees.
    page.step(
        Name("D(g)[g]"),
        differentials((1, HG)),
        "The derivative of g = grad L along g is the Hessian's.",
        derived=column(along({G: S.One}, {G: S.One})),
    )
    page.step(
        Name("D(H g)[g]"),
        differentials((1, TGG), (1, HHG)),
        "Product rule: the Hessian moves, and the gradient moves.",
        derived=column(along({G: S.One}, {HG: S.One})),
    )

    # One step of the flow f_1 + h f_2 + ... is one step of descent: compare powers of h.
    f1: Combination = {G: Integer(-1)}
    page.step(
        Name("f_1"),
        differentials((-1, G)),
        "Order h: f_1 = -g.",
        derived=column(modified.modified_equation(1).terms[0]),
    )
    f2 = _scaled(along(f1, f1), -half)
    page.step(
        Name("f_2"),
        differentials((-half, HG)),
        "Order h^2: f_2 + (1/2) Df_1[f_1] = 0.",
        derived=column(f2),
    )
    f3 = _total(
        _scaled(_total(along(f1, f2), along(f2, f1)), -half),
        _scaled(along(f1, along(f1, f1)), -Rational(1, 6)),
    )
    page.step(
        Name("f_3"),
        differentials((-third, HHG), (-Rational(1, 12), TGG)),
        "Order h^3: f_3 + (1/2)(Df_1[f_2] + Df_2[f_1]) + (1/6) D(Df_1[f_1])[f_1] = 0.",
        derived=column(f3),
    )
    f4 = _total(
        _scaled(_total(along(f1, f3), along(f2, f2), along(f3, f1)), -half),
        _scaled(
            _total(along(f2, along(f1, f1)), along(f1, along(f2, f1)), along(f1, along(f1, f2))),
            -Rational(1, 6),
        ),
        _scaled(along(f1, along(f1, along(f1, f1))), -Rational(1, 24)),
    )
    page.step(
        Name("f_4"),
        differentials(
            (-Rational(1, 4), (HHG,)), (-Rational(1, 12), (TGG,)), (-Rational(1, 12), (G, HG))
        ),
        "Order h^4, likewise. The fourth derivative of L cancels.",
        derived=column(f4),
    )
    for n, f in enumerate((f1, f2, f3, f4), start=1):
        certify(
            column(f), column(modified.modified_equation(4).terms[n - 1]), name=f"engine, f_{n}"
        )

    # The first correction is a gradient: the vertices of the tree of two are alike.
    page.step(
        Name("-grad(|g|^2)/4"),
        differentials((-half, HG)),
        "f_2 is a gradient: |g|^2 has two factors, and each gives H g.",
        derived=column(_scaled({t: S(k) for t, k in trees.rootings(HG).items()}, -Rational(1, 4))),
    )
    page.step(
        Name("grad <g, H g>"),
        differentials((2, HHG), (1, TGG)),
        "f_3 is none: the one scalar that it could come from has them as 2 : 1, not 4 : 1.",
        derived=column({t: S(k) for t, k in trees.rootings(TGG).items()}),
    )
    page.step(
        Name("grad <H g, H g>"),
        differentials((2, (HHG,)), (2, (G, HG))),
        "Nor is f_4: H^3 g and T[g, H g] come from this scalar alone, as 2 : 2, not 3 : 1.",
        derived=column({t: S(k) for t, k in trees.rootings((HHG,)).items()}),
    )

    # The heavy ball: (theta(h) - theta) - lambda (theta - theta(-h)) = -h g.
    lam = Symbol("lambda", nonnegative=True)
    first = {G: -1 / (1 - lam)}
    second = _scaled(along(first, first), -(1 + lam) / 2 / (1 - lam))
    page.step(
        Name("f_2 of the heavy ball"),
        differentials((-(1 + lam) / (2 * (1 - lam) ** 3), HG)),
        "(1 - lambda) f_1 = -g, and (1 - lambda) f_2 + (1/2)(1 + lambda) Df_1[f_1] = 0.",
        derived=column(second),
    )
    engine = modified.modified_equation(2, momentum=lam)
    certify(column(second), column(engine.terms[1]), name="engine, heavy ball")

    _check_one_step(modified.modified_equation(4), ["x"], 4)
    _check_one_step(modified.modified_equation(3), ["x", "y"], 3)
    certify(theorem.statement(), _series((f1, f2, f3, f4)), name=theorem.name)
    certify(
        theorem.statement(momentum=lam), _series((first, second)), name=f"{theorem.name}, momentum"
    )
    return page


def _series(terms: tuple[Combination, ...]) -> MatrixPolynomial:
    """f_1 + h f_2 + h^2 f_3 + ..."""
    total = MatrixPolynomial((SIZE, S.One))
    for k, f in enumerate(terms):
        total = total + column(f) * STEP**k
    return total


def _scaled(combination: Combination, factor: Expr) -> Combination:
    return {tree: c * factor for tree, c in combination.items()}


def _total(*parts: Combination) -> Combination:
    total: dict[Tree, Expr] = {}
    for part in parts:
        for tree, c in part.items():
            total[tree] = total.get(tree, S.Zero) + c
    return total


def _check_the_chain_rule() -> None:
    """Hold grafting against plain differentiation, entry by entry, on a general plane quartic."""
    powers = [(i, n - i) for n in range(1, 5) for i in range(n + 1)]
    _, x, y, *letters = ring(["x", "y", *(f"c{i}{j}" for i, j in powers)], ZZ)
    loss = sum(c * x**i * y**j for c, (i, j) in zip(letters, powers, strict=True))

    def at_origin(entries: list[PolyElement]) -> list[PolyElement]:
        # The coefficients are free: what holds at the origin holds everywhere.
        return [entry.subs([(x, 0), (y, 0)]) for entry in entries]

    for tree, scion in ((G, G), (HG, G), (G, HG), (TGG, G), (HG, HG)):
        value = trees.entries(tree, loss, [x, y])
        direction = trees.entries(scion, loss, [x, y])
        plain = [v.diff(x) * direction[0] + v.diff(y) * direction[1] for v in value]
        grafted = [0 * x, 0 * x]
        for grown in trees.grafts(tree, scion):
            new = at_origin(trees.entries(grown, loss, [x, y]))
            grafted = [a + b for a, b in zip(grafted, new, strict=True)]
        for a, b in zip(grafted, at_origin(plain), strict=True):
            _same(a, b, f"chain rule on {trees.text(tree)} along {trees.text(scion)}")


def _check_one_step(equation: modified.ModifiedEquation, variables: list[str], degree: int) -> None:
    """Put the series in the Lie series of a general polynomial loss: it is one step of descent."""
    d = len(variables)
    powers = [p for p in product(range(degree + 1), repeat=d) if 1 <= sum(p) <= degree]
    names = ["c" + "".join(map(str, p)) for p in powers]
    R, h, *rest = ring(["h", *variables, *names], QQ)
    xs, letters = rest[:d], rest[d:]
    terms = [
        c * prod(x**k for x, k in zip(xs, p, strict=True))
        for c, p in zip(letters, powers, strict=True)
    ]
    loss = sum(terms[1:], terms[0])

    def cut(polynomial: PolyElement, below: int) -> PolyElement:
        return R.from_dict({m: c for m, c in polynomial.terms() if m[0] < below})

    field = [R.zero] * d
    for k, c, tree in equation.flat():
        value = trees.entries(tree, loss, xs)
        field = [f + QQ(c.p, c.q) * h**k * v for f, v in zip(field, value, strict=True)]
    for i, x in enumerate(xs):
        moved, term = R.zero, field[i]
        for j in range(1, equation.order + 1):
            moved += QQ(1, int(factorial(j))) * h**j * term
            # Terms beyond the order are cut off: they belong to what comes next.
            parts = [term.diff(y) * f for y, f in zip(xs, field, strict=True)]
            term = cut(sum(parts[1:], parts[0]), equation.order - j)
        _same(-h * loss.diff(x), cut(moved, equation.order + 1), f"one step, {d} variables")


def _same(stated: PolyElement, derived: PolyElement, name: str) -> None:
    """Compare two polynomials, which have a normal form as they are."""
    difference = stated - derived
    if difference != 0:
        raise CertificationError(name, stated.as_expr(), derived.as_expr(), difference.as_expr())


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
