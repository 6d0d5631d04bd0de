r"""Modified equations of descent: the flow that gradient descent follows more closely than its own.

Gradient descent :math:`\theta_{k+1} = \theta_k - h\,\nabla L(\theta_k)` is Euler's method, and its
iterates lie, up to any power of h, on solutions of a *modified* equation

.. math:: \dot\theta = f_1 + h f_2 + h^2 f_3 + \dots,\qquad f_1 = -\nabla L .

Nothing has to be guessed. The solution after one step is the Lie series
:math:`\sum_j \frac{h^j}{j!} D^{j-1} f`, where D differentiates along
:math:`f = \sum_k h^{k-1} f_k`, and comparing its powers of h with :math:`-h \nabla L` gives each
:math:`f_n` from those before it. All derivatives are grafts of rooted trees
(:mod:`flowsim.symbolic.trees`), the coefficients are exact.  The heavy ball

.. math:: \theta_{k+1} - \theta_k = \lambda\,(\theta_k - \theta_{k-1}) - h\,\nabla L(\theta_k)

differs in the numbers only: a step back is the series at -h.

The series is asymptotic and in general divergent; a truncation is worth its order while h times the
largest curvature is small (below about 0.3), and nothing near the edge of stability.

References
----------
E. Hairer, C. Lubich, G. Wanner, Geometric Numerical Integration, chapter IX.
D. Barrett, B. Dherin, Implicit gradient regularization, ICLR 2021, arXiv:2009.11162.
N. Kovachki, A. Stuart, Continuous time analysis of momentum methods, JMLR 2021, arXiv:1906.04285.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from sympy import Expr, Integer, MatAdd, MatMul, Matrix, MatrixExpr, S, Symbol, cancel
from sympy import factor as factored
from sympy import factorial as fac

from flowsim._checks import check_count
from flowsim._errors import InputError
from flowsim.symbolic import printing, trees
from flowsim.symbolic.nodes import as_expr
from flowsim.symbolic.trees import LEAF, ElementaryDifferential, Tree

__all__ = [
    "STEP",
    "Combination",
    "ModifiedEquation",
    "ModifiedLoss",
    "along",
    "modified_equation",
    "modified_loss",
]

#: The step size in what is printed, h.
STEP = Symbol("h", positive=True)

#: A further order has three times the terms: these take some seconds.
LARGEST_ORDER, LARGEST_SYMBOLIC_ORDER = 12, 7

#: A linear combination of elementary differentials.
Combination = Mapping[Tree, Expr]


@dataclass(frozen=True)
class ModifiedEquation:
    r"""The modified equation :math:`\dot\theta = f_1 + h f_2 + \dots + h^{n-1} f_n` of a method.

    Attributes
    ----------
    terms : tuple of dict
        ``terms[k - 1]`` is :math:`f_k`: from each tree of k vertices to its coefficient, exact. An
        elementary differential is a product of derivatives of L, not of the field -∇L: the signs
        are in the coefficients.
    momentum : sympy.Expr
        The momentum λ of the heavy ball; 0 for gradient descent.
    """

    terms: tuple[Combination, ...]
    momentum: Expr

    @property
    def order(self) -> int:
        """The number n of terms; descent follows this flow with a global error O(h^n)."""
        return len(self.terms)

    def flat(self) -> list[tuple[int, Expr, Tree]]:
        """The terms as (power of h, coefficient, tree), for whoever evaluates them."""
        return [(k, c, tree) for k, f in enumerate(self.terms) for tree, c in f.items()]

    def field(self, loss: Expr, variables: Sequence[Symbol], h: Expr = STEP) -> Matrix:
        """Return the truncated field of a loss that is written out, of shape (d, 1), exactly.

        Parameters
        ----------
        loss : sympy.Expr
            L of the variables.
        variables : sequence of sympy.Symbol
            The d variables.
        h : sympy.Expr
            The step size.

        Examples
        --------
        >>> from sympy.abc import x
        >>> modified_equation(3).field(x**2 / 2, [x])
        Matrix([[-h**2*x/3 - h*x/2 - x]])
        """
        total = Matrix([S.Zero] * len(variables))
        for k, c, tree in self.flat():
            total += c * h**k * trees.evaluate(tree, loss, variables)
        return total.expand()

    def statement(self, size: Expr) -> MatrixExpr:
        """Return the field as an expression of whole columns of ``size`` entries, in h."""
        parts = [
            MatMul(c * STEP**k, ElementaryDifferential(tree, size)) for k, c, tree in self.flat()
        ]
        return parts[0] if len(parts) == 1 else MatAdd(*parts)

    def latex(self) -> str:
        """Return the equation as LaTeX."""
        return r"\dot\theta = " + _joined(self, trees.latex, printing.latex, " ")

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        return "dtheta/dt = " + _joined(self, trees.text, printing.text, "*")


@dataclass(frozen=True)
class ModifiedLoss:
    r"""Whether the n-th term of a modified equation is the gradient of a scalar, for every loss.

    Attributes
    ----------
    order : int
        The n of :math:`f_n`.
    scalar : dict or None
        Where it is, :math:`f_n = -\nabla S`: S as a combination of complete contractions, each
        named by a rooted tree (any root of it will do; ``()`` is L, ``((),)`` is ‖∇L‖²).
    witness : tuple or None
        Where it is not: two rootings of one tree that a gradient would give in proportion to their
        multiplicities, as ((tree, coefficient, multiplicity), (tree, coefficient, multiplicity)).
    """

    order: int
    scalar: Combination | None
    witness: tuple[tuple[Tree, Expr, int], tuple[Tree, Expr, int]] | None

    def __bool__(self) -> bool:
        return self.scalar is not None

    def __str__(self) -> str:
        if self.witness is None:
            parts = [
                f"({printing.text(c)})*{_contraction(t)}" for t, c in (self.scalar or {}).items()
            ]
            return f"f_{self.order} = -grad S, S = {' + '.join(parts)}"
        (a, x, p), (b, y, q) = self.witness
        return (
            f"f_{self.order} is no gradient: {trees.text(a)} and {trees.text(b)} have the "
            f"coefficients {printing.text(x)} and {printing.text(y)}, where a gradient has them as "
            f"{p} : {q}."
        )


def modified_equation(order: int, *, momentum: Expr | int = 0) -> ModifiedEquation:
    r"""Derive the modified equation of gradient descent, or of the heavy ball, to an order.

    .. math::

        f_1 = -g,\quad f_2 = -\tfrac12 H g,\quad f_3 = -\tfrac13 H^2 g - \tfrac1{12} T[g, g],\ \dots

    with :math:`g = \nabla L`, :math:`H = \nabla^2 L`, :math:`T = \nabla^3 L`; with momentum
    :math:`f_1 = -\frac{g}{1 - \lambda}` and
    :math:`f_2 = -\frac{1 + \lambda}{2 (1 - \lambda)^3} H g`.

    Parameters
    ----------
    order : int
        The number n of terms: descent stays within O(h^n) of the flow of their sum.
    momentum : sympy.Expr or int
        λ in [0, 1): a number or a symbol; fixed while h tends to 0. Time is k h.

    Returns
    -------
    ModifiedEquation

    Raises
    ------
    InputError
        If the order is not a whole number from 1 to 12 (to 7 where λ is a symbol), or λ is a number
        outside [0, 1).

    Notes
    -----
    With momentum the equation holds on the slow manifold. From rest the heavy ball needs a few
    steps to get there, and what is lost on the way is of order h: start the flow at
    :math:`\theta_0 + h \frac{\lambda}{(1 - \lambda)^2} \nabla L(\theta_0)` to keep order 2.

    The right side is no gradient beyond :math:`f_2`, see :func:`modified_loss`.

    Examples
    --------
    >>> print(modified_equation(3))
    dtheta/dt = -g - (1/2)*h*H g - (1/12)*h^2*D3L[g, g] - (1/3)*h^2*H H g
    """
    order = check_count("order", order)
    try:
        momentum = as_expr(momentum)
    except TypeError:
        raise InputError(
            f"momentum is {momentum!r}; pass an integer or a SymPy number or symbol, such as "
            "Rational(9, 10): the coefficients are exact."
        ) from None
    if momentum.is_number and not (momentum.is_real and 0 <= momentum < 1):
        raise InputError(f"momentum is {momentum}, where a number in [0, 1) is needed.")
    if any(symbol.name == STEP.name for symbol in momentum.free_symbols):
        raise InputError(f"momentum is {momentum}, but {STEP} is the step size; rename the symbol.")
    largest = LARGEST_ORDER if momentum.is_number else LARGEST_SYMBOLIC_ORDER
    if order > largest:
        raise InputError(
            f"order is {order}; at most {largest} is worked out here, the terms growing threefold "
            "with each order. The series is asymptotic: a smaller step helps more than its terms."
            if momentum.is_number
            else f"order is {order}; at most {largest} is worked out for a symbolic momentum. Pass "
            f"a number such as Rational(9, 10) for orders up to {LARGEST_ORDER}."
        )
    return ModifiedEquation(_solve(order, momentum), momentum)


@cache
def _solve(order: int, momentum: Expr) -> tuple[Combination, ...]:
    """Compare powers of h, from the lowest on."""
    f: list[Combination] = []
    # powers[j - 1][n - 1] is the part of D^(j-1) f that has n vertices, and the factor h^(n-j).
    powers: list[list[Combination]] = [[] for _ in range(order)]
    for n in range(1, order + 1):
        total: dict[Tree, Expr] = {LEAF: Integer(-1)} if n == 1 else {}
        for j in range(2, n + 1):
            part = _sum(along(f[k - 1], powers[j - 2][n - k - 1]) for k in range(1, n - j + 2))
            powers[j - 1] += [{}] * (n - 1 - len(powers[j - 1]))
            powers[j - 1].append(part)
            weight = _weight(j, momentum)
            total = _sum([total, {tree: -weight * c for tree, c in part.items()}])
        f.append(_normal({tree: c / _weight(1, momentum) for tree, c in total.items()}))
        powers[0].append(f[-1])
    return tuple(f)


def _weight(j: int, momentum: Expr) -> Expr:
    r"""The factor of :math:`h^j D^{j-1} f`: a step forth, minus λ times the one that came before.

    :math:`\theta(t + h) - \theta(t) = \sum_j \frac{h^j}{j!} \theta^{(j)}` and
    :math:`\theta(t) - \theta(t - h) = -\sum_j \frac{(-h)^j}{j!} \theta^{(j)}`.
    """
    return (1 + momentum * (-1) ** j) / fac(j)


def along(direction: Combination, what: Combination) -> Combination:
    """Differentiate a combination along another one: the chain rule, by grafts."""
    total: dict[Tree, Expr] = {}
    for scion, a in direction.items():
        for tree, b in what.items():
            for grown in trees.grafts(tree, scion):
                total[grown] = total.get(grown, S.Zero) + a * b
    return total


def modified_loss(order: int, *, momentum: Expr | int = 0) -> ModifiedLoss:
    r"""Say whether the n-th term of the modified equation is a gradient, and of what.

    :math:`f_1 = -\nabla L` and :math:`f_2 = -\nabla\,\tfrac14 \|\nabla L\|^2` are; for n from 3 on
    no term is, for general L, at any order that was looked at (up to 8): descent minimises
    no modified loss beyond O(h).  For two classes of losses every term is a gradient all the same:
    in one dimension, and quadratic losses, where :math:`f_n = -\frac1n H^{n-1} g`.

    Parameters
    ----------
    order, momentum
        As for :func:`modified_equation`.

    Returns
    -------
    ModifiedLoss

    Notes
    -----
    Decided on trees: the Jacobian of an elementary differential is a sum of trees with two marked
    vertices, the root and the one that was differentiated; transposing it exchanges the two.
    Different trees are linearly independent over all losses.

    Examples
    --------
    >>> print(modified_loss(2))
    f_2 = -grad S, S = (1/4)*<grad L, grad L>
    >>> print(modified_loss(3))
    f_3 is no gradient: H H g and D3L[g, g] have the coefficients -1/3 and -1/12, where a gradient
    has them as 2 : 1.
    """
    f = modified_equation(order, momentum=momentum).terms[order - 1]
    scalar: dict[Tree, Expr] = {}
    seen: set[Tree] = set()
    for tree in f:
        if tree in seen:
            continue
        family = trees.rootings(tree)
        seen |= set(family)
        (first, p), *others = family.items()
        for other, q in others:
            x, y = f.get(first, S.Zero), f.get(other, S.Zero)
            if cancel(x * q - y * p) != 0:
                return ModifiedLoss(order, None, ((first, x, p), (other, y, q)))
        scalar[tree] = factored(-f[first] / p)
    return ModifiedLoss(order, scalar, None)


def _sum(parts: Iterable[Combination]) -> dict[Tree, Expr]:
    total: dict[Tree, Expr] = {}
    for part in parts:
        for tree, c in part.items():
            total[tree] = total.get(tree, S.Zero) + c
    return _normal(total)


def _normal(combination: Combination) -> dict[Tree, Expr]:
    """Every coefficient as one fraction, none of them zero, in the order of the trees."""
    fractions = {tree: cancel(c) for tree, c in combination.items()}
    return {tree: factored(c) for tree, c in sorted(fractions.items()) if c != 0}


def _contraction(tree: Tree) -> str:
    """A complete contraction: the root's branches taken apart into <first, derivative of rest>."""
    if tree == LEAF:
        return "L"
    first, rest = tree[0], tree[1:]
    return f"<{_words(first)}, {_words(rest)}>"


def _words(tree: Tree) -> str:
    return "grad L" if tree == LEAF else trees.text(tree)


def _joined(
    equation: ModifiedEquation,
    tree_text: Callable[[Tree], str],
    number: Callable[[Expr], str],
    times: str,
) -> str:
    """Write the sum out, signs between the terms."""
    out = ""
    for k, c, tree in equation.flat():
        negative = c.could_extract_minus_sign()
        size = -c if negative else c
        h = {0: "", 1: "h"}.get(k, f"h^{k}" if times == "*" else f"h^{{{k}}}")
        shown = number(size)
        if times == "*" and not isinstance(size, Integer):
            shown = f"({shown})"
        factors = [shown if size != 1 else "", h, tree_text(tree)]
        term = times.join(x for x in factors if x)
        sign = ("-" if negative else "") if not out else (" - " if negative else " + ")
        out += sign + term
    return out
