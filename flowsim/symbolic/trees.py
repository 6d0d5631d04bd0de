r"""Rooted trees: what derivatives of a vector field along itself are made of.

With :math:`g = \nabla L`, every expression that differentiation along the flow of :math:`\nabla L`
can produce is a combination of *elementary differentials*, one for each rooted tree.  A vertex with
k branches stands for the derivative :math:`D^{k+1}L` with one slot free, its other slots filled by
the branches:

.. math:: E(\bullet) = \nabla L,\qquad
          E([\tau_1, \dots, \tau_k]) = D^{k+1}L\,[E(\tau_1), \dots, E(\tau_k)] .

The chain rule is all there is to differentiate them: the derivative of :math:`E(\tau)` in the
direction :math:`E(\sigma)` is the sum, over the vertices of :math:`\tau`, of the tree that has
:math:`\sigma` grafted there.

A tree is the tuple of its branches, sorted, so that equal trees compare equal: ``()`` is the
single vertex, ``((),)`` is :math:`H g`, ``((), ())`` is :math:`T[g, g]`.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportIncompatibleMethodOverride=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import combinations_with_replacement, product
from typing import Any

from sympy import Expr, Matrix, Symbol, Tuple
from sympy.printing.printer import Printer

from flowsim._checks import check_count
from flowsim._errors import InputError
from flowsim.symbolic.nodes import WholeMatrix

__all__ = [
    "LEAF",
    "ElementaryDifferential",
    "Tree",
    "elementary_differential",
    "entries",
    "evaluate",
    "grafts",
    "latex",
    "order",
    "rootings",
    "text",
    "trees",
]

#: A rooted tree: the sorted tuple of its branches.
Tree = tuple["Tree", ...]

#: The tree of one vertex, whose elementary differential is the gradient itself.
LEAF: Tree = ()


def make(branches: Sequence[Tree]) -> Tree:
    """Return the tree with these branches, whatever their order."""
    return tuple(sorted(branches, key=lambda t: (order(t), t)))


@cache
def order(tree: Tree) -> int:
    """Return the number of vertices of a tree."""
    return 1 + sum(order(branch) for branch in tree)


@cache
def trees(n: int) -> tuple[Tree, ...]:
    """Return all rooted trees of n vertices: 1, 1, 2, 4, 9, 20, 48, 115, ... of them.

    Raises
    ------
    InputError
        If n is not a whole number of at least 1.

    Examples
    --------
    >>> trees(3)
    (((), ()), (((),),))
    >>> [len(trees(n)) for n in range(1, 9)]
    [1, 1, 2, 4, 9, 20, 48, 115]
    """
    n = check_count("n", n)
    if n == 1:
        return (LEAF,)
    found: dict[Tree, None] = {}
    for sizes in _partitions(n - 1, n - 1):
        choices = [
            combinations_with_replacement(trees(size), times)
            for size, times in Counter(sizes).items()
        ]
        for chosen in product(*choices):
            found[make([branch for group in chosen for branch in group])] = None
    return tuple(sorted(found))


def _partitions(n: int, largest: int) -> list[tuple[int, ...]]:
    """The ways to write n as a sum of positive integers, none above ``largest``."""
    if n == 0:
        return [()]
    return [(k, *rest) for k in range(min(n, largest), 0, -1) for rest in _partitions(n - k, k)]


@cache
def grafts(tree: Tree, scion: Tree) -> tuple[Tree, ...]:
    r"""Return the trees that the chain rule makes of one: the scion grafted on each vertex in turn.

    .. math:: D E(\tau)\,[E(\sigma)] = \sum_{v \in \tau} E(\tau \text{ with } \sigma \text{ on } v)

    Parameters
    ----------
    tree : Tree
        What is differentiated.
    scion : Tree
        The direction.

    Returns
    -------
    tuple of Tree
        One for each vertex of ``tree``, with repetitions.

    Examples
    --------
    >>> grafts(((),), ())        # (H g)' along g is T[g, g] + H H g
    (((), ()), (((),),))
    """
    grown = [make([*tree, scion])]
    for i, branch in enumerate(tree):
        others = [*tree[:i], *tree[i + 1 :]]
        grown += [make([*others, new]) for new in grafts(branch, scion)]
    return tuple(grown)


def rootings(tree: Tree) -> Counter[Tree]:
    r"""Return the trees that differ from one only in which vertex is the root, with multiplicities.

    The complete contraction S of a tree without root is a scalar, for instance
    :math:`\langle g, g\rangle` for two vertices, and by the product rule
    :math:`\nabla S = \sum_v E(\text{rooted at } v)`: a combination of elementary differentials is a
    gradient for every L exactly if it is one of these sums, hence has one coefficient on all
    rootings of a tree, up to multiplicity.

    Examples
    --------
    >>> rootings(((), ()))       # the gradient of <g, H g> is T[g, g] + 2 H H g
    Counter({(((),),): 2, ((), ()): 1})
    """
    found = Counter({tree: 1})
    for i, branch in enumerate(tree):
        rest = make([*tree[:i], *tree[i + 1 :]])
        # Walk along the edge to the branch: the branch becomes the root, the rest hangs from it.
        _walk(branch, rest, found)
    return Counter(dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))))


def _walk(root: Tree, behind: Tree, found: Counter[Tree]) -> None:
    """Count the rootings at a vertex with branches ``root`` and at those beyond it."""
    found[make([*root, behind])] += 1
    for i, branch in enumerate(root):
        _walk(branch, make([*root[:i], *root[i + 1 :], behind]), found)


def elementary_differential(tree: Tree) -> str:
    """Describe an elementary differential in words that a program can be written from.

    Examples
    --------
    >>> elementary_differential(((), ((),)))
    'D^3 L contracted with (grad L, D^2 L contracted with (grad L))'
    """
    check_tree(tree)
    if tree == LEAF:
        return "grad L"
    inside = ", ".join(elementary_differential(branch) for branch in tree)
    return f"D^{len(tree) + 1} L contracted with ({inside})"


def check_tree(tree: Tree) -> Tree:
    """Return a tree in its normal form, or raise InputError for what is none."""

    def checked(part: Tree) -> Tree:
        if not isinstance(part, tuple):
            raise InputError(
                f"tree holds {part!r}; a tree is the tuple of its branches: () is the gradient, "
                "((),) is H g, ((), ()) is T[g, g]."
            )
        return make([checked(branch) for branch in part])

    return checked(tree)


def text(tree: Tree) -> str:
    """Return an elementary differential as plain text: ``g``, ``H g``, ``D3L[g, H g]``."""
    if tree == LEAF:
        return "g"
    if len(tree) == 1:
        return f"H {text(tree[0])}"
    return f"D{len(tree) + 1}L[{', '.join(text(branch) for branch in tree)}]"


def latex(tree: Tree) -> str:
    r"""Return an elementary differential as LaTeX, :math:`\nabla^3 L[\nabla L, H \nabla L]`."""
    powers, top = 0, tree
    while len(top) == 1:
        powers, top = powers + 1, top[0]
    head = "" if not powers else "H " if powers == 1 else f"H^{{{powers}}} "
    if top == LEAF:
        return rf"{head}\nabla L"
    inside = ", ".join(latex(branch) for branch in top)
    return rf"{head}\nabla^{{{len(top) + 1}}} L\left[{inside}\right]"


def evaluate(tree: Tree, loss: Expr, variables: Sequence[Symbol]) -> Matrix:
    """Return an elementary differential of a loss that is written out, entry by entry.

    For exact checks with few variables; a numeric field takes nested directional derivatives.

    Parameters
    ----------
    tree : Tree
        The elementary differential.
    loss : sympy.Expr
        L of the variables.
    variables : sequence of sympy.Symbol
        The d variables.

    Returns
    -------
    sympy.Matrix
        Of shape (d, 1).

    Examples
    --------
    >>> from sympy.abc import x
    >>> evaluate(((),), x**3, [x])
    Matrix([[18*x**3]])
    """
    return Matrix([entry.expand() for entry in entries(tree, loss, variables)])


def entries(tree: Tree, loss: Any, variables: Sequence[Any]) -> list[Any]:
    """Return the d entries as a list; of SymPy expressions, or of elements of a polynomial ring.

    Parameters
    ----------
    tree : Tree
        The elementary differential.
    loss : sympy.Expr or sympy.polys.rings.PolyElement
        Whatever has ``diff``, ``+`` and ``*``.
    variables : sequence
        The d symbols, or generators of the ring.
    """
    branches = [entries(branch, loss, variables) for branch in tree]

    def contracted(scalar: Any, directions: list[list[Any]]) -> Any:
        if not directions:
            return scalar
        first, *others = directions
        parts = [
            contracted(scalar.diff(x), others) * v for x, v in zip(variables, first, strict=True)
        ]
        return sum(parts[1:], parts[0])

    return [contracted(loss.diff(x), branches) for x in variables]


class ElementaryDifferential(WholeMatrix):
    """The elementary differential of a tree as a column of symbolic size, for statements."""

    def __new__(cls, tree: Tree, size: Expr) -> ElementaryDifferential:
        """Make the node; a tree is kept as the nested tuple that it is."""
        return super().__new__(cls, _as_tuple(tree), size)

    @property
    def tree(self) -> Tree:
        """The tree."""
        return _from_tuple(self.args[0])

    shape = property(lambda self: (self.args[1], 1), doc="Rows and columns, (n, 1).")

    def _sympystr(self, printer: Printer) -> str:
        return text(self.tree)

    def _latex(self, printer: Printer) -> str:
        return latex(self.tree)


def _as_tuple(tree: Tree) -> Tuple:
    return Tuple(*(_as_tuple(branch) for branch in tree))


def _from_tuple(nested: Sequence) -> Tree:
    return tuple(_from_tuple(branch) for branch in nested)
