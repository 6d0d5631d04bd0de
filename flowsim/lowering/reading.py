"""Between a field and whoever runs it: the start in one precision, and recorded states read."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np

from flowsim._errors import InputError
from flowsim._result import Reason, Result
from flowsim._types import FloatArray, PyTree
from flowsim.lowering.calls import velocity_at
from flowsim.lowering.fields import CallableField, VectorField


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


def check_velocity(field: VectorField, start: PyTree, t: float) -> None:
    """Refuse a field whose velocity is not shaped like its state, before any step is taken.

    Raises
    ------
    InputError
        If the field cannot be evaluated, or returns another structure, shape or kind of number.
    """
    try:
        if field.backend == "jax":
            velocity = velocity_at(field, np.float64(t), start)
        else:
            velocity = field(t, start, None)
    except Exception as error:  # whatever the user's function raises is the complaint shown
        hint = (
            " A function that needs NumPy arrays runs with backend='scipy'."
            if isinstance(error, jax.errors.JAXTypeError)
            else ""
        )
        raise InputError(
            f"the field cannot be evaluated at the start: {type(error).__name__}: {error}. It is "
            f"called as field(t, y, args) and returns dy/dt.{hint}"
        ) from error
    wanted, given = jax.tree.structure(start), jax.tree.structure(velocity)
    if wanted != given:
        raise InputError(f"the field returns {given}, where the state is {wanted}.")
    for leaf, rate in zip(jax.tree.leaves(start), jax.tree.leaves(velocity), strict=True):
        kind = np.dtype(getattr(rate, "dtype", type(rate)))
        if np.shape(rate) != np.shape(leaf) or kind.kind != "f":
            raise InputError(
                f"the field returns {kind} of shape {np.shape(rate)} for a part of the state that "
                f"is float64 of shape {np.shape(leaf)}. Velocities are shaped like the state."
            )


def judge_loss(field: VectorField, ts: FloatArray, loss: FloatArray, result: Result) -> Result:
    """Turn a success into a failure where a field that has a loss has none at a recorded state."""
    broken = np.flatnonzero(np.isnan(loss))
    if not result.success or isinstance(field, CallableField) or not broken.size:
        return result
    return Result(Reason.nonfinite_loss, f"It is NaN first at t = {ts[broken[0]]:.6g}.")


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
