"""The loss around a state as its gradient flow shows it: gradients, quadratic models, differences.

Everything is read off the field, F = -∇ℓ: differences of the loss are integrals of the gradient
along a line, which near a stationary point keeps the digits that a subtraction of losses would
lose, and which knows of weight decay. Up to 1500 parameters a quadratic model is an eigenvalue
decomposition, which resolves curvature to rounding and costs less than the thousands of Hessian
products that Lanczos takes to a cluster of small eigenvalues; above, Lanczos and MINRES.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh, minres

from flowsim._types import FloatArray, PyTree
from flowsim.lowering import VectorField

#: Number of parameters up to which the Hessian is formed and decomposed.
LARGEST_DENSE = 1500
_SMALL = 200  # and up to which decompositions cost next to nothing
_EPS = float(np.finfo(float).eps)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_DIFFERENCE = _EPS ** (1 / 3)  # relative step of a central difference
_EXACT, _DIFFERENCED = 1e-12, 1e-7  # eigenvalues resolved, as fractions of the largest modulus
_REGULAR = 3e-12  # least shift of a linear system, as a fraction of the same
_TOLERANCES = (1e-6, 1e-3, 1e-1)  # of ARPACK, tried in turn
_RESTARTS = 30
_BASIS_NUMBERS = 200_000  # held by ARPACK's basis, which has 20 to 80 vectors
_INNER = 100  # MINRES iterations


class Landscape:
    """The loss of a gradient flow in flat coordinates in which its Hessian is symmetric.

    A field with rates κ moves by -κ∇ℓ; in coordinates divided by √κ it is a gradient flow, whose
    Hessian has the rates at which the flow itself grows and decays.
    """

    def __init__(self, field: VectorField, theta: PyTree, t: float) -> None:
        self.field, self.t = field, np.float64(t)
        self.unravel: Any
        flat, self.unravel = ravel_pytree(jax.tree.map(lambda leaf: np.asarray(leaf, float), theta))
        rates = getattr(field, "rates", None)
        leaves = jax.tree.leaves(theta)
        each = np.ones(len(leaves)) if rates is None else np.sqrt(np.asarray(rates, float))
        self.stretch = np.concatenate(
            [np.full(np.size(leaf), s) for leaf, s in zip(leaves, each, strict=True)]
        )
        self.x = np.asarray(flat) / self.stretch
        self.exact = field.backend == "jax"

    def velocity(self, x: FloatArray) -> FloatArray:
        """The velocity of the state, flat, in its own coordinates."""
        at = self.stretch * x
        if self.exact:
            return np.asarray(_velocity(self.field, self.unravel, self.t, at))
        y = jax.tree.map(np.asarray, self.unravel(at))
        leaves = jax.tree.leaves(self.field(float(self.t), y, None))
        return np.concatenate([np.ravel(leaf) for leaf in leaves])

    def gradient(self, x: FloatArray) -> FloatArray:
        """∇ℓ at x."""
        return -self.velocity(x) / self.stretch

    def asymmetry(self) -> float:
        """How far the Jacobian at the state is from symmetric, relatively, by a random pair."""
        u, v = np.random.default_rng(0).normal(size=(2, self.x.size))
        Ju, Jv = self.product(self.x, u), self.product(self.x, v)
        size = np.linalg.norm(u) * np.linalg.norm(Jv) + np.linalg.norm(v) * np.linalg.norm(Ju)
        difference = abs(float(u @ Jv - v @ Ju))
        return difference / float(size) if difference > 0 else 0.0

    def product(self, x: FloatArray, v: FloatArray) -> FloatArray:
        """The Hessian at x times v: exact on JAX, by central differences on NumPy."""
        v = np.asarray(v, float).reshape(x.shape)
        if self.exact:
            out = _product(self.field, self.unravel, self.t, self.stretch * x, self.stretch * v)
            return np.asarray(out) / self.stretch
        size = float(np.linalg.norm(v))
        if size == 0:
            return np.zeros_like(x)
        h = _DIFFERENCE * (float(np.linalg.norm(x)) or 1.0) / size
        return (self.gradient(x + h * v) - self.gradient(x - h * v)) / (2 * h)

    def hessian(self, x: FloatArray) -> FloatArray:
        """The Hessian at x, symmetric."""
        if self.exact:
            J = np.asarray(_jacobian(self.field, self.unravel, self.t, self.stretch * x))
            H = -J * self.stretch / self.stretch[:, None]
        else:
            H = np.array([self.product(x, e) for e in np.eye(x.size)])
        return (H + H.T) / 2

    def model(self, x: FloatArray) -> Model:
        """The quadratic model at x."""
        resolution = _EXACT if self.exact else _DIFFERENCED
        if x.size <= LARGEST_DENSE:
            return DenseModel(self.hessian(x), resolution)
        return KrylovModel(functools.partial(self.product, x), x.size, resolution)

    def curvature(self, x: FloatArray, v: FloatArray) -> float:
        """The second derivative at x along the unit vector v."""
        dense = x.size <= LARGEST_DENSE  # whose program is compiled already
        return float(v @ (self.hessian(x) @ v if dense else self.product(x, v)))

    def rise(self, a: FloatArray, b: FloatArray) -> tuple[float, float]:
        """ℓ(b) - ℓ(a), and the largest |∇ℓ| met on the line between.

        By Gauss-Legendre quadrature of the gradient with eight nodes: exact for a polynomial of
        degree 16.
        """
        along = b - a
        gradients = [self.gradient(a + (1 + node) / 2 * along) for node in _NODES]
        change = sum(w / 2 * float(g @ along) for w, g in zip(_WEIGHTS, gradients, strict=True))
        return float(change), float(max(np.linalg.norm(g) for g in gradients))


class DenseModel:
    """A Hessian with its eigenvalue decomposition."""

    floor_steps = 12

    def __init__(self, H: FloatArray, resolution: float) -> None:
        self.values, self.vectors = np.linalg.eigh(H)
        self.lowest, self.highest = float(self.values[0]), float(self.values[-1])
        self.bottom = self.vectors[:, 0]
        self.looks = 3 if len(H) <= _SMALL else 1
        self.scale = max(abs(self.lowest), abs(self.highest))
        self.cut = resolution * self.scale

    @property
    def counts(self) -> tuple[int, int]:
        """How many eigenvalues are zero to the resolution, and how many are negative beyond it."""
        return int(np.sum(np.abs(self.values) <= self.cut)), int(np.sum(self.values < -self.cut))

    def solve(self, b: FloatArray, shift: float, fixed: FloatArray | None = None) -> FloatArray:
        """(H + shift)^-1 b; orthogonal to ``fixed`` where that is given."""
        x = self._inverse(b, shift)
        if fixed is None:
            return x
        y = self._inverse(fixed, shift)
        across = float(fixed @ y)
        return x - y * (float(fixed @ x) / across) if across else x

    def _inverse(self, b: FloatArray, shift: float) -> FloatArray:
        # What has no curvature is not moved: rounding over a small shift is a long way.
        moving = np.abs(self.values) > self.cut
        scaled = (self.vectors.T @ b) / np.where(moving, self.values + shift, 1.0)
        return self.vectors @ np.where(moving, scaled, 0.0)

    def moved(self, land: Landscape, x: FloatArray) -> DenseModel:
        """The model at another point near by; this one, where a decomposition is dear."""
        if self.bottom.size > _SMALL:
            return self
        return DenseModel(land.hessian(x), self.cut / self.scale)

    def eigenvectors(self) -> list[FloatArray]:
        """A few of the eigenvectors of zero curvature, or that of λ_min."""
        return list(self._null.T[: self.looks])

    def flatten(self, d: FloatArray) -> FloatArray:
        """The unit vector along the part of d in the space of zero curvature, or of λ_min."""
        return unit(self._null @ (self._null.T @ d))

    @property
    def _null(self) -> FloatArray:
        null = self.vectors[:, np.abs(self.values) <= self.cut]
        return null if null.shape[1] else self.vectors[:, :1]


class KrylovModel:
    """A Hessian known by its products: its extreme eigenvalues by Lanczos, systems by MINRES."""

    counts = (None, None)
    looks, floor_steps = 1, 3  # directions of each sort to look along, and work spent on each

    def __init__(
        self, product: Callable[[FloatArray], FloatArray], size: int, resolution: float
    ) -> None:
        self.product, self.size = product, size
        start = np.random.default_rng(0).normal(size=size)
        if not np.any(product(start)):
            self.lowest = self.highest = self.scale = self.cut = 0.0
            self.bottom = unit(start)
            return
        one, along, _ = self._largest(product, start)
        sign = 1.0 if one > 0 else -1.0
        # The other end is the far end of ±(m - H), whose spectrum begins at zero: an end in a
        # cluster near zero never meets a tolerance that is relative to itself.
        _, across, tolerance = self._largest(lambda v: sign * (one * v - product(v)), start)
        other = float(across @ product(across))
        self.lowest, self.highest = min(one, other), max(one, other)
        self.bottom = across if sign > 0 else along
        self.scale = max(abs(one), abs(other))
        self.cut = max(resolution, 2 * tolerance) * self.scale

    def _largest(self, product: Any, start: FloatArray) -> tuple[float, FloatArray, float]:
        basis = int(np.clip(_BASIS_NUMBERS // self.size, 20, 80))
        for tolerance in _TOLERANCES:
            try:
                values, vectors = eigsh(
                    _operator(self.size, product),
                    k=1,
                    which="LM",
                    v0=start,
                    ncv=basis,
                    tol=tolerance,  # pyright: ignore[reportArgumentType]
                    maxiter=_RESTARTS,
                )
            except ArpackNoConvergence:
                if tolerance == _TOLERANCES[-1]:
                    raise
            else:
                return float(values[0]), vectors[:, 0], tolerance
        raise AssertionError("the last tolerance returns or raises")

    def solve(self, b: FloatArray, shift: float, fixed: FloatArray | None = None) -> FloatArray:
        """(H + shift)^-1 b; orthogonal to ``fixed`` where that is given."""
        x = _minres(self.product, b, shift, fixed)
        if fixed is None:
            # MINRES comes to the lowest eigenvalue last, and its vector is at hand.
            left = self.bottom @ (b - self.product(x) - shift * x)
            x = x + self.bottom * left / (self.lowest + shift)
        return x

    def moved(self, land: Landscape, x: FloatArray) -> KrylovModel:
        """The model at another point near by: the same."""
        del land, x
        return self

    def eigenvectors(self) -> list[FloatArray]:
        """The eigenvector of λ_min."""
        return [self.bottom]

    def flatten(self, d: FloatArray) -> FloatArray:
        """The unit vector along d less its part of curvature well above 1e-6 of the largest."""
        if self.scale == 0:
            return unit(d)
        shift = max(1e-6 * self.scale, 2 * abs(min(self.lowest, 0.0)), self.cut)
        return unit(shift * self.solve(d, shift))


def _minres(
    product: Callable[[FloatArray], FloatArray],
    b: FloatArray,
    shift: float,
    fixed: FloatArray | None,
) -> FloatArray:
    def off(v: FloatArray) -> FloatArray:
        return v if fixed is None else v - fixed * (fixed @ v)

    A = _operator(b.size, lambda v: off(product(off(v))) + shift * v)
    return off(minres(A, off(b), rtol=1e-8, maxiter=_INNER)[0])


def _operator(size: int, product: Callable[[FloatArray], FloatArray]) -> Any:
    make_operator: Any = LinearOperator  # whose stub describes its subclasses' constructor
    return make_operator((size, size), matvec=lambda v: product(np.ravel(v)), dtype=float)


Model = DenseModel | KrylovModel


def least_shift(model: Model) -> float:
    """The shift that makes H + shift positive, and keeps rounding from moving null directions."""
    return max(_REGULAR * model.scale, model.cut, 2 * max(0.0, -model.lowest))


def unit(v: FloatArray) -> FloatArray:
    """The unit vector along v; zero for zero."""
    size = np.linalg.norm(v)
    return v / size if size > 0 else v


def rounding(model: Model, x: FloatArray, gradient: float) -> float:
    """The error of a gradient near x that rounding explains."""
    return 64 * _EPS * (model.scale * float(np.linalg.norm(x)) + gradient)


def _flat_velocity(field: VectorField, unravel: Any, t: Any, v: Any) -> Any:
    return ravel_pytree(field(t, unravel(v), None))[0]


_velocity = eqx.filter_jit(_flat_velocity)


@eqx.filter_jit
def _product(field: VectorField, unravel: Any, t: Any, at: Any, v: Any) -> Any:
    return -jax.jvp(lambda u: _flat_velocity(field, unravel, t, u), (at,), (v,))[1]


@eqx.filter_jit
def _jacobian(field: VectorField, unravel: Any, t: Any, at: Any) -> Any:
    return jax.jacfwd(lambda u: _flat_velocity(field, unravel, t, u))(at)
