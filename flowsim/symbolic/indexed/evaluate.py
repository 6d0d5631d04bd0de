"""Indexed expressions at numbers: a direct reading, for checks at single points."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flowsim.symbolic.indexed.tensor import (
    Apply,
    Body,
    Constant,
    Delta,
    Factor,
    Tensor,
    Variable,
    size_of,
)

__all__ = ["evaluate"]


def evaluate(tensor: Tensor, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """The array that an expression is where its variables have values.

    Parameters
    ----------
    tensor
        Of sizes that are numbers, its coefficients too.
    values
        An array for each variable, by name.
    """
    shape = tuple(int(size_of(axis)) for axis in tensor.axes)
    free = [i for axis in tensor.axes for i in axis]
    total = np.zeros([int(i.size) for i in free])
    for term, coefficient in tensor.terms.items():
        numbers = {i: n for n, i in enumerate([*free, *sorted(term.sums)])}
        operands: list[Any] = []
        for factor in term.factors:
            array = _value(factor, values) ** float(factor.power)
            indices = [i for slot in factor.slots for i in slot]
            operands += [
                array.reshape([int(i.size) for i in indices]),
                [numbers[i] for i in indices],
            ]
        present = {n for subscripts in operands[1::2] for n in subscripts}
        for i in free:
            if numbers[i] not in present:
                operands += [np.ones(int(i.size)), [numbers[i]]]
        output = [numbers[i] for i in free]
        product = np.einsum(*operands, output, optimize="greedy") if operands else 1.0
        total = total + float(coefficient) * product
    return total.reshape(shape)


def _value(factor: Factor, values: Mapping[str, np.ndarray]) -> np.ndarray:
    atom = factor.atom
    if isinstance(atom, Variable):
        return np.asarray(values[atom.name], float)
    if isinstance(atom, Constant):
        return atom.value
    if isinstance(atom, Delta):
        return np.eye(int(size_of(factor.slots[0])))
    if isinstance(atom, Body):
        return evaluate(atom.inner, values)
    if isinstance(atom, Apply):
        return getattr(np, atom.name)(evaluate(atom.inner, values))
    raise TypeError(f"{type(atom).__name__} has no value")
