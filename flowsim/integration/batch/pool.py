"""Driving the lanes: pages of waiting problems, threads, stiff stragglers, and what went wrong.

Each thread owns a set of lanes and takes pages of problems from one queue. When nothing waits any
more, lanes are gathered into ever smaller sets, so that the last problems do not pay for all lanes.
Problems that stability holds back go on, from where they stand, on lanes of a stiff solver.
"""

# NumPy's stubs are narrower than what is done here.
# pyright: reportArgumentType=false, reportCallIssue=false, reportPossiblyUnboundVariable=false
# pyright: reportIndexIssue=false

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import numpy as np

from flowsim._precision import float64
from flowsim._result import Reason, Result
from flowsim._threads import one_blas_thread
from flowsim._types import FloatArray, PyTree
from flowsim.integration.batch.lanes import (
    DUE,
    IDLE,
    RUNNING,
    SPENT,
    STIFF,
    STUCK,
    Lanes,
    Rules,
    Waiting,
    advance,
    idle_lanes,
)
from flowsim.integration.batch.steppers import LaneField, stepper_of
from flowsim.integration.ending import History, Sample, diagnose_stall
from flowsim.integration.solvers import solver_name

_LARGEST_SET, _SMALLEST_SET = 512, 8  # lanes; sets are powers of eight, few to compile
_NUMBERS_OF_A_SET = 4096  # in the states of a set, whose stages then stay in the cache
_BUFFERED_NUMBERS = 4_000_000  # in the records of one call
_SECONDS_A_CALL = 0.25  # so that Ctrl-C and the clock are answered
_PROBED = 16  # states whose velocities one call evaluates
_JUST_AHEAD = 1e-10  # where a stalled run is probed for a broken field, as a fraction of the span


@dataclasses.dataclass(frozen=True)
class Group:
    """Problems of one structure, as they were asked for.

    Attributes
    ----------
    field
        What their fields have in common, as a field of lanes without arrays of their own.
    own
        The arrays in which they differ, each with a leading axis (n, ...).
    starts
        Flat starts, (n, size).
    t0, ends
        Initial time, and each problem's last time, (n,).
    ts
        Save times, or None to record start and end alone.
    rtol, atol
        Relative tolerance, and absolute ones, (n,).
    max_steps
        Budget of trial steps of each problem.
    """

    field: LaneField
    own: PyTree
    starts: FloatArray
    t0: float
    ends: FloatArray
    ts: FloatArray | None
    rtol: float
    atol: FloatArray
    max_steps: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """With what a group is run, and for how long.

    Attributes
    ----------
    solver
        A solver of diffrax's kind.
    stiff_solver
        What goes on with problems that stability holds back, or None to leave them where they are.
    stability
        The length of the first solver's stability interval.
    worth
        Steps that such a problem must have before it.
    deadline
        The time, of ``time.monotonic``, at which all has to end, or None.
    progress
        Called with the number of problems that are over, or None.
    """

    solver: Any
    stiff_solver: Any
    stability: float
    worth: float
    deadline: float | None = None
    progress: Callable[[int], None] | None = None


@dataclasses.dataclass(frozen=True)
class Log:
    """What happened to each problem of a group.

    Attributes
    ----------
    ts, states
        Times (n, R) and flat states (n, R, size), of which each problem's first ``counts`` hold.
    counts
        Numbers of records, (n,).
    extra
        Whether the last of them is where a problem ended early, and no time that was asked for.
    steps, rejected, work
        Costs: (n,), (n,), and (n, 3) for gradients, Jacobians and Hessian products.
    results
        Why each ended.
    moved
        By problem: the time at which the stiff solver took over.
    """

    ts: FloatArray
    states: FloatArray
    counts: np.ndarray
    extra: np.ndarray
    steps: np.ndarray
    rejected: np.ndarray
    work: np.ndarray
    results: list[Result | None]
    moved: dict[int, float]

    @classmethod
    def of(cls, group: Group) -> Log:
        """An empty log, with the starts in it where they are asked for."""
        n, size = group.starts.shape
        records = 2 if group.ts is None else group.ts.size
        log = cls(
            ts=np.zeros((n, records)),
            states=np.zeros((n, records, size)),
            counts=np.zeros(n, int),
            extra=np.zeros(n, bool),
            steps=np.zeros(n, int),
            rejected=np.zeros(n, int),
            work=np.zeros((n, 3), int),
            results=[None] * n,
            moved={},
        )
        if group.ts is None or group.ts[0] == group.t0:
            log.ts[:, 0], log.states[:, 0], log.counts[:] = group.t0, group.starts, 1
        return log

    def add_final(self, problem: int, t: float, y: FloatArray) -> None:
        """Keep the last state of a problem that ended early."""
        count = self.counts[problem]
        if not count or t > self.ts[problem, count - 1]:
            self.ts[problem, count], self.states[problem, count] = t, y
            self.counts[problem] += 1
            self.extra[problem] = True


@dataclasses.dataclass(frozen=True)
class _Failure:
    """A lane that stopped: the problem, its time, state and remembered steps."""

    problem: int
    t: float
    y: FloatArray
    history: np.ndarray


def run_on_lanes(group: Group, plan: Plan) -> Log:
    """Run a group on this machine's processor: an engine of batches.

    Raises nothing for a problem that fails: the log says what became of each. Ctrl-C and the
    deadline end all that has not ended; what was computed is kept.
    """
    log = Log.of(group)
    n = len(group.starts)
    cursor = np.zeros(n, int) if group.ts is None else np.full(n, int(group.ts[0] == group.t0))
    waiting = Waiting(
        index=np.arange(n),
        t=np.full(n, group.t0),
        end=group.ends,
        y=group.starts,
        cursor=cursor,
        atol=group.atol,
        left=np.full(n, group.max_steps),
        own=group.own,
    )
    for i in np.flatnonzero(group.ends <= group.t0):
        log.results[i] = Result(Reason.completed)
    waiting = _rows(waiting, np.flatnonzero(group.ends > group.t0))
    # Moderately stiff problems tire the explicit pair out a little before they are handed over.
    first = _Pool(group, plan, log, plan.solver, plan.stiff_solver is not None)
    reason = first.run(waiting)
    failures, stiff = first.failures, first.stiff
    if stiff and reason is None:
        second = _Pool(group, plan, log, plan.stiff_solver, False)
        reason = second.run(_stacked(stiff))
        failures += second.failures
    for i in np.flatnonzero([result is None for result in log.results]):
        if reason is not None and i not in {failure.problem for failure in failures}:
            log.results[i] = Result(reason, _reached(log, i, group))
    _diagnose(group, log, failures)
    return log


class _Pool:
    """Lanes of one solver, and the problems that they run."""

    def __init__(self, group: Group, plan: Plan, log: Log, solver: Any, hands_over: bool) -> None:
        self.group, self.plan, self.log = group, plan, log
        self.stepper = stepper_of(solver)
        self.failures: list[_Failure] = []
        self.stiff: list[Waiting] = []
        times = np.array([np.inf]) if group.ts is None else group.ts
        padded = np.full(2 ** int(np.ceil(np.log2(times.size))), np.inf)
        padded[: times.size] = times
        self.rules = Rules(
            np.float64(group.rtol),
            padded,
            np.float64(plan.stability if hands_over else np.inf),
            np.float64(plan.worth),
        )
        self.size = group.starts.shape[1]
        self.lock = threading.Lock()
        self.halt = threading.Event()
        self.first_row = 0
        self.turns: dict[int, threading.Lock] = {}
        self.compiled: set[int] = set()

    def run(self, waiting: Waiting) -> Reason | None:
        """Run all; return why not, where something else than their ends ended it."""
        self.waiting, self.total = waiting, waiting.index.size
        threads = max(1, min(os.cpu_count() or 1, self.total // 8))
        self.lanes = _set_size(-(-self.total // threads), self.size)
        with concurrent.futures.ThreadPoolExecutor(threads) as executor:
            try:
                workers = [executor.submit(self._work) for _ in range(threads)]
                return self._watch(workers)
            except KeyboardInterrupt:
                return Reason.interrupted
            finally:
                self.halt.set()

    def _watch(self, workers: list[concurrent.futures.Future]) -> Reason | None:
        """Wait for the threads, with an eye on the clock."""
        deadline = self.plan.deadline
        reason = None
        pending = set(workers)
        while pending:
            done, pending = concurrent.futures.wait(
                pending, timeout=0.05, return_when=concurrent.futures.FIRST_EXCEPTION
            )
            for worker in done:
                worker.result()
            if self.plan.progress is not None:
                self.plan.progress(sum(result is not None for result in self.log.results))
            if deadline is not None and pending and time.monotonic() > deadline:
                reason = Reason.wall_clock
                self.halt.set()
        return reason

    def _claim(self, rows: int) -> tuple[Waiting, int] | None:
        """The next page of problems and how many there are on it, or None."""
        with self.lock:
            first, self.first_row = self.first_row, min(self.first_row + rows, self.total)
            last = self.first_row
        if first >= last:
            return None
        # The page is always full, its last rows repeated: its shape belongs to the program.
        return _rows(
            self.waiting, np.minimum(np.arange(first, first + rows), last - 1)
        ), last - first

    def _work(self) -> None:
        """What one thread does."""
        with float64(), one_blas_thread():
            self._drive()

    def _drive(self) -> None:
        count = self.lanes
        claimed = self._claim(2 * count)
        if claimed is None:
            return
        page, available = claimed
        taken, allowance = 0, 64
        lanes = idle_lanes(self.group.field, self.stepper, page, count)
        while not self.halt.is_set():
            if taken >= available and (claimed := self._claim(2 * self.lanes)):
                page, available = claimed
                taken = 0
            more = self.first_row < self.total
            share = max(1, count // 8)
            fewest = count - share if more else (count // 8 if count > _SMALLEST_SET else 0)
            began = time.monotonic()
            with self._first_of(count):
                lanes, taken, rows = advance(
                    self.group.field,
                    self.stepper,
                    self.rules,
                    page,
                    np.int64(taken),
                    np.int64(available),
                    lanes,
                    max(2 * count, min(16 * count, _BUFFERED_NUMBERS // self.size)),
                    np.int64(allowance),
                    np.int64(fewest),
                )
            taken = int(taken)
            self._keep(rows)
            seconds = time.monotonic() - began
            allowance = int(np.clip(allowance * _SECONDS_A_CALL / max(seconds, 1e-3), 16, 10**6))
            status = np.asarray(lanes.status)
            if (status >= STUCK).any():
                lanes, status = self._take_out(lanes, status)
            busy = np.flatnonzero((status == RUNNING) | (status == DUE))
            if taken < available or more:
                continue
            if not busy.size:
                return
            smaller = _set_size(busy.size, self.size)
            if smaller < count:
                count = smaller
                lanes = _gathered(lanes, busy, count)
        self._abandon(lanes)

    @contextlib.contextmanager
    def _first_of(self, count: int) -> Iterator[None]:
        """Let one thread alone make the first call with so many lanes, which compiles it."""
        with self.lock:
            turn = self.turns.setdefault(count, threading.Lock())
        if count in self.compiled:
            yield
            return
        with turn:
            yield
            self.compiled.add(count)

    def _keep(self, rows: Any) -> None:
        """Write records to the log."""
        count = int(rows.count)
        tags, ts, ys = (np.asarray(x)[:count] for x in (rows.tags, rows.t, rows.y))
        log, problem = self.log, tags[:, 0]
        place = tags[:, 1] + (self.group.ts is None)
        log.ts[problem, place], log.states[problem, place] = ts, ys
        # Rows of one problem come in order of time: the last assignment is the latest.
        log.counts[problem] = place + 1
        over = tags[tags[:, 2] == 1]
        self._charge(over[:, 0], over[:, 3], over[:, 4], over[:, 5:])
        for i in over[:, 0]:
            log.results[i] = Result(Reason.completed)

    def _charge(self, problem: Any, accepted: Any, rejected: Any, work: Any) -> None:
        self.log.steps[problem] += accepted
        self.log.rejected[problem] += rejected
        self.log.work[problem] += work

    def _take_out(self, lanes: Lanes, status: np.ndarray) -> tuple[Lanes, np.ndarray]:
        """Note what became of the lanes that failed, and free them."""
        out = np.flatnonzero(status >= STUCK)
        ended = _gathered(lanes, out, out.size)
        p = jax.tree.map(lambda x: np.moveaxis(x, -1, 0), ended.problem)
        self._charge(p.index, ended.accepted, ended.rejected, ended.work.T)
        for row, code in enumerate(status[out]):
            problem, t = int(p.index[row]), float(p.t[row])
            if code == STIFF:
                tried = int(ended.accepted[row] + ended.rejected[row])
                one = _rows(p, np.array([row]))
                left = np.maximum(one.left - tried, 1)
                one = dataclasses.replace(one, left=left)
                with self.lock:
                    self.stiff.append(one)
                    self.log.moved[problem] = t
                continue
            self.log.add_final(problem, t, p.y[row])
            if code == SPENT:
                where = f"It had reached t = {t:.6g} of {p.end[row]:.6g}."
                self.log.results[problem] = Result(Reason.budget, where)
                continue
            with self.lock:
                self.failures.append(_Failure(problem, t, p.y[row], ended.history[..., row]))
        status = np.where(status >= STUCK, IDLE, status).astype(np.int32)
        return dataclasses.replace(lanes, status=status), status

    def _abandon(self, lanes: Lanes) -> None:
        """Keep where the lanes stand that were running when all had to end."""
        busy = np.flatnonzero(np.asarray(lanes.status) != IDLE)
        if not busy.size:
            return
        p = _gathered(lanes, busy, busy.size)
        self._charge(p.problem.index, p.accepted, p.rejected, p.work.T)
        for row, problem in enumerate(p.problem.index):
            self.log.add_final(int(problem), float(p.problem.t[row]), p.problem.y[:, row])


def _set_size(wanted: int, size: int) -> int:
    """The smallest set of lanes, a power of eight, that holds so many; bounded by memory."""
    largest = _LARGEST_SET
    while largest > _SMALLEST_SET and largest * size > _NUMBERS_OF_A_SET:
        largest //= 8
    count = _SMALLEST_SET
    while count < min(wanted, largest):
        count *= 8
    return count


def _rows(waiting: Waiting, rows: np.ndarray) -> Waiting:
    return jax.tree.map(lambda x: np.asarray(x)[rows], waiting)


def _stacked(parts: list[Waiting]) -> Waiting:
    return jax.tree.map(lambda *xs: np.concatenate(xs), *parts)


def _gathered(lanes: Lanes, chosen: np.ndarray, count: int) -> Lanes:
    """The chosen lanes as a set of ``count``, filled up with idle ones; NumPy's arrays."""
    picked = np.resize(chosen, count)
    lanes = jax.tree.map(lambda x: np.asarray(x)[..., picked], lanes)
    status = lanes.status.copy()
    status[chosen.size :] = IDLE
    return dataclasses.replace(lanes, status=status)


def _reached(log: Log, i: Any, group: Group) -> str:
    count = log.counts[i]
    reached = log.ts[i, count - 1] if count else group.t0
    return f"It had reached t = {reached:.6g} of {group.ends[i]:.6g}."


@eqx.filter_jit
def _velocities(field: LaneField, t: Any, y: Any) -> Any:
    return field(t, y)


def _probe(group: Group, problems: np.ndarray, t: FloatArray, y: FloatArray) -> FloatArray:
    """Velocities (n, size) of problems at times (n,) and states (n, size)."""
    found = []
    for first in range(0, problems.size, _PROBED):
        rows = np.minimum(np.arange(first, first + _PROBED), problems.size - 1)
        own = jax.tree.map(lambda x, at=problems[rows]: np.moveaxis(x[at], 0, -1), group.own)
        out = _velocities(group.field.of(own), t[rows], np.ascontiguousarray(y[rows].T))
        found.append(np.asarray(out).T[: problems.size - first])
    return np.concatenate(found)


def _diagnose(group: Group, log: Log, failures: list[_Failure]) -> None:
    """Say of each problem that stalled why it did."""
    if not failures:
        return
    problems = np.array([f.problem for f in failures])
    ts, ys = np.array([f.t for f in failures]), np.array([f.y for f in failures])
    starts = group.starts[problems]
    before = _probe(group, problems, np.full(problems.size, group.t0), starts)
    now = _probe(group, problems, ts, ys)
    step = _JUST_AHEAD * np.maximum(group.ends[problems] - group.t0, np.abs(ts))
    with np.errstate(over="ignore", invalid="ignore"):
        ahead = ys + step[:, None] * now
    broken = ~np.isfinite(_probe(group, problems, ts + step, ahead)).all(axis=1)
    for row, failure in enumerate(failures):
        i = failure.problem
        if failure.t == group.t0 and not np.isfinite(before[row]).all():
            log.results[i] = Result(Reason.nonfinite_field, f"It fails at t = {group.t0:g}.")
            continue
        steps = failure.history[np.isfinite(failure.history[:, 0])]
        log.results[i] = diagnose_stall(
            Sample(group.t0, starts[row], before[row]),
            Sample(failure.t, ys[row], now[row]),
            nonfinite_ahead=bool(broken[row]),
            history=History(*steps[np.argsort(steps[:, 0], kind="stable")].T),
        )


def name_of(plan: Plan, log: Log, problem: int) -> str:
    """What a problem was solved with, for its settings."""
    name = solver_name(plan.solver).lower()
    if problem not in log.moved:
        return name
    stiff = solver_name(plan.stiff_solver)
    return f"{name}; {stiff} from t = {log.moved[problem]:.4g}, where stability held the step down"
