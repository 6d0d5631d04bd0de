"""(e) A thousand trajectories of a deep linear network, d = 4, from random starts.

Each lane minimises half the squared distance of its product from a target of spectral norm 2,
times a curvature of its own: 1 in a plain lane, 100 in a stiff one (one lane in 64), -1 in one that
blows up (one in a hundred). Factors are Gaussian of standard deviation 0.7, t = 5. The error is the
root mean square over every seventh lane of the relative error of the product, without the lanes
that blow up or that the rival lost; the lanes lost are counted. LSODA is called lane by lane, on
125 lanes, and its time multiplied by eight. Times are for the thousand lanes, after compilation.
"""

from __future__ import annotations

import dataclasses
import functools
import time
import warnings
from collections.abc import Callable

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate

import flowsim as fs
from benchmarks import right_hand_sides
from benchmarks.measure import Point, cheapest, medians, timed
from benchmarks.peers import MISSING, explicit_controller, heyoka_system, implicit_controller, peers
from benchmarks.problems import Flow, Task
from benchmarks.references import Reference, load
from benchmarks.section import Bar, Section

TITLE = "A thousand trajectories"
_LANES, _D, _T1 = 1000, 4, 5.0
_EVERY = 7  # lanes of which a reference is kept
_LOOPED = 125  # lanes that a loop in Python is timed on
_RTOLS = (1e-4, 1e-6, 1e-8)
_ERROR = 1e-5
_LSODA, _VMAP = "SciPy LSODA loop", ("diffrax Tsit5 vmap", "diffrax Dopri8 vmap")


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Starts, shape (1000, n), and curvatures, shape (1000,), of lanes with one target."""

    name: str
    title: str
    depth: int
    starts: np.ndarray
    curvatures: np.ndarray
    target: np.ndarray
    velocity: Callable
    most_steps: int

    def lane(self, i: int) -> Task:
        """One lane as a task of its own."""
        data = {"target": self.target, "curvature": self.curvatures[i]}
        return Task(
            self.name, "", None, None, self.velocity, data, self.starts[i], _T1, scale=1.0,
            depth=self.depth, width=_D, stiff=False, polynomial=True,
        )  # fmt: skip

    def products(self, states: np.ndarray) -> np.ndarray:
        """The products, shape (lanes, 16), from flat states."""
        read = self.lane(0).read
        return np.array([read(state) for state in states])


#: A run gives the products of the first so many lanes, NaN where a lane was lost.
Run = Callable[[], np.ndarray]
Prepare = Callable[[Batch, float], Run]


def batch(depth: int, kind: str = "plain") -> Batch:
    """A thousand lanes, all plain, or with stiff ones, or with ones that blow up."""
    rng = np.random.default_rng(depth)
    starts = 0.7 * rng.normal(size=(_LANES, depth * _D * _D))
    target = rng.normal(size=(_D, _D))
    target *= 2.0 / np.linalg.norm(target, 2)
    curvatures = np.ones(_LANES)
    if kind == "stiff":
        curvatures[::64] = 100.0
    if kind == "blow-up":
        curvatures[50::100] = -1.0
    kinds = {"plain": "", "stiff": ", stiff lanes", "blow-up": ", 1 % blow up"}
    return Batch(
        f"batch-{depth}-{kind}", f"N = {depth}{kinds[kind]}", depth, starts, curvatures, target,
        right_hand_sides.deep_linear(depth, _D), most_steps=2**16 if kind == "stiff" else 2**11,
    )  # fmt: skip


# --- rivals -------------------------------------------------------------------------------------


def _flowsim(lanes: Batch, rtol: float) -> Run:
    """``integrate`` over starts, and over fields too where the lanes' curvatures differ."""
    curvatures = np.unique(lanes.curvatures)
    fields = [Flow(lanes.velocity, {"target": lanes.target, "curvature": c}) for c in curvatures]
    if len(fields) == 1:
        given, starts = fields[0], lanes.starts
    else:
        given = [fields[i] for i in np.searchsorted(curvatures, lanes.curvatures)]
        starts = list(lanes.starts)

    def run() -> np.ndarray:
        flows = fs.integrate(given, starts, _T1, batch=True, rtol=rtol, throw=False)
        final = np.ma.filled(np.ma.asarray(flows.final), np.nan)
        return lanes.products(final)

    return run


def _lsoda(lanes: Batch, rtol: float) -> Run:
    def run() -> np.ndarray:
        values = []
        for i in range(_LOOPED):
            lane = lanes.lane(i)
            deadline = time.perf_counter() + 1.0  # LSODA does not return from a blow-up

            def velocity(t: float, v: np.ndarray, lane: Task = lane, deadline: float = deadline):
                if time.perf_counter() > deadline:
                    raise TimeoutError
                return lane.numpy(t, v)

            try:
                solution = scipy.integrate.solve_ivp(
                    velocity, (0, _T1), lane.y0, "LSODA", t_eval=[_T1], rtol=rtol, atol=rtol
                )
                values.append(lane.read(solution.y[:, -1]))
            except TimeoutError:
                values.append(np.full(_D * _D, np.nan))
        return np.array(values)

    return run


@eqx.filter_jit
def _vmapped(velocity, solver, controller, starts, curvatures, target, most_steps):
    def one(start, curvature):
        flow = Flow(velocity, {"target": target, "curvature": curvature})
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(flow), solver, 0.0, _T1, None, start, stepsize_controller=controller,
            max_steps=most_steps, adjoint=diffrax.ForwardMode(), throw=False,
        )  # fmt: skip
        fine = solution.result == diffrax.RESULTS.successful
        return jnp.where(fine, solution.ys[-1], jnp.nan)

    return jax.vmap(one)(starts, curvatures)


def _diffrax(solver, controller) -> Prepare:
    def prepare(lanes: Batch, rtol: float) -> Run:
        control = controller(np.float64(rtol), np.float64(rtol), False)
        arrays = [jnp.asarray(a) for a in (lanes.starts, lanes.curvatures, lanes.target)]

        def run() -> np.ndarray:
            states = _vmapped(lanes.velocity, solver, control, *arrays, lanes.most_steps)
            return lanes.products(np.asarray(states))

        return run

    return prepare


def _heyoka(ensemble: bool) -> Prepare:
    """Batch mode: as many lanes as the processor's vectors hold, one batch after another or, as an
    ensemble, on all cores."""

    def prepare(lanes: Batch, rtol: float) -> Run:
        import heyoka

        width = heyoka.recommended_simd_size()
        integrator = _taylor(lanes, rtol)

        def begin(ta, k: int):
            ta.set_time(0.0)
            ta.state[:] = lanes.starts[k * width : (k + 1) * width].T
            ta.pars[:] = lanes.curvatures[None, k * width : (k + 1) * width]
            return ta

        def finished(ta) -> np.ndarray:
            fine = [str(result[0]).endswith("time_limit") for result in ta.propagate_res]
            return np.where(fine, ta.state, np.nan).T

        def run() -> np.ndarray:
            count = _LANES // width
            if ensemble:
                done = heyoka.ensemble_propagate_until_batch(integrator, _T1, count, begin)
                states = [finished(result[0]) for result in done]
            else:
                states = []
                for k in range(count):
                    begin(integrator, k).propagate_until(_T1)
                    states.append(finished(integrator))
            return lanes.products(np.concatenate(states))

        return run

    return prepare


@functools.lru_cache(maxsize=4)
def _taylor(lanes: Batch, rtol: float):
    import heyoka

    width = heyoka.recommended_simd_size()
    system = heyoka_system(lanes.lane(0), {"curvature": heyoka.par[0]})
    state = np.ascontiguousarray(lanes.starts[:width].T)
    return heyoka.taylor_adaptive_batch(system, state, tol=rtol, pars=np.ones((1, width)))


#: flowsim's ways to integrate a batch; a new one is one line.
OURS: dict[str, Prepare] = {"flowsim auto": _flowsim}
PEERS: dict[str, Prepare] = {
    _LSODA: _lsoda,
    _VMAP[0]: _diffrax(diffrax.Tsit5(), explicit_controller),
    _VMAP[1]: _diffrax(diffrax.Dopri8(), explicit_controller),
    "diffrax Kvaerno5 vmap": _diffrax(diffrax.Kvaerno5(), implicit_controller),
    "heyoka batch": _heyoka(ensemble=False),
    "heyoka ensemble of batches": _heyoka(ensemble=True),
}


# --- the part -----------------------------------------------------------------------------------


def batches() -> list[Batch]:
    """The five batches."""
    plain = [batch(depth) for depth in (2, 3, 4)]
    return [*plain, batch(2, "stiff"), batch(2, "blow-up")]


def measure(everything: bool = False) -> Section:
    """Time and error of a thousand lanes, and lanes lost."""
    section, lost = Section(), []
    for lanes in batches():
        stiff = lanes.curvatures.max() > 1
        section.titles[lanes.name] = lanes.title
        reference = load(lanes)
        blown = np.isnan(reference.value).reshape(-1, _D * _D).any(axis=1)
        print(f"-- {lanes.name}", flush=True)
        found = []
        for label, prepare in {**OURS, **PEERS}.items():
            if label.split()[0] in MISSING or ("Kvaerno5" in label and not stiff):
                continue
            # A vmap that takes minutes is measured once.
            long = "vmap" in label and (stiff or lanes.depth == 4)
            for rtol in _RTOLS[1:2] if long else _RTOLS:
                point, missing, run = _first(lanes, label, prepare, rtol, reference, blown)
                found.append((point, run))
                print("  ", label, rtol, point.error, point.seconds, missing, flush=True)
                if rtol == _RTOLS[1]:
                    lost.append({"lanes": lanes.title, "rival": label, "lost of 1,000": missing})
        short = [i for i, (p, _) in enumerate(found) if p.seconds and p.seconds < 1.5]
        points = [point for point, _ in found]
        for i, seconds in zip(short, medians([found[i][1] for i in short]), strict=True):
            scale = _LANES / _LOOPED if points[i].rival == _LSODA else 1
            points[i] = dataclasses.replace(points[i], seconds=seconds * scale)
        section.points += points
        _bars(section, lanes, stiff)
    section.tables.append(("Lanes lost at rtol 1e-6, beyond those that blow up", lost))
    return section


def _first(lanes, label, prepare, rtol, reference, blown):
    run = prepare(lanes, rtol)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if label != _LSODA:
            run()
        seconds, products = timed(run)
    scale = _LANES / len(products)
    kept = products[::_EVERY]
    wanted = reference.value.reshape(-1, _D * _D)[: len(kept)]
    errors = np.linalg.norm(kept - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
    errors = errors[np.isfinite(errors)]
    error = float(np.sqrt(np.mean(errors**2))) if errors.size else None
    gone = np.isnan(products).any(axis=1)
    missing = round(scale * int(gone.sum())) - int((lanes.curvatures < 0).sum())
    point = Point(lanes.name, label, rtol, error, seconds * scale, None, f"{missing} lanes lost")
    return point, max(missing, 0), run


def _bars(section: Section, lanes: Batch, stiff: bool) -> None:
    points, name = section.points, lanes.name
    ours = cheapest(points, name, list(OURS), _ERROR, "seconds")
    rows = [([_LSODA], 40.0), (_VMAP, 20.0 if stiff else 5.0)]
    if lanes.depth == 2:
        rows.append(([label for label in PEERS if label.startswith("heyoka")], 1.0))
    for group, asked in rows:
        theirs = cheapest(points, name, group, _ERROR, "seconds")
        section.bars.append(
            Bar(
                f"(e) {lanes.title}",
                f"seconds of {' or '.join(group)} over flowsim's at error {_ERROR:g}",
                asked,
                True,
                None if ours is None or theirs is None else theirs[1] / ours[1],
                f"best: {theirs[0]}" if theirs else "not reached",
            )
        )


def references() -> dict:
    """The batches and how their references are made."""

    def make(lanes: Batch) -> Reference:
        (dop853,) = peers("SciPy DOP853")
        good = np.flatnonzero(lanes.curvatures > 0)
        others = np.full((_LANES, _D * _D), np.nan)
        arrays = [jnp.asarray(a) for a in (lanes.starts[good], lanes.curvatures[good])]
        control = explicit_controller(np.float64(1e-12), np.float64(1e-12), False)
        others[good] = lanes.products(
            np.asarray(
                _vmapped(lanes.velocity, diffrax.Dopri8(), control, *arrays, lanes.target, 2**17)
            )
        )
        values = np.full_like(others, np.nan)
        for i in good[good % _EVERY == 0]:
            values[i] = dop853.prepare(lanes.lane(i), 1e-12, 1e5)(_T1).value
        values, others = values[::_EVERY], others[::_EVERY]
        distances = np.linalg.norm(values - others, axis=1) / np.linalg.norm(values, axis=1)
        made = (
            "lane by lane by SciPy DOP853 at rtol 1e-12, against diffrax Dopri8 at 1e-12; the "
            "largest of the lanes' distances"
        )
        value = values.ravel()
        norm = float(np.linalg.norm(value[np.isfinite(value)]))
        return Reference(value, norm, value.size, float(np.nanmax(distances)), made)

    return {lanes: make for lanes in batches()}
