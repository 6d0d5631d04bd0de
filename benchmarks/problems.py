"""The problems: a flow, a start, a time, and what is compared at that time.

Every rival starts from the same state and is asked for the state at one time, ``t1``, so that no
interpolant enters. flowsim integrates ``field``; the others get ``velocity``, a right-hand side
written by hand (see ``right_hand_sides``), on the flat state.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

import flowsim as fs
from benchmarks import right_hand_sides


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """One integration, whoever does it.

    Attributes
    ----------
    name, title
        A file name, and what the diagram says.
    field, start
        What ``flowsim.integrate`` takes.
    velocity, data
        The same flow on the flat state, ``velocity(xp, t, v, data)``.
    y0
        The flat start, shape (n,).
    t1
        The time at which the states are compared; the run starts at 0.
    scale
        The scale of the start; every rival's absolute tolerance is rtol times it.
    depth, width
        Factors and their size where the state is a stack of square factors, whose product is
        compared; None where the state itself is.
    stiff
        Whether stability holds explicit methods down.
    polynomial
        Whether the right-hand side is a small polynomial, which heyoka's expressions can hold.
    log_time
        Whether ``velocity`` is on the time log(1 + t), written so by hand.
    """

    name: str
    title: str
    field: Any
    start: Any
    velocity: Callable
    data: dict[str, np.ndarray]
    y0: np.ndarray
    t1: float
    scale: float
    depth: int | None = None
    width: int | None = None
    stiff: bool = True
    polynomial: bool = False
    log_time: bool = False

    @property
    def end(self) -> float:
        """The final value of the time that ``velocity`` runs on."""
        return float(np.log1p(self.t1)) if self.log_time else self.t1

    @property
    def size(self) -> int:
        """Numbers in the state."""
        return self.y0.size

    def read(self, v: np.ndarray) -> np.ndarray:
        """What is compared, flat, from a flat state."""
        if self.depth is None:
            return v
        if self.width is None:  # one output: a vector, then scalars
            return v[: -(self.depth - 1)] * np.prod(v[-(self.depth - 1) :])
        d = self.width
        product = v[: d * d].reshape(d, d)
        for j in range(1, self.depth):
            product = v[j * d * d : (j + 1) * d * d].reshape(d, d) @ product
        return product.reshape(-1)

    def numpy(self, t: float, v: np.ndarray) -> np.ndarray:
        """The velocity in NumPy."""
        return self.velocity(np, t, v, self.data)

    def flow(self) -> Flow:
        """The velocity in JAX."""
        return Flow(self.velocity, jax.tree.map(jnp.asarray, self.data))


class Flow(eqx.Module):
    """A hand-written right-hand side on JAX, with its data as arrays that can be exchanged."""

    velocity: Callable = eqx.field(static=True)
    data: dict[str, Any]

    def __call__(self, t: Any, y: Any, args: Any = None) -> Any:
        """The velocity at the flat state y."""
        return self.velocity(jnp, t, y, self.data)


@eqx.filter_jit
def jacobian(flow: Flow, t: Any, y: Any) -> Any:
    """The exact Jacobian, which the implicit peers are given."""
    return jax.jacfwd(lambda v: flow(t, v))(y)


@eqx.filter_jit
def product(flow: Flow, t: Any, y: Any, x: Any) -> Any:
    """The Jacobian times a vector."""
    return jax.jvp(lambda v: flow(t, v), (y,), (x,))[1]


def _digits(widths: tuple[int, ...], examples: int, name: str, title: str, t1: float) -> Task:
    digits = load_digits()
    X, labels = digits.data[:examples] / 16.0, digits.target[:examples]
    data = {"X": X, "Y": np.eye(10)[labels]}
    rng = np.random.default_rng(0)
    parts = []
    for m, n in itertools.pairwise(widths):
        parts += [rng.normal(size=n * m) / np.sqrt(m), np.zeros(n)]
    y0 = np.concatenate(parts)
    velocity = right_hand_sides.network(widths)
    with fs.float64():
        flow = Flow(velocity, jax.tree.map(jnp.asarray, data))
    return Task(name, title, flow, y0, velocity, data, y0, t1, _scale([y0]))


def network(t1: float) -> Task:
    """(a) A 64-32-10 tanh network on 500 digits: 2,410 parameters."""
    return _digits((64, 32, 10), 500, f"network-{t1:.0e}", f"t = {t1:.0e}", t1)


def large_network(t1: float = 100.0) -> Task:
    """(g) A 64-980-940-10 tanh network on 100 digits: 995,250 parameters."""
    return _digits((64, 980, 940, 10), 100, "large", f"995,250 parameters, t = {t1:g}", t1)


#: Learning rates whose 10^6 iterations the gas-ethanol flows run for.
GAS_ETHANOL_RATES = {2: 3.6e-4, 3: 1.75e-4}


def gas_ethanol(depth: int) -> Task:
    """(b) The L4 loss of the gas-ethanol regression, one output, to 10^6 iterations' time."""
    data = fs.datasets.gas_ethanol()
    loss = fs.LpLoss(data.X, data.y, p=4, scale=1.0)
    direction = np.random.default_rng(0).normal(size=128)
    w0 = 0.01 * direction / np.linalg.norm(direction)
    net = fs.DeepLinear((128, *[1] * depth))
    factors = net.balanced(w0)
    return Task(
        name=f"gas-ethanol-{depth}",
        title=f"depth {depth}",
        field=fs.derive(net).lower(loss),
        start=w0,
        velocity=right_hand_sides.last_layers_of_one(depth, 128),
        data={"X": data.X, "y": data.y},
        y0=_flat(factors),
        t1=GAS_ETHANOL_RATES[depth] * 1e6,
        scale=_scale(factors),
        depth=depth,
    )


@dataclasses.dataclass(eq=False)
class _Distance:
    """Half the squared distance from a target, on the observed entries where there is a mask."""

    target: Any
    mask: Any = None

    def __call__(self, W: Any) -> Any:
        error = W - self.target
        return 0.5 * jnp.sum(error**2 if self.mask is None else self.mask * error**2)


#: The deep linear problems: d, N, scale of the start, rank of the start, time.
DEEP_LINEAR = [
    (4, 2, 1.0, 4, 3.0),
    (4, 3, 1e-3, 4, 12.0),
    (16, 3, 1e-3, 8, 12.0),
    (16, 8, 1.0, 16, 1.0),
    (64, 2, 1.0, 64, 3.0),
    (64, 3, 1e-3, 32, 12.0),
    (128, 2, 1.0, 128, 3.0),
    (128, 3, 1.0, 128, 3.0),
]
#: The other combinations, behind --all.
_TIMES = {1.0: {2: 3.0, 3: 3.0, 8: 1.0}, 1e-3: {2: 5.0, 3: 12.0, 8: 80.0}}
MORE_DEEP_LINEAR = [
    (d, N, scale, rank, _TIMES[scale][N])
    for d in (4, 16, 64, 128)
    for N in (2, 3, 8)
    for scale in (1.0, 1e-3)
    for rank in (d, d // 2)
    if not any((d, N, scale, rank) == known[:4] for known in DEEP_LINEAR)
]


def deep_linear(d: int, depth: int, scale: float, rank: int, t1: float) -> Task:
    """(c) Square factors from a balanced start, half the squared distance from a random target.

    W(0) is Gaussian, cut to its rank and scaled to spectral norm ``scale``; the target is Gaussian
    of spectral norm 2.
    """
    rng = np.random.default_rng(0)
    A, target = rng.normal(size=(2, d, d))
    U, s, Vt = np.linalg.svd(A)
    W0 = scale / s[0] * (U[:, :rank] * s[:rank]) @ Vt[:rank]
    target *= 2.0 / np.linalg.norm(target, 2)
    net = fs.DeepLinear((d,) * (depth + 1))
    return Task(
        name=f"deep-linear-{d}-{depth}-{scale:.0e}-{rank}",
        title=f"d = {d}, N = {depth}, scale {scale:g}, rank {rank}",
        start=W0,
        stiff=False,
        polynomial=d <= 4 and depth <= 3,
        **_factor_flow(net, W0, {"target": target}, t1),
    )


def completion(t1: float = 1e4) -> Task:
    """(d) Completion of a 100 x 100 matrix of rank 5 from 2,000 entries, depth 3, scale 1e-3.

    The hidden matrix has entries of unit size; the loss is half the mean square of the observed
    errors; W(0) is Gaussian of spectral norm 1e-3.
    """
    d, rank, observed = 100, 5, 2000
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, d, rank))
    mask = np.zeros(d * d)
    mask[rng.choice(d * d, observed, replace=False)] = 1.0 / observed
    W0 = rng.normal(size=(d, d))
    W0 *= 1e-3 / np.linalg.norm(W0, 2)
    data = {"target": left @ right.T / np.sqrt(rank), "mask": mask.reshape(d, d)}
    return Task(
        name="completion",
        title=f"30,000 parameters, t = {t1:g}",
        start=W0,
        **_factor_flow(fs.DeepLinear((d,) * 4), W0, data, t1),
    )


def _factor_flow(net: Any, W0: np.ndarray, data: dict, t1: float) -> dict[str, Any]:
    with fs.float64():
        loss = _Distance(**jax.tree.map(jnp.asarray, data))
        field = fs.derive(net).lower(loss)
    factors = net.balanced(W0)
    return {
        "field": field,
        "velocity": right_hand_sides.deep_linear(net.depth, len(W0)),
        "data": data,
        "y0": _flat(factors),
        "t1": t1,
        "scale": _scale(factors),
        "depth": net.depth,
        "width": len(W0),
    }


def logistic() -> Task:
    """(f) Logistic regression on 40 separable points in five dimensions, to t = e^50.

    The peers run on the time log(1 + t), written into their right-hand side by hand.
    """
    rng = np.random.default_rng(0)
    points, teacher = rng.normal(size=(40, 5)), rng.normal(size=5)
    Z = points * np.sign(points @ teacher)[:, None]
    with fs.float64():
        field = Flow(right_hand_sides.logistic, {"Z": jnp.asarray(Z)})
    return Task(
        name="logistic",
        title="t = e^50",
        field=field,
        start=np.zeros(5),
        velocity=right_hand_sides.logistic_in_log_time,
        data={"Z": Z},
        y0=np.zeros(5),
        t1=float(np.exp(50.0)),
        scale=1.0,
        log_time=True,
    )


def _flat(factors: Any) -> np.ndarray:
    return np.concatenate([np.ravel(W) for W in factors])


def _scale(parts: Any) -> float:
    """The smallest root mean square among the arrays' nonzero entries, as ``integrate`` takes."""
    return float(min(np.sqrt(np.mean(W[np.nonzero(W)] ** 2)) for W in parts))
