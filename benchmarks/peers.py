"""The other packages' solvers, each set up as its own documents advise.

A package that is not installed is left out, by name, with the reason on the page.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import time
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate
from threadpoolctl import threadpool_limits

from benchmarks.problems import Flow, Task, jacobian, product
from benchmarks.rivals import PRODUCT, Answer, Counted, Overtime, Rival, Run, overtime

_LARGEST_DENSE = 3000  # numbers in a state of which a peer is given a dense Jacobian
_MANY_PARAMETERS = 20_000  # from here on linear algebra gains by a second thread


# --- the right-hand side for solvers that call Python ------------------------------------------


@eqx.filter_jit
def _velocity(flow: Flow, t: Any, v: Any) -> Any:
    return flow(t, v)


@functools.lru_cache(maxsize=1)
def _fastest(task: Task) -> Any:
    """The right-hand side in NumPy, or compiled by JAX, whichever is faster here."""
    flow = task.flow()

    def by_jax(t: float, v: np.ndarray) -> np.ndarray:
        return np.asarray(_velocity(flow, np.float64(t), v))

    best, fewest = task.numpy, math.inf
    for candidate in (task.numpy, by_jax):
        candidate(0.0, task.y0)
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            candidate(0.0, task.y0)
            seconds.append(time.perf_counter() - began)
        if min(seconds) < fewest:
            best, fewest = candidate, min(seconds)
    return best


def _threads(task: Task) -> int:
    return 2 if task.size >= _MANY_PARAMETERS else 1


def _too_dense(task: Task) -> str:
    if task.size > _LARGEST_DENSE:
        return f"works with dense Jacobians, and the state has {task.size:,} numbers"
    return ""


# --- SciPy -------------------------------------------------------------------------------------


def _scipy(method: str) -> Rival:
    implicit = method in ("Radau", "BDF", "LSODA")

    def prepare(task: Task, rtol: float, seconds: float) -> Run:
        flow, rhs = task.flow(), _fastest(task)
        options: dict[str, Any] = {}
        if implicit:
            options["jac"] = lambda t, v: np.asarray(jacobian(flow, np.float64(t), v))

        def run(end: float) -> Answer:
            counted = Counted(rhs, seconds)
            with threadpool_limits(_threads(task)):
                try:
                    solution = scipy.integrate.solve_ivp(
                        counted, (0, end), task.y0, method, t_eval=[end],
                        rtol=rtol, atol=rtol * task.scale, **options,
                    )  # fmt: skip
                except Overtime:
                    return Answer(None, None, overtime(seconds, counted.reached, end))
            jacobians = solution.njev if implicit else 0
            gradients = counted.calls + PRODUCT * task.size * jacobians
            if not solution.success:
                return Answer(None, gradients, solution.message)
            return Answer(task.read(solution.y[:, -1]), gradients)

        return run

    tuning = "`solve_ivp`" + (", exact Jacobians compiled by JAX" if implicit else "")
    return Rival(
        method, "SciPy", prepare, tuning,
        _too_dense if implicit else lambda task: "", compiles=implicit,
    )  # fmt: skip


# --- diffrax -----------------------------------------------------------------------------------


@eqx.filter_jit
def diffrax_solve(
    flow: Any, solver: Any, controller: Any, y0: Any, end: Any, max_steps: int
) -> diffrax.Solution:
    """A tight hand-written solve: final state only, no adjoint."""
    return diffrax.diffeqsolve(
        diffrax.ODETerm(flow),
        solver,
        0.0,
        end,
        None,
        y0,
        stepsize_controller=controller,
        max_steps=max_steps,
        adjoint=diffrax.ForwardMode(),
        throw=False,
    )


def explicit_controller(rtol: Any, atol: Any, stiff: bool) -> diffrax.PIDController:
    """An I controller for easy problems, a less sensitive PI controller for mildly stiff ones."""
    p, i = (0.2, 0.4) if stiff else (0.0, 1.0)
    return diffrax.PIDController(rtol=rtol, atol=atol, pcoeff=p, icoeff=i)


def implicit_controller(rtol: Any, atol: Any, stiff: bool = True) -> diffrax.PIDController:
    """The coefficients of the documents' stiff example."""
    del stiff
    return diffrax.PIDController(rtol=rtol, atol=atol, pcoeff=0.3, icoeff=0.4)


def most_steps(task: Task, stages: int, seconds: float) -> int:
    """A power of two of steps that take about the seconds allowed."""
    evaluation = _evaluation_seconds(task)
    return 2 ** max(12, math.ceil(math.log2(seconds / (stages * evaluation))))


@functools.lru_cache(maxsize=1)
def _evaluation_seconds(task: Task) -> float:
    """Seconds of a field evaluation inside a compiled loop."""
    flow, y = task.flow(), jnp.asarray(task.y0)
    count = np.int32(50 if task.size < 1e5 else 5)
    jax.block_until_ready(_repeated(flow, y, count))
    began = time.perf_counter()
    jax.block_until_ready(_repeated(flow, y, count))
    return (time.perf_counter() - began) / count


@eqx.filter_jit
def _repeated(flow: Flow, y: Any, count: Any) -> Any:
    return jax.lax.fori_loop(0, count, lambda _, v: v + 1e-12 * flow(0.0, v), y)


def diffrax_rival(
    name: str,
    solver: Any,
    controller: Any,
    tuning: str,
    unsuited: Any = lambda task: "",
    finest: float = 1e-10,
) -> Rival:
    """A diffrax solver; its gradients are steps times stages, or counted in a run of their own."""
    explicit = isinstance(solver, diffrax.AbstractERK)
    stages = solver.tableau.num_stages - (1 if explicit and solver.tableau.fsal else 0)

    def prepare(task: Task, rtol: float, seconds: float) -> Run:
        flow, y0 = task.flow(), jnp.asarray(task.y0)
        control = controller(np.float64(rtol), np.float64(rtol * task.scale), task.stiff)
        limit = most_steps(task, stages if explicit else 2 * stages, seconds)
        count = functools.lru_cache(maxsize=1)(
            lambda end: _implicit_gradients(flow, solver, control, y0, end, limit)
        )

        def run(end: float) -> Answer:
            solution = diffrax_solve(flow, solver, control, y0, np.float64(end), limit)
            jax.block_until_ready(solution.ys)
            value = np.asarray(solution.ys)[0]
            steps = int(solution.stats["num_steps"])
            if solution.result != diffrax.RESULTS.successful:
                return Answer(
                    None, None, f"given up after {steps:,} steps: {solution.result}"[:200]
                )
            if explicit:
                return Answer(task.read(value), steps * stages + 2)
            return Answer(task.read(value), lambda: count(end))

        return run

    return Rival(name, "diffrax", prepare, tuning, unsuited, (1e-2, finest))


class _Counting(eqx.Module):
    """A flow that tells how often it is evaluated."""

    flow: Flow
    tick: Any = eqx.field(static=True)

    def __call__(self, t: Any, y: Any, args: Any = None) -> Any:
        jax.debug.callback(self.tick, jax.lax.stop_gradient(t))
        return self.flow(t, y)


def _implicit_gradients(
    flow: Flow, solver: Any, controller: Any, y0: Any, end: float, limit: int
) -> float:
    """Evaluations, counted by a callback, and one dense Jacobian for each step.

    diffrax computes the Jacobian of VeryChord once a step and reports only steps.
    """
    ticks = [0]

    def tick(_: Any) -> None:
        ticks[0] += 1

    solution = diffrax_solve(_Counting(flow, tick), solver, controller, y0, np.float64(end), limit)
    jax.block_until_ready(solution.ys)
    jax.effects_barrier()
    return ticks[0] + PRODUCT * y0.size * int(solution.stats["num_steps"])


# --- torchdiffeq -------------------------------------------------------------------------------


def _torchdiffeq(method: str) -> Rival:
    def prepare(task: Task, rtol: float, seconds: float) -> Run:
        import torch
        import torchdiffeq

        torch.set_num_threads(_threads(task))
        data = {name: torch.from_numpy(np.array(value)) for name, value in task.data.items()}
        y0 = torch.from_numpy(task.y0.copy())

        def run(end: float) -> Answer:
            counted = Counted(lambda t, v: task.velocity(torch, t, v, data), seconds)
            with torch.no_grad():
                try:
                    states = torchdiffeq.odeint(
                        counted, y0, torch.tensor([0.0, end], dtype=torch.float64),
                        rtol=rtol, atol=rtol * task.scale, method=method,
                    )  # fmt: skip
                except Overtime:
                    return Answer(None, None, overtime(seconds, counted.reached, end))
                except AssertionError as error:  # its report of a step that underflows
                    return Answer(None, counted.calls, str(error))
            return Answer(task.read(states[-1].numpy()), counted.calls)

        return run

    return Rival(
        method, "torchdiffeq", prepare,
        "`odeint` without gradients, float64; one thread below 20,000 numbers, else two",
        compiles=False,
    )  # fmt: skip


# --- CVODE -------------------------------------------------------------------------------------


def _cvode(name: str, krylov: bool) -> Rival:
    def prepare(task: Task, rtol: float, seconds: float) -> Run:
        from sksundae.cvode import CVODE, CVODEJacTimes

        flow, rhs = task.flow(), _fastest(task)
        products, jacobians = [0], [0]

        def times(t: float, y: Any, yp: Any, x: Any, out: Any) -> None:
            products[0] += 1
            out[:] = product(flow, np.float64(t), np.array(y), np.array(x))

        def dense(t: float, y: Any, yp: Any, out: Any) -> None:
            jacobians[0] += 1
            out[:] = jacobian(flow, np.float64(t), np.array(y))

        if krylov:
            options = {
                "linsolver": "gmres",
                "krylov_dim": 20,
                "jactimes": CVODEJacTimes(None, times),
            }
        else:
            options = {"linsolver": "dense" if task.size < 100 else "lapackdense", "jacfn": dense}

        def run(end: float) -> Answer:
            products[0] = jacobians[0] = 0
            counted = Counted(rhs, seconds)

            def fill(t: float, y: Any, out: Any) -> None:
                out[:] = counted(t, y)

            solver = CVODE(
                fill, method="BDF", rtol=rtol, atol=rtol * task.scale,
                max_num_steps=100_000_000, **options,
            )  # fmt: skip
            with threadpool_limits(_threads(task)):
                try:
                    solution = solver.solve(np.array([0.0, end / 2, end]), task.y0)
                except Overtime:
                    return Answer(None, None, overtime(seconds, counted.reached, end))
            gradients = counted.calls + PRODUCT * (products[0] + task.size * jacobians[0])
            if not solution.success or solution.t[-1] < end:
                return Answer(None, gradients, str(solution.message))
            return Answer(task.read(solution.y[-1]), gradients)

        return run

    tuning = (
        "BDF with GMRES of 20 vectors, Jacobian products compiled by JAX"
        if krylov
        else "BDF with exact dense Jacobians compiled by JAX; LAPACK from 100 numbers on"
    )
    return Rival(name, "CVODE", prepare, tuning, (lambda t: "") if krylov else _too_dense)


# --- heyoka ------------------------------------------------------------------------------------


def _heyoka() -> Rival:
    def prepare(task: Task, rtol: float, seconds: float) -> Run:
        integrator = heyoka_integrator(task, rtol)

        def run(end: float) -> Answer:
            integrator.time = 0.0
            integrator.state[:] = task.y0
            outcome, *_ = integrator.propagate_until(end)
            if "time_limit" not in str(outcome):
                return Answer(None, None, str(outcome))
            return Answer(task.read(integrator.state.copy()), None)

        return run

    return Rival(
        "Taylor", "heyoka", prepare,
        "`taylor_adaptive`, tol = rtol, expressions of the same right-hand side; its compilation "
        "(seconds to a minute) is not timed; it evaluates no gradients",
        lambda task: "" if task.polynomial else "takes small polynomial right-hand sides only",
    )  # fmt: skip


def heyoka_system(task: Task, parameters: dict[str, Any] | None = None) -> Any:
    """The system of equations in heyoka's expressions, from the hand-written right-hand side."""
    import heyoka

    names = [f"y{i}" for i in range(task.size)]
    symbols = np.array(heyoka.make_vars(*names), dtype=object)
    velocity = task.velocity(np, 0.0, symbols, {**task.data, **(parameters or {})})
    return list(zip(symbols, velocity, strict=True))


def heyoka_integrator(task: Task, rtol: float) -> Any:
    """A Taylor integrator of one trajectory."""
    import heyoka

    return heyoka.taylor_adaptive(heyoka_system(task), task.y0.copy(), tol=rtol)


# --- all ---------------------------------------------------------------------------------------

_ALL = [
    *[_scipy(method) for method in ("RK45", "DOP853", "LSODA", "Radau", "BDF")],
    diffrax_rival(
        "Tsit5", diffrax.Tsit5(), explicit_controller,
        "I controller on problems that are not stiff, else PI (0.2, 0.4)",
    ),
    diffrax_rival(
        "Dopri8", diffrax.Dopri8(), explicit_controller,
        "I controller on problems that are not stiff, else PI (0.2, 0.4)",
    ),
    diffrax_rival(
        "Kvaerno5", diffrax.Kvaerno5(), implicit_controller,
        "PI (0.3, 0.4), VeryChord with the controller's tolerances",
        _too_dense, finest=1e-8,
    ),
    _torchdiffeq("dopri5"),
    _torchdiffeq("dopri8"),
    _cvode("BDF dense", krylov=False),
    _cvode("BDF Krylov", krylov=True),
    _heyoka(),
]  # fmt: skip
_MODULES = {"torchdiffeq": "torchdiffeq", "CVODE": "sksundae", "heyoka": "heyoka"}

PEERS = [
    rival
    for rival in _ALL
    if rival.family not in _MODULES or importlib.util.find_spec(_MODULES[rival.family])
]
#: Packages that are not installed, of which the page says that they were left out.
MISSING = [family for family, name in _MODULES.items() if not importlib.util.find_spec(name)]


def peers(*labels: str) -> list[Rival]:
    """The installed peers with these labels, in this order."""
    found = {rival.label: rival for rival in PEERS}
    known = {rival.label for rival in _ALL}
    if unknown := set(labels) - known:
        raise ValueError(f"unknown peers {sorted(unknown)}; known are {sorted(known)}")
    return [found[label] for label in labels if label in found]
