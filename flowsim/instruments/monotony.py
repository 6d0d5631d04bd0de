"""Along its own gradient flow a loss never rises: a check that costs nothing."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from flowsim._checks import check_array
from flowsim._errors import InputError, MonotonyWarning
from flowsim._precision import in_float64
from flowsim._types import FloatArray, PyTree
from flowsim.instruments.energy import (
    ON_W,
    gradient,
    has_energy,
    objective,
    objectives,
    weight_decay,
)
from flowsim.lowering.fields import VectorField

if TYPE_CHECKING:
    from flowsim.trajectory import Trajectory

__all__ = ["check_monotony", "largest_rise"]

#: Rises up to this part of the largest loss are rounding.
ROUNDING = 1e-13
#: How many times the error asked for a solver may deliver.
DELIVERED = 10.0
#: Rises that are looked at, the largest first, and gradients spent on each.
MOST_RISES = 3
ASCENTS = 8


def largest_rise(loss: Any) -> float:
    """The largest rise from one record to the next, relative to the largest absolute value.

    Parameters
    ----------
    loss
        Values in order, shape (T,).

    Returns
    -------
    float
        Not negative; 0 where nothing rises.

    Raises
    ------
    InputError
        If a value is not finite.

    Examples
    --------
    >>> largest_rise([4.0, 2.0, 2.5, 1.0]), largest_rise([3.0, 2.0])
    (0.125, 0.0)
    """
    values = check_array("loss", loss, ndim=1)
    scale = float(np.abs(values).max(initial=0.0))
    return max(0.0, float(np.diff(values).max(initial=0.0)) / scale) if scale else 0.0


def check_monotony(trajectory: Trajectory, field: VectorField) -> float:
    r"""Warn where the loss of a gradient flow rises by more than the run's tolerance explains.

    A state may be wrong by about ten times the tolerance :math:`\delta`, and what that does to the
    objective f is found by looking: the largest :math:`f(y + \delta u) - f(y)` over directions u,
    by a few ascents along the gradient. So near a minimum, where f is at the level of its errors,
    and in stiff directions, where small errors of the state are large ones of f, no false alarm is
    given.

    Parameters
    ----------
    trajectory
        A run with the tolerances in its settings.
    field
        The field that was integrated: the gradient flow of a problem or of a function, or an
        end-to-end law. Others are not checked, nor is an end-to-end law with weight decay, whose
        objective is not known.

    Returns
    -------
    float
        The largest rise of the objective, relative to its largest absolute value.
    """
    decays = bool(weight_decay(field))
    if not has_energy(field) or (isinstance(field, ON_W) and decays) or len(trajectory) < 2:
        return 0.0
    values = objectives(field, trajectory.states) if decays else trajectory.loss
    if not np.isfinite(values).all():
        return 0.0  # a run that ended at such a value says so in its result
    rises = np.diff(values)
    rounding = ROUNDING * np.abs(values).max()
    for k in np.argsort(-rises)[:MOST_RISES]:
        if rises[k] <= rounding:
            break
        state = jax.tree.map(lambda leaf, k=k: leaf[k + 1], trajectory.states)
        explained = explained_rise(field, state, _error(trajectory, state))
        if rises[k] > explained + rounding:
            warnings.warn(
                f"the loss rises by {rises[k]:.3g} from t = {trajectory.ts[k]:.6g} to "
                f"{trajectory.ts[k + 1]:.6g}, where errors of ten times the tolerance could raise "
                f"it by {explained:.3g}. Its gradient flow never raises it: lower rtol, or look "
                "whether the solver is stable there.",
                MonotonyWarning,
                stacklevel=3,
            )
            break
    return largest_rise(values)


@in_float64
def explained_rise(field: VectorField, state: PyTree, error: float) -> float:
    """The largest rise of the objective that moving a state by a length makes, about."""
    decay = weight_decay(field)
    if field.backend == "jax":
        state = jax.tree.map(jnp.asarray, state)
    base = float(objective(field, state, decay))
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda leaf: rng.normal(size=np.shape(leaf)), state)
    best = 0.0
    for _ in range(ASCENTS):
        length = np.sqrt(sum(float((u * u).sum()) for u in jax.tree.leaves(direction)))
        if not (length > 0 and np.isfinite(length)):
            break
        step = error / length
        moved = jax.tree.map(lambda y, u, step=step: y + step * u, state, direction)
        best = max(best, float(objective(field, moved, decay)) - base)
        direction = gradient(field, moved)
    return best


def _error(trajectory: Trajectory, state: PyTree) -> float:
    """The length of an error of ten times the tolerance."""
    flat: FloatArray = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state)])
    settings = trajectory.settings
    if "rtol" not in settings:
        raise InputError("trajectory has no tolerances in its settings; pass the run of a flow.")
    absolute = settings.get("atol", 0.0) * np.sqrt(flat.size)
    return float(DELIVERED * (absolute + settings["rtol"] * np.linalg.norm(flat)))
