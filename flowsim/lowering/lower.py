"""Lowering: from a derived law, or a problem, to a vector field."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from flowsim._checks import check_choice
from flowsim._errors import InputError, LoweringError
from flowsim._precision import in_float64
from flowsim._types import ScalarFunction
from flowsim.lowering.fields import (
    About,
    CallableField,
    EndToEndField,
    FactorField,
    FunctionField,
    VectorField,
)
from flowsim.lowering.maps import lower_map
from flowsim.lowering.printer import CompiledLaw, compile_law
from flowsim.problems import (
    DeepLinear,
    FunctionProblem,
    Identity,
    Loss,
    Problem,
    as_loss,
    presents_vector,
)
from flowsim.symbolic import EndToEnd, PushforwardLaw, derive

BACKENDS = ("jax", "numpy")
STRATEGIES = ("auto", "factors", "spectral")
_LARGEST_RESIDUAL = 1e-6


@in_float64
def lower_law(
    law: EndToEnd,
    loss: Loss | ScalarFunction,
    *,
    backend: str = "jax",
    strategy: str = "auto",
) -> VectorField:
    """Turn an end-to-end law into a vector field for a loss.

    Parameters
    ----------
    law
        A derived law of a concrete depth.
    loss
        A flowsim loss, or a JAX scalar function of the end-to-end value.
    backend
        ``"jax"`` for diffrax, ``"numpy"`` for SciPy.
    strategy
        ``"factors"`` lifts an end-to-end start to balanced factors, flows those, and reads the
        product off. ``"spectral"`` evaluates the law on the end-to-end value, from one singular
        value decomposition (from a norm, for a single output). ``"auto"`` takes the factors
        wherever there is more than one: the balanced law is not Lipschitz at rank-deficient W,
        where the spectral form grows a spurious rank and the factors are exact, and the factors
        cost matrix products where the spectral form costs a decomposition. What was chosen, and
        why, is in the field's ``about``.

    Raises
    ------
    InputError
        If the loss does not fit the network, or a name is unknown.
    LoweringError
        If the law holds symbols without values or nodes without a numeric reading, or if the
        lowered law is not the pushforward of the lowered factor flow on a random start.
    """
    check_choice("backend", backend, BACKENDS)
    check_choice("strategy", strategy, STRATEGIES)
    loss = as_loss(loss)
    net = _concrete_net(law, loss)
    vector = presents_vector(loss, net)
    loss = loss.to_numpy() if backend == "numpy" else loss
    if not isinstance(law.depth, sp.Integer):
        raise LoweringError(
            f"the law's depth is the symbol {law.depth}. Specialise it first, such as law.at(3)."
        )
    verify_law(law)
    if law.depth == 1:
        strategy, reason = "spectral", "one factor: the law is the gradient flow itself"
    elif strategy == "auto":
        strategy = "factors"
        reason = (
            "auto: balanced factors are exact at every rank, where the spectral form is not "
            "Lipschitz, and cost matrix products instead of a decomposition"
        )
    else:
        reason = "as asked for"
    if strategy == "factors":
        # Balanced flows of every width from the rank upwards give one W(t): take the narrowest.
        d, *hidden, k = net.widths
        narrow = DeepLinear((d, *[min(net.widths)] * len(hidden), k))
        compiled = _compile_factor_flow(law, narrow.known_widths(), backend)
        return FactorField(
            loss=loss,
            law=compiled.function,
            net=narrow,
            vector=vector,
            lifts=True,
            backend=backend,
            about=About(law, "factors", reason, compiled.source),
        )
    compiled = compile_law((_evaluated_form(law, net),), net.widths, backend)
    return EndToEndField(
        loss=loss,
        law=compiled.function,
        net=net,
        vector=vector,
        backend=backend,
        about=About(law, strategy, reason, compiled.source),
    )


@in_float64
def lower_problem(problem: Problem | FunctionProblem, *, backend: str = "jax") -> VectorField:
    """The gradient flow of a problem's own parameters, as a vector field.

    For a network of depth N the state is the tuple of its factors, and the code is that of the
    derived factor flow; for ``Identity`` it is the parameter; for any other parametrization, the
    tuple of its factors; for a function of a pytree, JAX's gradient.
    """
    check_choice("backend", backend, BACKENDS)
    if isinstance(problem, FunctionProblem):
        if backend == "numpy":
            raise InputError(
                "backend is 'numpy', but a problem made from a JAX function has only a JAX field."
                " Use backend='jax'; integrate(..., backend='scipy') takes it as it is."
            )
        about = About(problem, "direct", "the gradient of a function, by JAX")
        return FunctionField(function=problem.f, backend="jax", about=about)
    net = problem.parametrization
    if not isinstance(net, (DeepLinear, Identity)) or problem.rates:
        return lower_map(problem, backend)
    law = derived_law(problem)
    if not isinstance(law, EndToEnd):
        raise LoweringError("a deep linear network has another kind of law. This is our fault.")
    verify_law(law)
    common: dict[str, Any] = {
        "loss": problem.loss.to_numpy() if backend == "numpy" else problem.loss,
        "net": net,
        "vector": problem.vector,
        "backend": backend,
    }
    reason = "the flow of the problem's own parameters"
    if isinstance(net, DeepLinear):
        compiled = _compile_factor_flow(law, net.known_widths(), backend)
        return FactorField(
            law=compiled.function,
            lifts=False,
            about=About(problem, "factors", reason, compiled.source),
            **common,
        )
    compiled = compile_law((law.balanced,), net.widths, backend)
    about = About(problem, "direct", reason, compiled.source)
    return EndToEndField(law=compiled.function, about=about, **common)


def as_field(
    field_or_problem: VectorField | Problem | FunctionProblem | Callable, *, backend: str = "jax"
) -> VectorField:
    """Return a vector field: as given, lowered from a problem, or wrapped around a function."""
    if isinstance(field_or_problem, VectorField):
        return field_or_problem
    if isinstance(field_or_problem, (Problem, FunctionProblem)):
        return lower_problem(field_or_problem, backend=backend)
    if callable(field_or_problem):
        about = About(field_or_problem, "direct", "a vector field of the user's own")
        return CallableField(function=field_or_problem, backend=backend, about=about)
    raise InputError(
        f"field_or_problem is {type(field_or_problem).__name__}; pass a Problem, a lowered law "
        "(law.lower(loss)), or a function (t, y, args) -> dy/dt."
    )


def derived_law(problem: Problem) -> EndToEnd | PushforwardLaw:
    """The law of a problem's parametrization, derived once for each depth, decay and rates."""
    rates = tuple(sorted(problem.rates.items()))
    return _derived(problem.parametrization, problem.weight_decay, rates)


@functools.lru_cache(maxsize=64)
def _derived(
    par: Any, weight_decay: float, rates: tuple[tuple[str, float], ...]
) -> EndToEnd | PushforwardLaw:
    return derive(par, weight_decay=weight_decay, rates=dict(rates))


def verify_law(law: EndToEnd) -> None:
    """Check on a small random start that the lowered law is the lowered factor flow's pushforward.

    The product of the factors is differentiated by central differences along their lowered
    velocity, and compared with the lowered right-hand side: symbols, printer and kernels are all
    in it, and no automatic derivative is.

    Raises
    ------
    LoweringError
        With the residual, if the two disagree.
    """
    residual = _pushforward_residual(int(law.depth), law.balanced, law.factor_flow, law.index)
    if not residual <= _LARGEST_RESIDUAL:
        raise LoweringError(
            f"the lowered law is not the pushforward of the lowered factor flow: relative residual "
            f"{residual:.3g}. This is a fault of flowsim, not of the input."
        )


@functools.lru_cache(maxsize=256)
def _pushforward_residual(
    N: int, balanced: sp.Basic, factor_flow: sp.Basic, index: sp.Symbol
) -> float:
    widths = (3, *[2] * (N - 1), 2)
    net = DeepLinear(widths)
    rng = np.random.default_rng(0)
    W, G = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    factors = net.balanced(W)
    velocities = _compile_flow(factor_flow, index, widths, "numpy").function(factors, None, G)
    (law,) = compile_law((balanced,), widths, "numpy").function(None, W, G)
    h = 1e-5
    ahead = net([F + h * V for F, V in zip(factors, velocities, strict=True)])
    behind = net([F - h * V for F, V in zip(factors, velocities, strict=True)])
    return float(np.linalg.norm((ahead - behind) / (2 * h) - law) / np.linalg.norm(law))


def _compile_factor_flow(law: EndToEnd, widths: tuple[int, ...], backend: str) -> CompiledLaw:
    return _compile_flow(law.factor_flow, law.index, widths, backend)


def _compile_flow(
    factor_flow: sp.Basic, index: sp.Symbol, widths: tuple[int, ...], backend: str
) -> CompiledLaw:
    velocities = tuple(factor_flow.subs(index, j) for j in range(1, len(widths)))
    return compile_law(velocities, widths, backend)


def _evaluated_form(law: EndToEnd, net: Any) -> sp.Basic:
    """The closed form in W: with one output a norm and a projection, else powers."""
    if law.depth == 1 or net.widths[-1] > 1:
        return law.balanced
    return law.single_output


def _concrete_net(law: EndToEnd, loss: Loss) -> Any:
    """The law's network with widths; where only its depth is known, from the loss's shape."""
    net = law.parent
    if net.widths is not None:
        return net
    if loss.shape is None or not isinstance(law.depth, sp.Integer):
        raise LoweringError(
            f"the law's network is known by its depth ({law.depth}) alone, and neither it nor the "
            "loss says how wide it is. Derive it from widths: derive(DeepLinear((d, ..., k)))."
        )
    k, d = (1, loss.shape[0]) if len(loss.shape) == 1 else loss.shape
    return DeepLinear((d, *[min(k, d)] * (int(law.depth) - 1), k))
