r"""Differentials of indexed expressions, gradients read off from them, and the pushforward.

The product rule is all there is to it: with :math:`d\theta` for the factors it gives
:math:`d\phi`, and with their velocities :math:`\dot\theta` it gives :math:`\dot\phi`. From
:math:`dL = \langle G, d\phi\rangle = \sum_X \langle \nabla_X, dX\rangle` the gradient with respect
to a factor X is what stands beside dX.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
from __future__ import annotations

import functools
import operator
from collections.abc import Mapping

from sympy import Expr, Integer

from flowsim._errors import InputError
from flowsim.symbolic.indexed.arrays import applied, multiplied, raised
from flowsim.symbolic.indexed.tensor import (
    CHANGE,
    Apply,
    Body,
    Delta,
    Factor,
    Index,
    Tensor,
    Term,
    Variable,
    fresh,
    moved_slot,
    product,
    unified,
)

__all__ = ["beside", "differential", "gradient", "inner_product"]


def differential(tensor: Tensor, changes: Mapping[str, Tensor]) -> Tensor:
    """Differentiate by the product rule.

    Parameters
    ----------
    tensor
        The expression.
    changes
        What each variable changes by, of its shape; the others are constant.
    """
    axes, terms = tensor.opened()
    total: list[tuple[Expr, Term]] = []
    divided: list[Tensor] = []
    for coefficient, term in terms:
        for place, factor in enumerate(term.factors):
            change = _change(factor, changes)
            if change is None or change.is_zero:
                continue
            left = term.factors[:place] + term.factors[place + 1 :]
            if factor.power != 1:
                left = (*left, factor._replace(power=factor.power - 1))
            rest = Term(left, term.sums)
            change_axes, changed = change.opened()
            here, there = unified(change_axes, factor.slots)
            pairs = product(
                [(coefficient * factor.power, rest.moved(there))],
                [(c, t.moved(here)) for c, t in changed],
            )
            if there:
                # The change divides an axis that is whole here, as a Kronecker product does.
                divided.append(Tensor(tuple(moved_slot(axis, there) for axis in axes), pairs))
            else:
                total += pairs
    return functools.reduce(operator.add, divided, Tensor(axes, total))


def _change(factor: Factor, changes: Mapping[str, Tensor]) -> Tensor | None:
    """What the atom of a factor changes by."""
    atom = factor.atom
    if isinstance(atom, Variable):
        return changes.get(atom.name)
    if isinstance(atom, Body):
        return differential(atom.inner, changes)
    if isinstance(atom, Apply):
        inner = differential(atom.inner, changes)
        return None if inner.is_zero else multiplied(_derivative(atom), inner)
    return None


def _derivative(atom: Apply) -> Tensor:
    """The derivative of a function of one variable, where it is applied."""
    x = atom.inner
    if atom.name == "exp":
        return applied("exp", x)
    if atom.name == "log":
        return raised(x, Integer(-1))
    if atom.name == "sin":
        return applied("cos", x)
    if atom.name == "cos":
        return -applied("sin", x)
    if atom.name == "tanh":
        one = raised(x, Integer(0))
        return one - raised(applied("tanh", x), Integer(2))
    raise InputError(f"the derivative of {atom.name} is not known.")


def inner_product(a: Tensor, b: Tensor) -> Tensor:
    """The sum of the products of entries."""
    both = multiplied(a, b)
    axes, terms = both.opened()
    summed = frozenset(i for axis in axes for i in axis)
    return Tensor((), [(c, Term(t.factors, t.sums | summed)) for c, t in terms])


def beside(tensor: Tensor, name: str) -> Tensor:
    """What stands beside a variable in an expression that is linear in it.

    Parameters
    ----------
    tensor
        Each of its terms that holds the variable holds it once.
    name
        The variable.

    Returns
    -------
    Tensor
        With the axes of the expression first and those of the variable after them.
    """
    axes, terms = tensor.opened()
    total: Tensor | None = None
    for coefficient, term in terms:
        place = _place(term, name)
        if place is None:
            continue
        rest = list(term.factors[:place] + term.factors[place + 1 :])
        sums, outer = set(term.sums), []
        for slot in term.factors[place].slots:
            group: list[Index] = []
            for index in slot:
                if index in sums:
                    sums.discard(index)
                    group.append(index)
                else:
                    # A free index, or one that an earlier slot has taken: equal by a delta.
                    copy = fresh(index.size)
                    rest.append(Factor(Delta(), ((index,), (copy,))))
                    group.append(copy)
            outer.append(tuple(group))
        part = Tensor((*axes, *outer), [(coefficient, Term(tuple(rest), frozenset(sums)))])
        total = part if total is None else total + part
    if total is None:
        raise InputError(f"{name} does not stand in the expression.")
    return total


def _place(term: Term, name: str) -> int | None:
    for place, factor in enumerate(term.factors):
        if isinstance(factor.atom, Variable) and factor.atom.name == name:
            return place
    return None


def gradient(phi: Tensor, G: Tensor, variable: Tensor) -> Tensor:
    r"""The gradient of :math:`L(\phi)` with respect to a variable, where G is that of L at phi.

    Parameters
    ----------
    phi
        The map.
    G
        The gradient of the loss, of the shape of phi.
    variable
        The variable alone.
    """
    (term,) = variable.terms
    atom = term.factors[0].atom
    if not isinstance(atom, Variable):
        raise InputError("the gradient is taken with respect to a variable.")
    d = Tensor.variable(CHANGE + atom.name, atom.shape)
    change = inner_product(G, differential(phi, {atom.name: d}))
    if change.is_zero:
        return Tensor(variable.axes, [])
    return beside(change, CHANGE + atom.name)
