"""The solvers that can be asked for by name, and what each costs."""

from __future__ import annotations

from typing import Any

import diffrax
import equinox as eqx

from flowsim._checks import nearest
from flowsim._errors import InputError
from flowsim.integration.extrapolation import LinearlyImplicitExtrapolation
from flowsim.integration.stabilized import RKC2, ROCK4
from flowsim.integration.work import Work

#: Methods of scipy.integrate, by their names there.
SCIPY_SOLVERS = ("RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA")

#: What runs them; heyoka has one method, "taylor".
BACKENDS = ("diffrax", "scipy", "heyoka")

#: Solvers for diffrax by name.
DIFFRAX_SOLVERS: dict[str, Any] = {
    "extrapolation": LinearlyImplicitExtrapolation,
    "rkc2": RKC2,
    "rock4": ROCK4,
    "heun": diffrax.Heun,
    "bosh3": diffrax.Bosh3,
    "tsit5": diffrax.Tsit5,
    "dopri5": diffrax.Dopri5,
    "dopri8": diffrax.Dopri8,
    "implicit_euler": diffrax.ImplicitEuler,
    "kvaerno3": diffrax.Kvaerno3,
    "kvaerno4": diffrax.Kvaerno4,
    "kvaerno5": diffrax.Kvaerno5,
}

# How diffrax marks a tolerance of a root finder that the step-size controller is to give.
_FROM_CONTROLLER = diffrax.ImplicitEuler().root_finder.rtol

#: Lengths of the real stability intervals of the explicit methods that "auto" starts with.
REAL_STABILITY = {"tsit5": 3.506846994, "dopri8": 5.166633620}


def resolve_solver(solver: Any, backend: str | None, field_backend: str) -> tuple[str, Any]:
    """Return the backend and the solver that the arguments of ``integrate`` ask for.

    The solver is ``"auto"``, a diffrax solver object, or a SciPy method name.

    Raises
    ------
    InputError
        If a name is unknown, or solver, backend and field do not go together.
    """
    if backend not in (None, *BACKENDS):
        raise InputError(
            f"backend is {backend!r}, which is none of {', '.join(map(repr, BACKENDS))}."
            f"{nearest(backend, BACKENDS)}"
        )
    chosen: str
    if isinstance(solver, diffrax.AbstractSolver):
        chosen = "diffrax"
    elif solver == "taylor" or (solver == "auto" and backend == "heyoka"):
        chosen, solver = "heyoka", "taylor"
    elif solver == "auto":
        chosen = backend or ("diffrax" if field_backend == "jax" else "scipy")
    elif isinstance(solver, str) and solver in SCIPY_SOLVERS:
        chosen = "scipy"
    elif isinstance(solver, str) and solver in DIFFRAX_SOLVERS:
        chosen, solver = "diffrax", DIFFRAX_SOLVERS[solver]()
    else:
        names = ("auto", *DIFFRAX_SOLVERS, *SCIPY_SOLVERS, "taylor")
        raise InputError(
            f"solver is {solver!r}; pass a diffrax solver object, or one of "
            f"{', '.join(map(repr, names))}.{nearest(solver, names)}"
        )
    if backend is not None and backend != chosen:
        raise InputError(
            f"solver {solver!r} runs on {chosen}, but backend is {backend!r}. Leave backend out, "
            f"or pass a solver of {backend}."
        )
    if chosen == "diffrax" and field_backend == "numpy":
        raise InputError(
            "the field is lowered to NumPy, which diffrax cannot trace. Lower it with "
            "backend='jax', or integrate with backend='scipy'."
        )
    if chosen == "diffrax" and solver != "auto":
        _check_suits(solver)
    return chosen, solver


def _check_suits(solver: Any) -> None:
    name = type(solver).__name__
    if not isinstance(solver, diffrax.AbstractAdaptiveSolver):
        raise InputError(
            f"solver is {name}, which has no error estimate to control. Pass an adaptive solver, "
            "such as diffrax.Tsit5() or 'extrapolation'; for Euler steps of a fixed size use "
            "descend."
        )
    if solver.term_structure not in (diffrax.AbstractTerm, diffrax.ODETerm):
        raise InputError(
            f"solver is {name}, which takes a field in several parts. Pass one for a single field, "
            "such as diffrax.Tsit5(), diffrax.Kvaerno5() or 'extrapolation'."
        )


def cost_of_step(solver: Any, before: Any, after: Any) -> Work:
    """What a trial step cost, from the solver's state before and after it.

    Nothing is known of methods that solve nonlinear equations by Newton's iteration, which take as
    many evaluations as they need; see :func:`is_counted`.
    """
    if hasattr(solver, "cost"):
        return solver.cost(before, after)
    if isinstance(solver, diffrax.AbstractERK):
        tableau: Any = solver.tableau
        return Work.of(gradients=tableau.num_stages - (1 if tableau.fsal else 0))
    return Work.of()


def is_counted(solver: Any) -> bool:
    """Whether :func:`cost_of_step` knows what the solver's steps cost."""
    return hasattr(solver, "cost") or isinstance(solver, diffrax.AbstractERK)


def with_tolerances(solver: Any, controller: diffrax.PIDController) -> Any:
    """The solver with the tolerances that its root finder takes from the step-size controller."""
    finder = getattr(solver, "root_finder", None)
    if finder is None:
        return solver
    names = ("rtol", "atol", "norm")
    left_open = [name for name in names if getattr(finder, name, None) is _FROM_CONTROLLER]
    return eqx.tree_at(
        lambda s: [getattr(s.root_finder, name) for name in left_open],
        solver,
        [getattr(controller, name) for name in left_open],
    )


def solver_name(solver: Any) -> str:
    """The name that a solver is reported by."""
    return solver if isinstance(solver, str) else type(solver).__name__
