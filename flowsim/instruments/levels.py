r"""The level set of conservation laws: where a flow has to stay, and how far from it a state is.

Every law found by :func:`flowsim.symbolic.conservation.conservation_laws` is a polynomial in the
entries of the factors and in functions of them (roots, quotients, logarithms, ...), and so is its
gradient. All monomials of all laws and gradients stand in one table, evaluated at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from flowsim._checks import check_real
from flowsim._errors import InputError
from flowsim._precision import in_float64
from flowsim._types import FloatArray, PyTree
from flowsim.symbolic.conservation import ConservationLaw

__all__ = ["LevelSet"]

#: Relative size below which an eigenvalue of the laws' Gram matrix is rounding. Laws that depend on
#: each other at a state, as the balances of a network of deficient rank do, have such eigenvalues.
DAMPING = 1e-12
#: Gauss-Newton steps of a correction. They share one factorisation, so that each step takes the
#: error down by a factor of the size of the correction.
STEPS = 3

_FUNCTIONS = {
    "inverse": lambda x: 1.0 / x,
    "exp": jnp.exp,
    "log": lambda x: jnp.log(jnp.abs(x)),
    "tanh": jnp.tanh,
    "sin": jnp.sin,
    "cos": jnp.cos,
    "sign": jnp.sign,
}


class Table(eqx.Module):
    """Polynomials: coefficients (M,), the places of their factors (M, degree), and which sum."""

    coefficients: np.ndarray
    places: np.ndarray
    sums: np.ndarray
    count: int = eqx.field(static=True)

    @classmethod
    def of(cls, polynomials: Sequence[Sequence[tuple[float, list[int]]]], one: int) -> Table:
        """From terms, a coefficient and places each; shorter terms are filled up with a 1."""
        rows = [(i, c, places) for i, terms in enumerate(polynomials) for c, places in terms]
        degree = max((len(places) for _, _, places in rows), default=1)
        filled = [places + [one] * (degree - len(places)) for _, _, places in rows]
        return cls(
            np.array([c for _, c, _ in rows], np.float64),
            np.array(filled, np.int32).reshape(len(rows), degree),
            np.array([i for i, _, _ in rows], np.int32),
            len(polynomials),
        )

    def __call__(self, known: Any) -> Any:
        """The values of the polynomials, shape (count,)."""
        terms = self.coefficients
        for k in range(self.places.shape[1]):
            terms = terms * known[self.places[:, k]]
        return jax.ops.segment_sum(terms, self.sums, self.count, indices_are_sorted=True)


class LevelSet(eqx.Module):
    r"""The states at which laws have the values that a start gives them.

    .. math:: C_i(y) = c_i(t) = C_i(y_0)\, e^{\mathrm{rate}_i (t - t_0)}

    The exact flow of the start never leaves it. A state near it is put back by steps of least norm,

    .. math:: y \leftarrow y - J^\top (J J^\top + \mu)^{-1} (C(y) - c), \qquad J = dC/dy,

    with rows of J scaled to length 1. The damping μ, the square of the correction relative to the
    state and at least 1e-12, keeps directions that the laws do not determine at this state, or only
    to second order, from being moved by rounding errors.

    Attributes
    ----------
    initial, rates
        Values of the m laws at the start, and their rates, shape (m,).
    t0
        The time of the start.
    shapes
        Shapes of the factors.
    names
        Names of the factors.

    References
    ----------
    E. Hairer, C. Lubich and G. Wanner, Geometric Numerical Integration, section IV.4.
    """

    initial: np.ndarray
    rates: np.ndarray
    t0: np.ndarray
    table: Table  # values and nonzero slopes of the laws
    parameters: tuple[np.ndarray, ...]  # of the functions: a root's exponent, a constant's value
    arguments: tuple[Table | None, ...]  # of the functions
    rows: np.ndarray  # where the slopes stand in J
    columns: np.ndarray
    functions: tuple[str, ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    @classmethod
    def of(cls, laws: Sequence[ConservationLaw], start: PyTree, t0: float = 0.0) -> LevelSet:
        """The level set of a start.

        Parameters
        ----------
        laws
            What :func:`flowsim.symbolic.conservation.conservation_laws` found, or some of the laws.
        start
            The factors, in order or by name.
        t0
            Their time.

        Raises
        ------
        InputError
            If there are no laws, or they are laws of other factors, or not finite at the start.

        Examples
        --------
        >>> import numpy as np, flowsim as fs
        >>> laws = fs.conservation_laws(fs.Diagonal(1))
        >>> level = LevelSet.of(laws, (np.array([2.0]), np.array([1.0])))
        >>> moved, distance = level.project(0.0, (np.array([2.0]), np.array([1.01])))
        >>> (moved[0] * moved[1]).round(12).tolist(), round(distance, 4)
        ([2.0], 0.0089)
        """
        laws = tuple(laws)
        if not laws or not all(isinstance(law, ConservationLaw) for law in laws):
            raise InputError(
                "laws holds no conservation law; pass what conservation_laws(parametrization) "
                "returns, where it found any."
            )
        par = laws[0].em.parametrization
        initial = np.array([float(_scalar(law, start)) for law in laws])
        for law in laws:
            other = law.em.parametrization
            if (other.names, other.shapes) != (par.names, par.shapes):
                raise InputError(f"laws belong to different factors: {par.names}, {other.names}.")
        builder = _Builder(par.size)
        values = [builder.terms(law, law.poly) for law in laws]
        slopes, rows, columns = [], [], []
        for row, law in enumerate(laws):
            for i in sorted(law.em.depends(law.poly)):
                terms = builder.terms(law, law.em.derive(law.poly, i))
                if terms:
                    slopes.append(terms)
                    rows.append(row)
                    columns.append(law.em.positions[i])
        return cls(
            initial=initial,
            rates=np.array([law.rate for law in laws], np.float64),
            t0=np.asarray(check_real("t0", t0)),
            table=Table.of([*values, *slopes], par.size),
            parameters=tuple(builder.parameters),
            arguments=tuple(builder.arguments),
            rows=np.array(rows, np.int32),
            columns=np.array(columns, np.int32),
            functions=tuple(builder.functions),
            names=tuple(par.names),
            shapes=tuple(par.shapes),
        )

    def targets(self, t: Any) -> Any:
        """What the laws are worth at time t on the exact flow, shape (m,)."""
        return self.initial * jnp.exp(self.rates * (t - self.t0))

    def values(self, y: PyTree) -> Any:
        """What the laws are worth at a state, shape (m,)."""
        return self._evaluate(self._flat(y))[0]

    def correct(self, t: Any, y: PyTree, steps: int = STEPS) -> tuple[PyTree, Any]:
        """A state on the level set near y, and how far away it is; traceable by JAX.

        Parameters
        ----------
        t
            The time of the state.
        y
            The factors.
        steps
            How many Gauss-Newton steps; after one the distance is that to first order.

        Returns
        -------
        tuple
            The corrected state and the Euclidean length of the correction.
        """
        target = self.targets(t)
        x0 = self._flat(y)
        values, slopes = self._evaluate(x0)
        m, D = len(self.initial), x0.size
        J = jnp.zeros((m, D), x0.dtype).at[self.rows, self.columns].add(slopes)
        lengths = jnp.sqrt(jnp.sum(J**2, axis=1))
        inverse = jnp.where(lengths > 0, 1.0 / jnp.where(lengths > 0, lengths, 1.0), 0.0)
        J = inverse[:, None] * J
        missing = inverse * (values - target)  # in units of the state
        size = jnp.sqrt(jnp.sum(x0**2))
        relative = jnp.sum(missing**2) / jnp.where(size > 0, size, 1.0) ** 2
        # Finite and not above 1, so that a state far from the level set is not made worse.
        damping = m * jnp.clip(relative, DAMPING, 1.0)
        gram = J @ J.T + jnp.where(jnp.isfinite(damping), damping, 1.0) * jnp.eye(m)
        factor = jax.scipy.linalg.cho_factor(gram)
        x = x0
        for step in range(steps):
            if step:
                missing = inverse * (self._evaluate(x)[0] - target)
            x = x - J.T @ jax.scipy.linalg.cho_solve(factor, missing)
        return self._like(x, y), jnp.sqrt(jnp.sum((x - x0) ** 2))

    @in_float64
    def project(self, t: float, y: PyTree) -> tuple[PyTree, float]:
        """What :meth:`correct` returns, compiled and with NumPy arrays."""
        moved, distance = _project(self, np.float64(t), y)
        return jax.tree.map(np.asarray, moved), float(distance)

    @in_float64
    def distances(self, ts: Any, states: PyTree) -> FloatArray:
        """The first-order distances of recorded states, with a leading axis, shape (T,)."""
        return np.asarray(_distances(self, np.asarray(ts, np.float64), states))

    def _evaluate(self, x: Any) -> tuple[Any, Any]:
        """The laws and their slopes that are not identically 0, at the entries in order."""
        known = jnp.concatenate([x, jnp.ones(1, x.dtype)])
        functions = zip(self.functions, self.parameters, self.arguments, strict=True)
        for kind, parameter, argument in functions:
            if argument is None:  # a constant
                value = jnp.asarray(parameter, x.dtype)
            elif kind == "root":
                value = argument(known)[0] ** parameter
            else:
                value = _FUNCTIONS[kind](argument(known)[0])
            known = jnp.concatenate([known, value[None]])
        both = self.table(known)
        return both[: len(self.initial)], both[len(self.initial) :]

    def _flat(self, y: PyTree) -> Any:
        return jnp.concatenate([jnp.ravel(part) for part in self.parts(y)])

    def parts(self, y: PyTree) -> list[Any]:
        """The factors of a state, in order."""
        if isinstance(y, Mapping):
            return [y[name] for name in self.names]
        return list(y) if isinstance(y, Sequence) else [y]

    def _like(self, x: Any, y: PyTree) -> PyTree:
        """The entries in the structure of the state y."""
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = jnp.split(x, np.cumsum(sizes)[:-1])
        parts = [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]
        if isinstance(y, Mapping):  # JAX keeps the leaves of a mapping in the order of its keys
            parts = [
                part for _, part in sorted(zip(self.names, parts, strict=True), key=lambda p: p[0])
            ]
        return jax.tree.unflatten(jax.tree.structure(y), parts)


class _Builder:
    """Places of entries and functions of them, given out as laws call for them."""

    def __init__(self, size: int) -> None:
        self.one = size
        self.functions: list[str] = []
        self.parameters: list[np.ndarray] = []
        self.arguments: list[Table | None] = []
        self._places: dict[Any, int] = {}

    def terms(self, law: ConservationLaw, poly: Any) -> list[tuple[float, list[int]]]:
        """A polynomial's terms, with the functions that it is made of given their places."""
        em = law.em
        poly = em.tower.lift(poly)
        for g in em.tower.needed(poly):
            key = (em.positions, id(em.tower), g)
            if key not in self._places:
                made = em.tower.generators[g]
                constant = made.kind == "constant"
                argument = None if constant else Table.of([self._read(em, made.base)], self.one)
                self._places[key] = self.one + 1 + len(self.functions)
                self.functions.append(made.kind)
                self.parameters.append(
                    np.asarray(float(made.value) if constant else 1 / made.order)
                )
                self.arguments.append(argument)
        return self._read(em, poly)

    def _read(self, em: Any, poly: Any) -> list[tuple[float, list[int]]]:
        terms = []
        for monomial, c in poly.items():
            places: list[int] = []
            for g, e in enumerate(monomial):
                if e and g < em.size:
                    places += [em.positions[g]] * e
                elif e:
                    places += [self._places[em.positions, id(em.tower), g]] * e
            terms.append((float(c.numerator) / float(c.denominator), places))
        return terms


def _scalar(law: ConservationLaw, start: PyTree) -> Any:
    value = law.value(start)
    if np.shape(value) != ():
        raise InputError(
            f"start has leading axes of shape {np.shape(value)}; one start has one level set."
        )
    return value


@eqx.filter_jit
def _project(level: LevelSet, t: Any, y: PyTree) -> Any:
    return level.correct(t, y)


@eqx.filter_jit
def _distances(level: LevelSet, ts: Any, states: PyTree) -> Any:
    return jax.lax.map(lambda r: level.correct(*r, steps=1)[1], (ts, states), batch_size=64)
