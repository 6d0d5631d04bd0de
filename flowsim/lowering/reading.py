"""Between a field and whoever runs it: the start in one precision, and recorded states read."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np

from flowsim._errors import InputError
from flowsim._types import FloatArray, PyTree
from flowsim.lowering.fields import VectorField


def start_of(field: VectorField, y0: Any) -> PyTree:
    """The state that a start stands for, in the precision of the start and the loss's data.

    Float64, unless both are float32.
    """
    start = field.start(y0)
    leaves = jax.tree.leaves(start)
    if not sum(leaf.size for leaf in leaves):
        raise InputError("y0 is empty: there is nothing to move.")
    data = getattr(getattr(field, "loss", None), "dtype", None)
    dtype = np.result_type(*leaves, *([] if data is None else [data]))
    return jax.tree.map(lambda leaf: np.asarray(leaf, dtype), start)


def read_states(field: VectorField, states: PyTree) -> tuple[FloatArray | None, FloatArray]:
    """The end-to-end parameter and the loss of recorded states, stacked along time.

    Parameters
    ----------
    field
        The field whose states they are.
    states
        A pytree of arrays with a leading axis of length T.

    Returns
    -------
    tuple
        The end-to-end values, (T, d) or (T, k, d), or None; and the losses, (T,).
    """
    count = len(jax.tree.leaves(states)[0])
    if field.backend == "jax" and count:
        read, value = _read_all(field, states)
        return (None if read is None else np.asarray(read)), np.asarray(value)
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], states) for i in range(count)]
    values = np.array([float(field.value(y)) for y in each])
    if not count or field.read(each[0]) is None:
        return None, values
    return np.array([field.read(y) for y in each]), values


@eqx.filter_jit
def _read_all(field: VectorField, states: PyTree) -> tuple[Any, Any]:
    def one(y: PyTree) -> tuple[Any, Any]:
        return field.read(y), jax.numpy.asarray(field.value(y), float)

    return jax.lax.map(one, states, batch_size=64)
