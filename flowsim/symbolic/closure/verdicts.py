"""The criterion at a random state, generic or with special values of the conserved quantities."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAssignmentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportOptionalOperand=false
# pyright: reportReturnType=false
from __future__ import annotations

import numpy as np

from flowsim._errors import InputError
from flowsim.symbolic.closure.leaf import Verdict, decide
from flowsim.symbolic.closure.level import Level
from flowsim.symbolic.closure.states import States, states_of

__all__ = ["decided", "level_state"]

NULL = 1e-6


def decided(level: Level, seed: int) -> Verdict:
    """The criterion at a random state, on the level set where values are special."""
    rng = np.random.default_rng(seed)
    if level.generic:
        return decide(level.em, level.em.random_point(rng))
    state = level_state(level, states_of(level.em, level.laws), rng)
    if state is None:
        raise InputError(
            "values: no state with these values of the conserved quantities was found from 40 "
            "random starts. Where they are sums of squares, pass positive values."
        )
    if level.em.size - _rank_of_laws(level, state) != _leaf_dimension(level, rng):
        # A formula is missing, or the level set has a corner there: the leaf alone is tangent.
        point = level.point(rng)
        return decide(level.em, point or level.em.random_point(rng))
    point = level.point(rng)
    if point is not None:
        return decide(level.em, point, level.laws)
    return _decided_in_floating_point(level, state)


def _rank_of_laws(level: Level, state: np.ndarray) -> int:
    dh = states_of(level.em, level.laws)(np, state)[3]
    s = np.linalg.svd(dh, compute_uv=False)
    return int((s > NULL * s[:1].max(initial=1e-300)).sum())


def _leaf_dimension(level: Level, rng: np.random.Generator) -> int:
    return decide(level.em, level.em.random_point(rng)).leaf


def level_state(level: Level, states: States, rng: np.random.Generator) -> np.ndarray | None:
    """A state with the special values, found by Newton's method from random starts."""
    which = [k for k, v in enumerate(level.values) if v is not None]
    target = np.array([float(level.values[k]) for k in which])
    for _ in range(40):
        x = states.defined(rng.normal(size=level.em.size))
        if x is not None:
            x = states.solved(x, c=target, which=which)
        if x is None or np.abs(x).max() < 1e-3:
            continue
        with np.errstate(all="ignore"):
            J = states(np, x)[1]
        if np.isfinite(J).all() and np.abs(J).max() < 1e4:
            return x
    return None


def _decided_in_floating_point(level: Level, x: np.ndarray) -> Verdict:
    """The criterion by singular values, for level sets that are not solved modulo the prime."""
    states = states_of(level.em, level.laws)
    _, J, _, dh = states(np, x)
    _, s, Vt = np.linalg.svd(dh)
    basis = Vt[int((s > NULL * s[:1].max(initial=1e-300)).sum()) :].T
    _, s, Vt = np.linalg.svd(J @ basis)
    rank = int((s > NULL * s[0]).sum())
    still = basis @ Vt[rank:].T
    moving = 0
    if still.shape[1]:
        s = np.linalg.svd(states.changes(x, still), compute_uv=False)
        moving = int((s > 1e-5 * np.linalg.norm(states.preconditioner(x))).sum())
    return Verdict(level.em.size, basis.shape[1], rank, moving)
