"""The gradient flow of the factors of any parametrization.

On JAX the velocity is the pull-back of the loss's gradient through the parametrization's own
function, which shares what its terms share; on NumPy it is the code of the derived gradients. Both
are held against finite differences of the function when a field is made.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from flowsim._checks import check_choice
from flowsim._errors import LoweringError
from flowsim._precision import in_float64
from flowsim._types import ScalarFunction
from flowsim.lowering.contraction import compile_tensors
from flowsim.lowering.fields import About, VectorField, guard_precision, matrix_gradient
from flowsim.problems import Loss, Parametrization, Problem, as_loss, presents_vector
from flowsim.symbolic.pushforward import PushforwardLaw, pushforward_law, slope_along

__all__ = ["MapField", "lower_map", "lower_pushforward", "pushforward_of", "verify_pushforward"]

_LARGEST_RESIDUAL = 1e-6


class MapField(VectorField):
    """The gradient flow of the factors of a parametrization; the state is the tuple of factors."""

    loss: Loss
    rates: np.ndarray
    weight_decay: np.ndarray
    law: Callable = eqx.field(static=True)
    parametrization: Parametrization = eqx.field(static=True)
    vector: bool = eqx.field(static=True)
    backend: str = eqx.field(static=True)
    about: About = eqx.field(static=True)

    def __call__(self, t: Any, y: tuple, args: Any = None) -> tuple:
        """The velocities of the factors."""
        guard_precision(self, self.loss)
        if self.backend == "jax":
            w, pull = jax.vjp(self.parametrization, y)
            (gradients,) = pull(self._gradient(w))
        else:
            gradients = self.law(y, self._gradient(self.parametrization(y)))
        return tuple(
            -rate * (g + self.weight_decay * x)
            for rate, g, x in zip(self.rates, gradients, y, strict=True)
        )

    def _gradient(self, w: Any) -> Any:
        return matrix_gradient(self.loss, w, self.vector and w.ndim == 2)

    def start(self, y0: Any) -> tuple[np.ndarray, ...]:
        """The factors, validated."""
        return self.parametrization.check_factors(y0, "y0")

    def read(self, y: tuple) -> Any:
        """The end-to-end value, as the loss takes it."""
        w = self.parametrization(y)
        return w[0] if self.vector and w.ndim == 2 else w

    def value(self, y: tuple) -> Any:
        """The loss of the end-to-end value."""
        return self.loss(self.read(y))


@in_float64
def lower_pushforward(
    law: PushforwardLaw,
    loss: Loss | ScalarFunction,
    *,
    backend: str = "jax",
    strategy: str = "auto",
) -> MapField:
    """Turn the law of a parametrization into a vector field on its factors.

    Parameters
    ----------
    law
        A derived law whose rates and weight decay are numbers.
    loss
        A flowsim loss, or a JAX scalar function of the end-to-end value.
    backend
        ``"jax"`` or ``"numpy"``.
    strategy
        ``"auto"`` or ``"factors"``, which are the same here.

    Raises
    ------
    InputError
        If the loss does not fit, or a name is unknown.
    LoweringError
        If the law holds symbols without values, or disagrees with finite differences.
    """
    check_choice("backend", backend, ("jax", "numpy"))
    check_choice("strategy", strategy, ("auto", "factors"))
    numbers = [*law.rates.values(), law.weight_decay]
    for number in numbers:
        if not number.is_number:
            raise LoweringError(
                f"the law holds the symbol {number}, which has no value; derive it with numbers."
            )
    rates = [float(rate) for rate in law.rates.values()]
    return _field(law, as_loss(loss), law, rates, float(law.weight_decay), backend)


def lower_map(problem: Problem, backend: str) -> MapField:
    """The gradient flow of a problem's factors."""
    par = problem.parametrization
    rates = [problem.rates.get(name, 1.0) for name in par.names]
    law = pushforward_of(par)
    return _field(problem, problem.loss, law, rates, problem.weight_decay, backend)


def _field(
    parent: Any,
    loss: Loss,
    law: PushforwardLaw,
    rates: list[float],
    weight_decay: float,
    backend: str,
) -> MapField:
    par = law.parent
    plain = pushforward_of(par)
    verify_pushforward(plain)
    compiled = _compiled(plain)
    jax_reason = "the pull-back of the loss's gradient through the map, by JAX"
    return MapField(
        loss=loss.to_numpy() if backend == "numpy" else loss,
        rates=np.asarray(rates),
        weight_decay=np.asarray(weight_decay),
        law=compiled.function,
        parametrization=par,
        vector=presents_vector(loss, par),
        backend=backend,
        about=About(
            parent,
            "factors",
            jax_reason if backend == "jax" else "the derived gradients, as NumPy code",
            "" if backend == "jax" else compiled.source,
        ),
    )


@functools.lru_cache(maxsize=64)
def pushforward_of(par: Parametrization) -> PushforwardLaw:
    """The law of a parametrization without decay at rates 1, derived once."""
    return pushforward_law(par)


@functools.lru_cache(maxsize=64)
def _compiled(law: PushforwardLaw) -> Any:
    return compile_tensors(list(law.gradients.values()), law.parent.names)


@functools.lru_cache(maxsize=64)
def verify_pushforward(law: PushforwardLaw) -> float:
    """Hold the derived law against finite differences of the map; return the relative residual.

    At random factors, the map is differenced along the derived velocities, and compared with the
    derived right-hand side; and along random directions, and compared with the derived gradients.

    Raises
    ------
    LoweringError
        With the residual, if they disagree.
    """
    par, plain = law.parent, pushforward_of(law.parent)
    rng = np.random.default_rng(1)
    residual = np.inf
    for kind in ("gaussian", "away from 0", "positive"):
        if kind == "positive" and np.isfinite(residual):
            break
        # Positive factors where Gaussian ones leave the map's domain or come near a pole.
        theta = [rng.normal(size=s) for s in par.shapes]
        if kind != "gaussian":
            theta = [(np.abs(x) / 2 + 1.5) * (np.sign(x) ** (kind != "positive")) for x in theta]
        with np.errstate(all="ignore"):
            G = rng.normal(size=par.end_to_end_shape)
            gradients = _compiled(plain).function(theta, G)
            (rhs,) = compile_tensors([plain.rhs], par.names).function(theta, G)
            velocity = [-g for g in gradients]
            moved = slope_along(par, theta, velocity)
            along = [rng.normal(size=s) for s in par.shapes]
            pairing = sum(float(np.sum(g * d)) for g, d in zip(gradients, along, strict=True))
            pushed = slope_along(par, theta, along)
        scale = np.linalg.norm(np.ravel(rhs)) + 1e-300
        paired = abs(np.sum(G * pushed) - pairing) / (np.linalg.norm(np.ravel(pushed)) + 1e-300)
        found = max(float(np.linalg.norm(np.ravel(moved - rhs)) / scale), float(paired))
        # Near a pole differences are poor though the law is right: another point then decides.
        residual = found if found < residual else residual
        if residual <= _LARGEST_RESIDUAL:
            break
    if not residual <= _LARGEST_RESIDUAL:
        raise LoweringError(
            f"the derived law disagrees with finite differences of the map: relative residual "
            f"{residual:.3g}. This is a fault of flowsim, or the map has kinks at random factors."
        )
    return residual
