r"""Closed motions as vector fields on w.

A closed motion :math:`\dot w = -P(w, c)\,\nabla L(w)` is lowered with the values c of a start.
Where P is written by roots, its formula is evaluated. Where it is implicit, the equations
:math:`\varphi(\theta) = w`, :math:`h(\theta) = c` are solved for θ by Newton's method, started at
the start's own θ and continued to w along a straight line, and :math:`P = J J^\top` there.
"""

# SymPy is untyped.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportReturnType=false

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from flowsim._checks import check_array, check_choice
from flowsim._errors import HypothesisError, InputError
from flowsim._precision import in_float64, require_float64
from flowsim._types import ScalarFunction
from flowsim.lowering.fields import About, VectorField
from flowsim.lowering.hypotheses import check_start
from flowsim.problems import DeepLinear, Loss, as_loss, presents_vector
from flowsim.symbolic.closure import Closure
from flowsim.symbolic.closure.result import SIGN
from flowsim.symbolic.closure.states import States, absolute_logs, whole_states
from flowsim.symbolic.closure.tape import Tape
from flowsim.symbolic.derive import derive

__all__ = ["ClosedField", "ImplicitField", "lower_closed"]

BACKENDS = ("numpy", "jax")
#: Relative difference from J J^T up to which a formula describes a start.
AGREES_BELOW = 1e-8
#: Pieces of the line from the start's w to w: at most so many with NumPy, and so many with JAX.
MOST_TRIES = 60
PIECES = 16
MOST_NEWTON = 12
LARGEST_STEP = 0.3
#: Relative size of a Newton step after which the error, its square, is below rounding.
SOLVED = 1e-9
#: The same on the way to w.
FOLLOWED = 1e-3


class ClosedField(VectorField):
    """A closed motion by its formula: the state is w, the constants are those of the start."""

    loss: Loss
    constants: Any
    velocity: Tape = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)
    backend: str = eqx.field(static=True)
    about: About = eqx.field(static=True)

    def __call__(self, t: Any, y: Any, args: Any = None) -> Any:
        """The velocity -P(w, c) ∇L(w)."""
        xp = _namespace(self)
        w, g = xp.reshape(y, (-1,)), xp.reshape(self.loss.gradient(y), (-1,))
        c = self.constants
        values = [w[i] for i in range(w.shape[0])]
        values += [c[i] for i in range(c.shape[0])]
        values += [g[i] for i in range(g.shape[0])]
        zero = 0.0 * w[0]
        return xp.stack([zero + v for v in self.velocity(xp, values)]).reshape(self.shape)

    def start(self, y0: Any) -> np.ndarray:
        """The end-to-end value of a start: w itself, or factors with the constants' values."""
        return _start(self, y0)

    def read(self, y: Any) -> Any:
        """The state itself."""
        return y

    def value(self, y: Any) -> Any:
        """The loss of the state."""
        return self.loss(y)


class ImplicitField(VectorField):
    """A closed motion without a formula: θ is solved for, from the start's on, at every w.

    With NumPy the line from the start's w to w is followed in pieces, halved until Newton's method
    converges on each within 12 steps, 60 pieces at most; with JAX it is cut into ``pieces`` equal
    ones, with two steps each and up to 12 at the end. Where Newton's method fails the velocity is
    NaN, which the integrators name. The branch is the one that continues the start's along that
    straight line. A motion that reaches a fold, where branches meet and w turns back, goes on upon
    another branch than w alone can tell: there this form ends, and the factor flow goes on.
    """

    loss: Loss
    theta: Any
    w: Any
    constants: Any
    states: States = eqx.field(static=True)
    pieces: int = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)
    backend: str = eqx.field(static=True)
    about: About = eqx.field(static=True)

    def __call__(self, t: Any, y: Any, args: Any = None) -> Any:
        """The velocity -J Jᵀ ∇L(w) at the θ that belongs to w."""
        xp = _namespace(self)
        w, g = xp.reshape(y, (-1,)), xp.reshape(self.loss.gradient(y), (-1,))
        theta = self.solve(w)
        J = self.states(xp, theta)[1]
        return -(J @ (J.T @ g)).reshape(self.shape)

    def solve(self, w: Any) -> Any:
        """The factors' entries at w, on the start's branch; NaN where Newton's method fails."""
        return self._solve_jax(w) if self.backend == "jax" else self._solve_numpy(w)

    def _solve_numpy(self, w: np.ndarray) -> np.ndarray:
        x, reached, ahead = np.asarray(self.theta), 0.0, 1.0
        with np.errstate(all="ignore"):
            for _ in range(MOST_TRIES):
                target = min(reached + ahead, 1.0)
                until = SOLVED if target == 1.0 else FOLLOWED
                found, fine = self._newton(x, self.w + target * (w - self.w), until)
                if not fine:
                    ahead /= 2
                elif target == 1.0:
                    return found
                else:
                    x, reached, ahead = found, target, 2 * ahead
        return np.full_like(self.theta, np.nan)

    def _newton(self, x: np.ndarray, w: np.ndarray, until: float) -> tuple[np.ndarray, bool]:
        before = np.inf
        for _ in range(MOST_NEWTON):
            step = self.states.step(np, x, w, self.constants)
            size = np.linalg.norm(step) / (1.0 + np.linalg.norm(x))
            # A first step that is large, or steps that do not shrink, may change the branch.
            if not np.isfinite(size) or size > LARGEST_STEP or size > max(0.7 * before, until):
                return x, False
            x, before = x + step, size
            if size <= until:
                return x, True
        return x, False

    def _solve_jax(self, w: Any) -> Any:
        theta, w0, c = jnp.asarray(self.theta), jnp.asarray(self.w), jnp.asarray(self.constants)

        def piece(k: Any, x: Any) -> Any:
            target = w0 + (k / self.pieces) * (w - w0)
            x = x + self.states.step(jnp, x, target, c)
            return x + self.states.step(jnp, x, target, c)

        def unfinished(carry: tuple) -> Any:
            k, _, size = carry
            return (k < MOST_NEWTON) & (size > SOLVED)

        def refine(carry: tuple) -> tuple:
            k, x, _ = carry
            step = self.states.step(jnp, x, w, c)
            size = jnp.linalg.norm(step) / (1.0 + jnp.linalg.norm(x))
            return k + 1, x + step, jnp.where(jnp.isfinite(size), size, -1.0)

        x = jax.lax.fori_loop(1, self.pieces + 1, piece, theta)
        _, x, size = jax.lax.while_loop(unfinished, refine, (0, x, jnp.asarray(1.0, x.dtype)))
        return jnp.where((size >= 0.0) & (size <= SOLVED), x, jnp.nan)

    def start(self, y0: Any) -> np.ndarray:
        """The end-to-end value of a start: w itself, or factors with the constants' values."""
        return _start(self, y0)

    def read(self, y: Any) -> Any:
        """The state itself."""
        return y

    def value(self, y: Any) -> Any:
        """The loss of the state."""
        return self.loss(y)


@in_float64
def lower_closed(
    closure: Closure,
    loss: Loss | ScalarFunction,
    start: Any,
    *,
    backend: str = "numpy",
) -> VectorField:
    r"""Turn a closed motion into a vector field on w, with the conserved values of a start.

    Parameters
    ----------
    closure
        A closure that closes.
    loss
        A flowsim loss, or a JAX scalar function of the end-to-end value.
    start
        Factors of the parametrization's shapes: they give the conserved values, the branch, and
        the start w = φ(θ) of a trajectory, ``field.start(start)``.
    backend
        ``"numpy"`` or ``"jax"``.

    Returns
    -------
    VectorField
        On w: a :class:`ClosedField` where the law has a formula, an :class:`ImplicitField` where it
        is solved for, the spectral field of the balanced law for whole matrices.

    Raises
    ------
    InputError
        If the motion does not close, or the start does not fit, or its conserved values are not
        those of the closure, or a law that would be solved for has no formula.
    HypothesisError
        If the formula is not J Jᵀ at the start.

    Examples
    --------
    >>> import numpy as np, flowsim as fs
    >>> from flowsim.problems.families import ScaledVector
    >>> from flowsim.symbolic.closure import closure
    >>> loss = fs.LpLoss(np.eye(2), np.array([1.0, -1.0]), p=2)
    >>> start = np.array([0.3, 0.1]), np.array(0.5)
    >>> field = lower_closed(closure(ScaledVector(2)), loss, start)
    >>> field(0.0, field.start(start)).round(6).tolist()
    [0.12875, -0.12375]
    """
    check_choice("backend", backend, BACKENDS)
    if not isinstance(closure, Closure):
        raise InputError(f"closure is {type(closure).__name__}; pass what closure(par) returns.")
    if not closure.closes:
        raise InputError(
            f"closure says that the motion does not close: {closure.because}. Integrate the "
            "factors, fs.integrate(fs.Problem(loss, par), theta, t1)."
        )
    par = closure.parametrization
    loss = as_loss(loss)
    if closure.form == "matrix":
        law = derive(par if isinstance(par, DeepLinear) else DeepLinear(par.widths))
        check_start(law, law.parent.check_factors(start, "start"))
        return law.lower(loss, backend=backend, strategy="spectral")
    factors = par.check_factors(start, "start")
    vector = presents_vector(loss, par)
    shape = par.end_to_end_shape[1:] if vector and par.end_to_end_shape[:1] == (1,) else None
    shape = par.end_to_end_shape if shape is None else shape
    theta = par.flattened(factors)
    given = _constants(closure, theta)
    whole = _whole(closure)
    common = {
        "loss": loss.to_numpy() if backend == "numpy" else loss,
        "shape": shape,
        "backend": backend,
    }
    if closure.form == "implicit":
        if closure.missing:
            raise InputError(
                f"closure is implicit, and {closure.missing} of its conserved quantities have no "
                "formula, so that phi(theta) = w, h(theta) = c does not determine theta. Integrate "
                "the factors instead."
            )
        with np.errstate(all="ignore"):
            phi, J, h, _ = whole(np, theta)
        if not all(np.isfinite(x).all() for x in (phi, J, h)):
            raise InputError("start: the map, or what it conserves, is not finite there.")
        reason = "no form by roots: theta is solved for by Newton's method from the start's"
        return ImplicitField(
            theta=theta,
            w=phi,
            constants=h,
            states=whole,
            pieces=PIECES,
            about=About(closure, "implicit", reason),
            **common,
        )
    velocity = Tape.of(list(closure.law), [*closure.w, *closure.constants, *closure.G])
    field = ClosedField(
        constants=given,
        velocity=velocity,
        about=About(closure, "direct", "the closed form, with the start's conserved values"),
        **common,
    )
    _check_start(closure, whole, theta, given)
    return field


def _constants(closure: Closure, theta: np.ndarray) -> np.ndarray:
    """The values of the closure's constants at a start; signs as 1 or -1.

    Raises
    ------
    InputError
        If the start does not have the special values of the closure.
    """
    symbols = list(closure.constants)
    read = [absolute_logs(closure.constants[s]) for s in symbols]
    with np.errstate(all="ignore"):
        values = Tape.of(read, closure.entries)(np, list(theta))
    found = np.array([float(v) for v in values], dtype=np.float64)
    if not np.isfinite(found).all():
        raise InputError("start: a conserved quantity is not finite there.")
    scale = float(np.abs(theta).max()) ** 2 + 1.0
    for i, s in enumerate(symbols):
        if s in closure.special:
            wanted = float(closure.special[s])
            if abs(found[i] - wanted) > 1e-9 * scale:
                raise InputError(
                    f"start: {s} = {closure.constants[s]} is {found[i]:.6g} there, where the "
                    f"closure was asked for with {wanted:g}. Take a start with that value, or "
                    "closure(par), which leaves it open."
                )
            found[i] = wanted
        elif str(s).startswith(SIGN):
            found[i] = np.sign(found[i]) or 1.0
    return found


def _whole(closure: Closure) -> States:
    """The map and its laws, as functions of all entries."""
    m = len(closure.G)
    sides = [e.lhs for e in closure.equations]
    return whole_states(sides[:m], sides[m:], closure.entries)


def _check_start(closure: Closure, whole: States, theta: np.ndarray, constants: np.ndarray) -> None:
    """Compare the formula with J J^T at the start."""
    m = len(closure.G)
    tape = Tape.of(list(closure.preconditioner), [*closure.w, *closure.constants])
    with np.errstate(all="ignore"):
        phi, J, _, _ = whole(np, theta)
        stated = np.array([float(v) for v in tape(np, [*phi, *constants])]).reshape(m, m)
        P = J @ J.T
        error = np.abs(stated - P).max() / max(np.abs(P).max(), 1e-300)
    if not error <= AGREES_BELOW:
        raise HypothesisError(
            f"the closed form differs from J J^T by {error:.3g} at the start, relative to its "
            "largest entry: the start lies outside the form's domain "
            f"({'; '.join(closure.domain)}). Integrate the factors instead."
        )


def _start(field: ClosedField | ImplicitField, y0: Any) -> np.ndarray:
    closure: Closure = field.about.parent
    par = closure.parametrization
    if isinstance(y0, dict) or (isinstance(y0, tuple | list) and len(y0) == len(par.shapes) > 1):
        factors = par.check_factors(y0, "y0")
        theta = par.flattened(factors)
        found = _constants(closure, theta)
        wanted = np.asarray(field.constants, dtype=np.float64)[: len(found)]
        if np.abs(found - wanted).max(initial=0.0) > 1e-9 * (1.0 + np.abs(wanted).max(initial=0.0)):
            raise InputError(
                "y0 has other conserved values than the start that the field was lowered with: "
                f"{found} against {wanted}. Lower it again with this start."
            )
        return np.asarray(par(factors), dtype=np.float64).reshape(field.shape)
    w = check_array("y0", y0).astype(np.float64)
    if w.size != int(np.prod(field.shape)):
        raise InputError(f"y0 has shape {w.shape}; the end-to-end value has shape {field.shape}.")
    return w.reshape(field.shape)


def _namespace(field: ClosedField | ImplicitField) -> Any:
    if field.backend == "numpy":
        return np
    if field.loss.dtype is not None:
        require_float64(type(field).__name__, field.loss.dtype)
    return jnp
