"""What a batch is made of: fields and starts, grouped by structure and stacked."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from flowsim._checks import check_array, check_real
from flowsim._errors import InputError, ToleranceWarning
from flowsim._types import FloatArray, PyTree
from flowsim.integration.batch.steppers import LaneField
from flowsim.lowering import VectorField, as_field, check_velocity, start_of
from flowsim.lowering.fields import CallableField

_SMALLEST_ATOL = 1e-300  # instead of 0, which makes the relative error of an exact zero 0/0


@dataclasses.dataclass(frozen=True)
class Structure:
    """Problems that differ in their numbers alone.

    Attributes
    ----------
    problems
        Their indices in the batch, (n,).
    fields
        Their fields; one field where all have the same.
    field, own
        What the fields have in common, and the arrays in which they differ, stacked (n, ...).
    starts
        Flat starts, (n, size), and the same as a pytree of arrays (n, ...).
    """

    problems: np.ndarray
    fields: list[VectorField]
    field: LaneField
    own: PyTree
    starts: FloatArray
    trees: PyTree

    def of(self, row: int) -> VectorField:
        """The field of a problem."""
        return self.fields[row if len(self.fields) > 1 else 0]


def is_batch(fields: Any, y0: Any) -> bool:
    """Whether several flows are asked for: a list of fields, or one leading axis too many.

    A plain function takes states of any shape, so that its starts are never taken for several.
    """
    if isinstance(fields, list):
        return True
    field, leaves = as_field(fields), jax.tree.leaves(y0)
    if isinstance(field, CallableField) or any(np.ndim(x) == 0 for x in leaves):
        return False
    if any(isinstance(x, Tracer) for x in leaves):
        return False  # one run of a function that JAX is tracing
    try:
        field.start(y0)
    except InputError:
        # Not one start: it is a batch if the first of a leading axis is one.
        lengths = {len(leaf) for leaf in leaves}
        try:
            field.start(jax.tree.map(lambda leaf: np.asarray(leaf)[0], y0))
        except (InputError, IndexError, ValueError):
            return False
        return len(lengths) == 1
    return False


def read_problems(fields: Any, y0: Any, t0: float) -> list[Structure]:
    """Group problems by structure; see :func:`flowsim.integration.batch.integrate_batch`.

    Raises
    ------
    InputError
        If there are no problems, or not as many starts as fields, or a start or field is wrong.
    """
    if not isinstance(fields, (list, tuple)):
        field = _jax_field(fields)
        stacked = _stacked_starts(field, y0)
        if stacked is not None:
            return [_structure(np.arange(len(jax.tree.leaves(stacked)[0])), [field], stacked, t0)]
        starts = [_start(field, one, i) for i, one in enumerate(_starts_of(y0))]
        several = [field] * len(starts)
    else:
        known = {id(one): _jax_field(one) for one in fields}  # of which many may be the same
        several = [known[id(one)] for one in fields]
        if isinstance(y0, list):
            if len(y0) != len(several):
                raise InputError(
                    f"y0 is a list of {len(y0)} starts for {len(several)} fields. Pass one start "
                    "for each, in a list, or one for all (factors as a tuple)."
                )
            starts = [_start(f, one, i) for i, (f, one) in enumerate(zip(several, y0, strict=True))]
        else:
            starts = [start_of(f, y0) for f in several]
    if not several:
        raise InputError("the batch is empty: pass at least one field and one start.")
    groups: dict[Any, list[int]] = {}
    keys = {id(field): _key(field) for field in {id(f): f for f in several}.values()}
    for i, (field, start) in enumerate(zip(several, starts, strict=True)):
        groups.setdefault((keys[id(field)], _shape(start)), []).append(i)
    structures = []
    for members in groups.values():
        same = all(several[i] is several[members[0]] for i in members)
        mine = [several[members[0]]] if same else [several[i] for i in members]
        trees = jax.tree.map(lambda *xs: np.stack(xs), *[starts[i] for i in members])
        structures.append(_structure(np.array(members), mine, trees, t0))
    return structures


def _jax_field(given: Any) -> VectorField:
    field = as_field(given)
    if field.backend != "jax":
        raise InputError(
            "a field of the batch is lowered to NumPy, which JAX cannot trace. Lower it with "
            "backend='jax'."
        )
    return field


def _is_numbers(leaf: Any) -> bool:
    """Whether a part of a field is an array, NumPy's or JAX's, and so a number of the problem."""
    return isinstance(leaf, (np.ndarray, jax.Array))


def _starts_of(y0: Any) -> list[Any]:
    if isinstance(y0, list):
        return y0
    leaves = jax.tree.leaves(y0)
    counts = {np.shape(leaf)[:1] for leaf in leaves}
    if len(counts) != 1 or () in counts:
        raise InputError(
            "y0 has no common leading axis of starts. Stack the starts, so that every array has "
            "one extra leading axis of the same length, or pass them in a list."
        )
    return [jax.tree.map(lambda leaf, i=i: leaf[i], y0) for i in range(counts.pop()[0])]


def _stacked_starts(field: VectorField, y0: Any) -> PyTree | None:
    """Stacked starts, validated at once where the field takes a start as it is; else None."""
    if isinstance(y0, list):
        return None
    if any(np.ndim(leaf) == 0 for leaf in jax.tree.leaves(y0)):
        return None
    firsts = _starts_of(jax.tree.map(lambda leaf: np.asarray(leaf)[:1], y0))
    if not firsts:
        return None
    first, read = firsts[0], _start(field, firsts[0], 0)
    if _shape(first) != _shape(read) or not all(
        np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (first, read)), strict=True)
    ):
        return None  # each start is made into a state of its own, or is to be checked on its own
    counts = {len(np.asarray(leaf)) for leaf in jax.tree.leaves(y0)}
    if len(counts) != 1:
        _starts_of(y0)
        raise InputError(f"the arrays of y0 have leading axes of lengths {sorted(counts)}.")
    return jax.tree.map(lambda leaf: check_array("y0", leaf).astype(np.float64), y0)


def _start(field: VectorField, y0: Any, i: int) -> PyTree:
    try:
        start = start_of(field, y0)
    except InputError as error:
        raise InputError(f"start number {i}: {error}") from error
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), start)


def _shape(tree: PyTree) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(np.shape(leaf) for leaf in leaves)


def _key(field: VectorField) -> Any:
    """What two fields must share to be stacked: all but the numbers in their arrays."""
    leaves, structure = jax.tree.flatten(field)
    return structure, tuple(
        (leaf.shape, str(leaf.dtype)) if _is_numbers(leaf) else leaf for leaf in leaves
    )


def _structure(
    problems: np.ndarray, fields: list[VectorField], trees: PyTree, t0: float
) -> Structure:
    first = jax.tree.map(lambda leaf: leaf[0], trees)
    check_velocity(fields[0], first, t0)
    leaves, structure = jax.tree.flatten(trees)
    flat = np.concatenate([leaf.reshape(len(problems), -1) for leaf in leaves], axis=1)
    shapes = tuple(leaf.shape[1:] for leaf in leaves)
    if len(fields) == 1:
        rest, own = fields[0], jax.tree.map(lambda _: None, fields[0])
    else:
        columns = list(zip(*map(jax.tree.leaves, fields), strict=True))
        differ = [_is_numbers(c[0]) and not _agree(c) for c in columns]
        tree = jax.tree.structure(fields[0])
        rest = tree.unflatten([None if d else c[0] for c, d in zip(columns, differ, strict=True)])
        own = tree.unflatten(
            [np.stack(c) if d else None for c, d in zip(columns, differ, strict=True)]
        )
    nothing = jax.tree.map(lambda _: None, own)
    return Structure(
        problems, fields, LaneField(rest, nothing, structure, shapes), own, flat, trees
    )


def _agree(arrays: Sequence[Any]) -> bool:
    return all(a is arrays[0] or np.array_equal(a, arrays[0]) for a in arrays[1:])


def absolute_tolerances(atol: Any, rtol: float, trees: PyTree) -> FloatArray:
    """The absolute tolerance of each start, (n,): as given, or following its scale.

    Entries below the rounding of their array's largest are zeros that a product did not hit.
    """
    leaves = [np.abs(leaf).reshape(len(leaf), -1) for leaf in jax.tree.leaves(trees)]
    n = len(leaves[0])
    scale, smallest = np.full(n, np.inf), np.full(n, np.inf)
    for leaf in leaves:
        largest = leaf.max(axis=1, initial=0.0)
        unit = np.where(largest > 0, largest, 1.0)[:, None]
        kept = (leaf > 0) & (leaf > 1e-14 * unit)
        count = kept.sum(axis=1)
        square = np.where(kept, (leaf / unit) ** 2, 0.0).sum(axis=1)
        size = unit[:, 0] * np.sqrt(square / np.maximum(count, 1))
        scale = np.where(count > 0, np.minimum(scale, size), scale)
        smallest = np.minimum(smallest, np.where(kept, leaf, np.inf).min(axis=1, initial=np.inf))
    if atol is None:
        return np.maximum(rtol * np.where(np.isfinite(scale), scale, 1.0), _SMALLEST_ATOL)
    given = np.full(n, max(check_real("atol", atol, at_least=0.0), _SMALLEST_ATOL))
    hidden = np.flatnonzero(given > smallest)
    if hidden.size:
        warnings.warn(
            f"atol = {atol:g} is above an entry of {hidden.size} starts, the first of them number "
            f"{hidden[0]} with {smallest[hidden[0]]:.3g}: the solver may take it for zero and miss "
            f"its growth. To follow all, pass an atol of at most {rtol * smallest.min():.3g}.",
            ToleranceWarning,
            stacklevel=5,
        )
    return given
