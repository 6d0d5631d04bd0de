r"""Integration by Taylor series of high order, for fields made of arithmetic, through heyoka.

A field that computes with ``+ - * / ** @`` and named functions is run once on symbols, which write
down what is done to them. heyoka (Biscani and Izzo, 2021, arXiv:2105.00800) compiles from that the
recurrences of automatic differentiation for the coefficients of the solution's own series,

.. math:: y(t + h) = \sum_{j=0}^{p} y_j h^j + O(h^{p+1}), \qquad j\,y_j = [F(y)]_{j-1},

and the rest is here. The order p = ceil(1 - ln(rtol)/2) and the step, at which the last two terms
have come down to the tolerance, are those of Jorba and Zou (2005, Experimental Mathematics 14);
the tolerance is ``atol + rtol |y_i|`` entry by entry, where heyoka's own steps take the largest
entry, or one, for all, and lose the escape from a saddle (from a = 1e-10, 0.6 % at rtol 1e-8).
What the coefficients cannot show, a term beyond the last, shows in the defect y' - F(y) at the end
of the step, where the next series begins anyway. The series is the dense output: within a step its
remainder is smaller than at the end.

The method is explicit: on a stiff flow its steps are held to about p / (2 λ_max).
"""

from __future__ import annotations

import functools
import importlib
import math
import numbers
import operator
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from flowsim._errors import InputError
from flowsim._result import Reason, Result
from flowsim._types import FloatArray, PyTree
from flowsim.integration.ending import History, Sample, diagnose_stall
from flowsim.integration.layout import Layout
from flowsim.integration.run import Outcome, Record, Run
from flowsim.lowering.fields import CallableField, FunctionField, VectorField
from flowsim.problems.losses import NumpyFunctionLoss

#: Operations in a field, above which it is refused: some ten seconds and 500 MB of compilation.
LARGEST_FIELD = 50_000
_LARGEST_EXPANDED_POWER = 64
_SMALLEST_STEP = 1e-14  # of the time: a shorter step advances it by rounding only
_REMEMBERED = 32  # steps from whose sizes and speeds a blow-up is read
_ROUNDINGS = 64 * np.finfo(float).eps  # of the largest entry, in a defect
_AGREES_BELOW = 1e-6  # relative difference of the traced field from the field

# What may be done to a symbol: NumPy's name, heyoka's.
_FUNCTIONS = {
    **{name: name for name in ("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan")},
    **{name: name for name in ("sinh", "cosh", "tanh")},
    **{f"arc{name}": f"a{name}" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
}
_ARITHMETIC = ("add", "sub", "mul", "truediv", "pow")


def check_taylor(field: VectorField, start: PyTree) -> None:
    """Refuse a field that Taylor integration cannot take.

    Parameters
    ----------
    field
        A vector field on NumPy, or a function of the user's own.
    start
        The state that it would start from, a pytree of NumPy arrays.

    Raises
    ------
    InputError
        If heyoka is not installed, or the field is not made of arithmetic and named functions
        alone, or of too many of them.
    """
    _heyoka()
    _trace(field, start)


def run_taylor(run: Run) -> Outcome:
    """Integrate a validated run; see :func:`flowsim.integration.integrate`.

    ``stats`` counts ``jets``, the evaluations of all p coefficients: about p²/2 times the work of a
    gradient each, so that ``gradients`` is None. ``compile_seconds`` is zero for a field that is
    still known: the compiled series hold neither the start nor the field's own numbers.

    Raises
    ------
    InputError
        See :func:`check_taylor`; also on another clock, or with a projection.
    """
    for name in ("clock", "fence", "project"):
        if getattr(run, name) is not None:
            raise InputError(
                f"{name} is given, and Taylor series are those of the field as it is, in flow "
                "time. Choose another solver, such as 'dopri8'."
            )
    _heyoka()
    layout = Layout(run.y0)
    system, numbers_ = _trace(run.field, run.y0)
    order = max(2, math.ceil(1.0 - 0.5 * math.log(run.rtol)))
    known = _compiled.cache_info().misses
    began = time.perf_counter()
    jets = _compiled(system, order)
    fresh = _compiled.cache_info().misses > known
    compile_seconds = time.perf_counter() - began if fresh else 0.0
    return _Taylor(run, layout, functools.partial(jets, numbers_), order, compile_seconds).outcome()


class _Taylor:
    """A run as it goes on: time, state and its series."""

    def __init__(
        self,
        run: Run,
        layout: Layout,
        jet: Callable[[float, FloatArray], FloatArray],
        order: int,
        compile_seconds: float,
    ) -> None:
        self.run, self.layout, self.jet, self.order = run, layout, jet, order
        self.t, self.y = run.t0, layout.flatten(run.y0).astype(np.float64)
        self.series = jet(self.t, self.y)  # (size, p + 1)
        self.first = Sample(self.t, self.y, self.series[:, 1])
        self.steps = self.rejected = 0
        self.nonfinite_ahead = False
        self.local_error, self.compile_seconds = 0.0, compile_seconds
        self.record = Record([], [], thin=run.ts is None)
        self.due = np.array([]) if run.ts is None else run.ts  # save times not yet passed
        self.end = run.t1 if run.ts is None else float(run.ts[-1])
        self.stop: Any = run.stop
        self.notes: list[str] = []
        self.history: deque[tuple[float, float, float]] = deque(maxlen=_REMEMBERED)

    def outcome(self) -> Outcome:
        """Go to the end, or as far as possible."""
        if self.run.ts is None or self.due[0] == self.t:
            self.record.add(self.t, self.y)
            self.due = self.due[1:]
        try:
            result = self._start() or self._walk()
        except KeyboardInterrupt:
            result = Result(Reason.interrupted, self._reached())
        if not result.name.startswith("nonfinite") or self.steps:
            self.record.add_final(self.t, self.y)
        stats = {
            "gradients": None,
            "jacobians": 0,
            "hessian_products": 0,
            "jets": self.steps + self.rejected + 1,
            "steps": self.steps,
            "rejected": self.rejected,
            "local_error": self.local_error,
            "compile_seconds": self.compile_seconds,
        }
        chosen = [f"taylor: order {self.order}, as asked for"]
        return Outcome.of(
            self.record, self.layout.size, stats, result, chosen, "taylor", self.notes
        )

    def _start(self) -> Result | None:
        """Refuse a start without a series, and a field that was not what its trace says."""
        if not np.isfinite(self.first.velocity).all():
            return Result(Reason.nonfinite_field, f"It fails at t = {self.t:g}.")
        if not np.isfinite(self.series).all():
            return Result(
                Reason.nonfinite_field,
                f"It is finite at t = {self.t:g}, but has no Taylor series there.",
            )
        state = self.layout.unflatten(self.y)
        velocity = self.layout.flatten(self.run.field(self.t, state, None))
        off = np.abs(velocity - self.first.velocity).max()
        # At rest both are rounding, of sizes of the state.
        if not off <= _AGREES_BELOW * np.abs(velocity).max() + 1e-8 * np.abs(self.y).max():
            raise InputError(
                f"the field gives other values at the start than the formulas read off it, by "
                f"{off:.3g}. It does not depend on t and y by arithmetic alone; choose another "
                "solver, such as 'dopri8'."
            )
        return None

    def _walk(self) -> Result:
        run, length = self.run, np.inf
        while self.t < self.end:
            if self.steps + self.rejected >= run.max_steps:
                return Result(Reason.budget, self._reached())
            if run.out_of_time():
                return Result(Reason.wall_clock, self._reached())
            length = min(length, self._length())
            left = self.end - self.t
            if not (length >= left or length > _SMALLEST_STEP * abs(self.t) + 1e-300):
                return self._stuck()
            if not self._step(min(length, left)):
                length = 0.5 * min(length, left)
                continue
            length = np.inf
            if run.progress and self.steps % 50 == 0:
                run.progress(self.t)
            ended = self._stopped()
            if ended is not None:
                return ended
        return Result(Reason.completed)

    def _length(self) -> float:
        """The step at which the last two terms of the series have come down to the tolerance."""
        p, weights = self.order, self._weights()
        with np.errstate(all="ignore"):
            sizes = np.abs(self.series[:, p - 1 :]).T / weights  # (2, size)
            last, but_one = sizes[1].max(), sizes[0].max()
            lengths = but_one ** (-1.0 / (p - 1)), last ** (-1.0 / p)
        return float(min(lengths)) * math.exp(-0.7 / (p - 1))

    def _step(self, h: float) -> bool:
        """Go on by h, unless the series does not satisfy the equation there."""
        end = self.end if h == self.end - self.t else self.t + h
        self.nonfinite_ahead = False
        with np.errstate(all="ignore"):
            y, velocity = _horner(self.series, h)
            series = self.jet(end, y)
            defect = h * np.abs(series[:, 1] - velocity)  # about p + 1 times the local error
            largest = max(np.abs(y).max(), h * np.abs(velocity).max())
            bound = (self.order + 1) * self._weights() + _ROUNDINGS * largest
            self.nonfinite_ahead = not np.isfinite(series).all()
            if self.nonfinite_ahead or not (defect <= bound).all():
                self.rejected += 1
                return False
        size = _norm(y)
        self.local_error += _norm(defect) / (self.order + 1) / size if size > 0 else 0.0
        if self.run.ts is None:
            self.record.add(end, y)
        while self.due.size and self.due[0] <= end:
            due, self.due = float(self.due[0]), self.due[1:]
            self.record.add(due, y if due == end else _horner(self.series, due - self.t)[0])
        self.t, self.y, self.series = end, y, series
        self.steps += 1
        self.history.append((end, size, _norm(series[:, 1])))
        return True

    def _weights(self) -> FloatArray:
        return self.run.atol + self.run.rtol * np.abs(self.y)

    def _stopped(self) -> Result | None:
        """What the stop says of an accepted step; see :mod:`flowsim.integration.stops`."""
        state, velocity = map(self.layout.unflatten, (self.y, self.series[:, 1]))
        if self.stop is None or not bool(self.stop.fires(self.t, state, velocity)):
            return None
        result, self.stop, note = self.stop.confirm(self.run.field, self.t, state)
        if note:
            self.notes.append(note)
        return result

    def _stuck(self) -> Result:
        ts, sizes, speeds = np.array(self.history).reshape(-1, 3).T
        return diagnose_stall(
            self.first,
            Sample(self.t, self.y, self.series[:, 1]),
            nonfinite_ahead=self.nonfinite_ahead,
            history=History(ts, sizes, speeds),
        )

    def _reached(self) -> str:
        return self.run.reached(self.t, self.layout.unflatten(self.y))


def _norm(v: FloatArray) -> float:
    """The Euclidean norm, without overflow."""
    largest = float(np.abs(v).max(initial=0.0))
    return largest * float(np.linalg.norm(v / largest)) if largest > 0 else 0.0


def _horner(series: FloatArray, h: float) -> tuple[FloatArray, FloatArray]:
    """Value and derivative at h of the polynomials with these coefficients, (size, p + 1)."""
    value, slope = series[:, -1], np.zeros_like(series[:, -1])
    for coefficient in series[:, -2::-1].T:
        slope = slope * h + value
        value = value * h + coefficient
    return value, slope


# --- from a field to a system of formulas ---------------------------------------------------------


class _System(NamedTuple):
    """A traced field: one operation a step, and the places of the velocity's entries.

    It is known by what it computes, so that fields that do the same share a compiled program.
    """

    size: int
    steps: tuple[tuple, ...]
    outputs: tuple[int, ...]


class _TooLarge(Exception):
    """Raised out of a trace that has grown too long."""


class _Tape:
    """The operations written down so far, each distinct one once."""

    def __init__(self) -> None:
        self.places: dict[tuple, int] = {}

    def symbol(self, *step: Any) -> _Symbol:
        if len(self.places) > LARGEST_FIELD:
            raise _TooLarge
        return _Symbol(self, self.places.setdefault(step, len(self.places)))

    def lift(self, x: Any) -> Any:
        """A symbol for a number; None for what is neither."""
        if isinstance(x, _Symbol):
            return x
        if isinstance(x, numbers.Real) and math.isfinite(x):
            return self.symbol("number", float(x))
        return None

    def array(self, kind: str, shape: tuple[int, ...], first: int) -> np.ndarray:
        """An array of the symbols (kind, first), (kind, first + 1), ..."""
        entries = np.empty(math.prod(shape), dtype=object)
        entries[:] = [self.symbol(kind, first + i) for i in range(entries.size)]
        return entries.reshape(shape)


class _Symbol:
    """A number that is not known yet. NumPy's arrays of objects compute with it."""

    __slots__ = ("place", "tape")

    def __init__(self, tape: _Tape, place: int) -> None:
        self.tape, self.place = tape, place

    def __neg__(self) -> _Symbol:
        return self.tape.symbol("neg", self.place)

    def __pos__(self) -> _Symbol:
        return self

    def __pow__(self, exponent: Any) -> Any:
        # heyoka divides by the base of a power, which may be zero; a product may not.
        n = _whole(exponent)
        if n is None or not 0 < abs(n) <= _LARGEST_EXPANDED_POWER:
            return _operation("pow", self, exponent)
        power: Any = self
        for digit in f"{abs(n):b}"[1:]:
            power = power * power * self if digit == "1" else power * power
        return power if n > 0 else 1.0 / power

    def __bool__(self) -> bool:
        raise TypeError("a condition depends on the state or the time")

    def __eq__(self, other: object) -> bool:
        raise TypeError("a comparison depends on the state or the time")

    __ne__ = __eq__
    __hash__ = None  # type: ignore[assignment]


def _whole(x: Any) -> int | None:
    return int(float(x)) if isinstance(x, numbers.Real) and float(x).is_integer() else None


def _operation(name: str, left: Any, right: Any) -> Any:
    tape = left.tape if isinstance(left, _Symbol) else right.tape
    a, b = tape.lift(left), tape.lift(right)
    # Arrays take the operation over, entry by entry.
    return NotImplemented if a is None or b is None else tape.symbol(name, a.place, b.place)


def _give_operators() -> None:
    for name in _ARITHMETIC:
        if name != "pow":
            setattr(_Symbol, f"__{name}__", lambda a, b, n=name: _operation(n, a, b))
        setattr(_Symbol, f"__r{name}__", lambda a, b, n=name: _operation(n, b, a))
    for name in _FUNCTIONS:  # NumPy calls x.exp() for np.exp of an object
        setattr(_Symbol, name, lambda a, n=name: a.tape.symbol(n, a.place))


_give_operators()


def _trace(field: VectorField, start: PyTree) -> tuple[_System, FloatArray]:
    """The formulas of a field, and the values of the arrays that it holds."""
    plain = isinstance(field, CallableField)
    if isinstance(field, FunctionField) or isinstance(
        getattr(field, "loss", None), NumpyFunctionLoss
    ):
        raise InputError(
            "the field comes from a JAX function, which solver='taylor' cannot read. Give the loss "
            "as LpLoss with an even p, or the field as a function (t, y, args) of NumPy's "
            "arithmetic; or choose another solver, such as 'dopri8'."
        )
    if field.backend == "jax" and not plain:
        raise InputError(
            "the field was lowered to JAX, which solver='taylor' cannot read. Lower it to NumPy: "
            "law.lower(loss, backend='numpy')."
        )
    tape, layout = _Tape(), Layout(start)
    values: list[FloatArray] = [np.empty(0)]

    def lift(leaf: Any) -> Any:
        if not isinstance(leaf, np.ndarray | jax.Array) or leaf.dtype.kind != "f":
            return leaf
        values.append(np.ravel(np.asarray(leaf, np.float64)))
        return tape.array("parameter", leaf.shape, sum(v.size for v in values[:-1]))

    try:
        state = tape.array("state", (layout.size,), 0)
        velocity = jax.tree.map(lift, field)(tape.symbol("time"), layout.unflatten(state), None)
        entries = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(velocity)])
        lifted = [tape.lift(entry) for entry in entries]
        if len(lifted) != layout.size or any(x is None for x in lifted):
            raise TypeError("it does not return a finite number for each number of the state")
    except _TooLarge:
        raise InputError(
            f"the field takes more than {LARGEST_FIELD} operations on numbers, which solver="
            "'taylor' would be too long in compiling. It is for small systems (a product of two "
            "matrices 16 × 16 is about the limit); choose another solver, such as 'dopri8'."
        ) from None
    except Exception as error:  # whatever the field raises is the complaint shown
        if field.strategy == "spectral":
            what, remedy = "a singular value decomposition or a norm", "strategy='factors'"
            raise InputError(
                f"the spectral form of the law holds {what}, which solver='taylor' cannot read. "
                f"Lower the law with {remedy}."
            ) from error
        raise InputError(
            f"the field cannot be read by solver='taylor': {type(error).__name__}: {error}. It has "
            "to be made of + - * / ** @, NumPy's sums and einsum, and "
            f"{', '.join(_FUNCTIONS)}; without comparisons, absolute values (an LpLoss whose p is "
            "not even holds one), decompositions, or functions of JAX or math. Otherwise choose "
            "another solver, such as 'dopri8'."
        ) from error
    system = _System(layout.size, tuple(tape.places), tuple(x.place for x in lifted))
    return system, np.concatenate(values)


# --- from formulas to compiled series -------------------------------------------------------------


class _Jets:
    """Compiled series: ``(numbers, t, y) -> coefficients``, shape (size, p + 1)."""

    def __init__(self, integrator: Any) -> None:
        self.integrator, self.lock = integrator, threading.Lock()

    def __call__(self, values: FloatArray, t: float, y: FloatArray) -> FloatArray:
        with self.lock:  # heyoka's integrator is one state, whoever asks
            self.integrator.pars[:] = values[: self.integrator.pars.size]
            self.integrator.time, self.integrator.state[:] = t, y
            self.integrator.step(max_delta_t=0.0, write_tc=True)
            return self.integrator.tc.copy()


@functools.lru_cache(maxsize=16)
def _compiled(system: _System, order: int) -> _Jets:
    hy = _heyoka()
    state = hy.make_vars(*(f"y{i}" for i in range(system.size)))
    state = state if system.size > 1 else [state]
    make: dict[str, Callable[..., Any]] = {
        "state": lambda i: state[i],
        "parameter": lambda i: hy.par[i],
        "time": lambda: hy.time,
        "number": hy.expression,
    }
    done: list[Any] = []
    for name, *operands in system.steps:
        if name in make:
            done.append(make[name](*operands))
        else:
            call = getattr(hy, _FUNCTIONS[name]) if name in _FUNCTIONS else getattr(operator, name)
            done.append(call(*(done[i] for i in operands)))
    # Compact mode costs twice the time of a jet, and 10 to 100 times less of compilation.
    return _Jets(
        hy.taylor_adaptive(
            [(x, done[i]) for x, i in zip(state, system.outputs, strict=True)],
            np.zeros(system.size),
            tol=math.exp(1.0 - 2.0 * (order - 1)),  # of which heyoka's rule makes this order
            compact_mode=True,
        )
    )


def _heyoka() -> Any:
    try:
        return importlib.import_module("heyoka")
    except ImportError:
        raise InputError(
            "solver='taylor' needs heyoka, which is not installed: pip install 'flowsim[taylor]'."
        ) from None
