r"""The ring of a parametrization's entries: exact entrywise work at small concrete sizes.

A parametrization is evaluated once on NumPy object arrays of :class:`Element`, polynomials over the
rationals in the entries of its factors. What is not polynomial adds generators to the ring, each
with its derivative, a polynomial again, and its relation:

======== ============================ ==============================
kind     relation                     derivative
======== ============================ ==============================
root     :math:`r^q = b`              :math:`dr = \tfrac1q\, r s\, db`, :math:`s = 1/b`
inverse  :math:`s b = 1`              :math:`ds = -s^2\, db`
exp                                   :math:`dE = E\, dx`
log                                   :math:`dl = s\, db`, :math:`s = 1/b`
tanh                                  :math:`dT = (1 - T^2)\, dx`
sin, cos :math:`S^2 + C^2 = 1`        :math:`dS = C\, dx`, :math:`dC = -S\, dx`
sign     :math:`\sigma^2 = 1`         0
constant                              0
======== ============================ ==============================

So gradients, Lie brackets and tests for zero stay within one polynomial ring. A test for zero is
settled at random points modulo 2^61 - 1 that satisfy the relations.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportIndexIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false
from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy
from sympy.polys.rings import PolyElement

from flowsim._errors import InputError
from flowsim.problems.parametrizations import Parametrization
from flowsim.symbolic.algebra.elements import Element
from flowsim.symbolic.algebra.modular import PRIME
from flowsim.symbolic.algebra.points import evaluate, random_point
from flowsim.symbolic.algebra.reading import numeric, symbols
from flowsim.symbolic.algebra.tower import Tower

__all__ = ["PRIME", "Element", "EntryMap", "Field", "entry_map"]

#: A vector field on parameter space: one polynomial for each entry.
Field = tuple[PolyElement, ...]

LARGEST_SIZE = 64
LARGEST_TERMS = 50_000


@dataclass(frozen=True, eq=False)
class EntryMap:
    """A parametrization written out entry by entry, exactly.

    Attributes
    ----------
    parametrization : Parametrization
        What was written out.
    names : tuple of str
        Names of the D entries, such as ``"u[0]"``, ``"w2"`` or ``"U[0,1]"``.
    values : tuple of PolyElement
        The m entries of the end-to-end value.
    tower : Tower
        The ring with its generators and relations.
    positions : tuple of int
        Where each entry stands among all entries of the factors, in order: 0, ..., D - 1 unless
        the map was restricted.
    entry_symbols : tuple of sympy.Expr
        The entries in SymPy.
    """

    parametrization: Parametrization
    names: tuple[str, ...]
    values: tuple[PolyElement, ...] = field(repr=False)
    tower: Tower = field(repr=False)
    positions: tuple[int, ...] = field(repr=False)
    entry_symbols: tuple[sympy.Expr, ...] = field(repr=False)

    @property
    def size(self) -> int:
        """The number D of entries."""
        return len(self.names)

    @property
    def ring(self) -> Any:
        """The polynomial ring: the entries first, then the generators added."""
        return self.tower.ring

    @property
    def entries(self) -> tuple[PolyElement, ...]:
        """The entries themselves, as elements of the ring."""
        return tuple(self.ring.gens[: self.size])

    @functools.cached_property
    def jacobian(self) -> tuple[Field, ...]:
        """The gradients of the values: m rows of D polynomials."""
        return tuple(self.gradient(value) for value in self.values)

    def derive(self, poly: PolyElement, i: int) -> PolyElement:
        """The partial derivative with respect to the i-th entry."""
        return self.tower.reduce(self.tower.derive(poly, i))

    def gradient(self, poly: PolyElement) -> Field:
        """The partial derivatives with respect to all entries."""
        return tuple(self.derive(poly, i) for i in range(self.size))

    def along(self, poly: PolyElement, direction: Field) -> PolyElement:
        """The derivative along a field, the sum over i of d_i poly times field[i]."""
        total = self.ring.zero
        for i, component in enumerate(direction):
            if component:
                total += self.tower.derive(poly, i) * self.tower.lift(component)
        return self.tower.reduce(total)

    def bracket(self, X: Field, Y: Field) -> Field:
        """The Lie bracket [X, Y] = DY X - DX Y."""
        return tuple(self.along(y, X) - self.along(x, Y) for x, y in zip(X, Y, strict=True))

    def reduce(self, poly: PolyElement) -> PolyElement:
        """The normal form modulo the relations."""
        return self.tower.reduce(self.tower.lift(poly))

    def random_point(self, rng: np.random.Generator) -> list[int]:
        """Values of all generators modulo PRIME that satisfy the relations."""
        return random_point(self.tower, rng)

    def evaluate(self, poly: PolyElement, point: Sequence[int]) -> int:
        """The value of a polynomial at such a point, modulo PRIME."""
        return evaluate(self.tower, poly, point)

    def is_zero(self, poly: PolyElement, seed: int = 0) -> bool:
        """Whether an element vanishes identically.

        Decided by the normal form where that is 0, else at three random points modulo PRIME; it is
        wrong with a probability of about (degree / 2^61)^3.
        """
        poly = self.reduce(poly)
        if not poly or not self.tower.extended:
            return not poly
        # Coprime integers: a multiple of PRIME would vanish at every point.
        poly = poly.primitive()[1]
        rng = np.random.default_rng(seed)
        return all(self.evaluate(poly, self.random_point(rng)) == 0 for _ in range(3))

    def to_sympy(self, poly: PolyElement) -> sympy.Expr:
        """The element as a SymPy expression in ``u[0]``, ``U[0, 1]``, ``w2``, ..."""
        symbols = self.symbols
        total: list[Any] = []
        for monomial, c in self.tower.lift(poly).terms():
            powers = [symbols[g] ** e for g, e in enumerate(monomial) if e]
            total.append(sympy.Mul(sympy.Rational(int(c.numerator), int(c.denominator)), *powers))
        return sympy.Add(*total)

    @property
    def symbols(self) -> tuple[sympy.Expr, ...]:
        """SymPy's reading of every generator, the entries first."""
        return symbols(self.tower, self.entry_symbols)

    def depends(self, poly: PolyElement) -> set[int]:
        """The entries on which an element depends, by their indices."""
        return self.tower.depends(poly)

    def restricted(self, entries: Sequence[int], values: Sequence[int]) -> EntryMap:
        """Some of the values, in a ring of some of the entries: all on which they depend."""
        tower = Tower(len(entries))
        kept = [tower.adopt(self.tower, self.values[v], entries) for v in values]
        return EntryMap(
            self.parametrization,
            tuple(self.names[i] for i in entries),
            tuple(tower.lift(v) for v in kept),
            tower,
            tuple(self.positions[i] for i in entries),
            tuple(self.entry_symbols[i] for i in entries),
        )

    def numeric(self, poly: PolyElement) -> Callable[[Any], np.ndarray]:
        """The element as a function of the factors, float64 arrays.

        Factors may carry leading axes, the same for all: the value has those axes.
        """
        compiled = numeric(self.tower, poly)
        shapes = self.parametrization.shapes

        def function(theta: Any) -> np.ndarray:
            flat = flat_entries(theta, self.parametrization.names, shapes)
            return compiled([flat[i] for i in self.positions])

        return function


def flat_entries(
    theta: Any, names: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> list[np.ndarray]:
    """The entries of the factors in order, each an array over the leading axes.

    Raises
    ------
    InputError
        If the factors have other shapes, or different leading axes.
    """
    if isinstance(theta, Mapping):
        theta = tuple(theta[name] for name in names)
    elif len(shapes) == 1 and hasattr(theta, "shape"):
        theta = (theta,)
    if len(theta) != len(shapes):
        raise InputError(f"theta holds {len(theta)} factors; {', '.join(names)} are needed.")
    entries: list[np.ndarray] = []
    leading: set[tuple[int, ...]] = set()
    for name, value, shape in zip(names, theta, shapes, strict=True):
        array = np.asarray(value, dtype=np.float64)
        cut = array.ndim - len(shape)
        if cut < 0 or array.shape[cut:] != shape:
            raise InputError(
                f"theta: {name} has shape {array.shape}; {shape} is needed, or that with leading "
                "axes in front."
            )
        leading.add(array.shape[:cut])
        flat = array.reshape(*array.shape[:cut], -1)
        entries.extend(flat[..., i] for i in range(flat.shape[-1]))
    if len(leading) > 1:
        raise InputError(f"theta: the factors have different leading axes, {sorted(leading)}.")
    return entries


def entry_names(par: Parametrization) -> tuple[str, ...]:
    """``u[0]``, ``U[0,1]``, ``w2``, ...: the entries of all factors, the last index fastest."""
    return tuple(
        f"{name}[{','.join(map(str, index))}]" if shape else name
        for name, shape in zip(par.names, par.shapes, strict=True)
        for index in itertools.product(*map(range, shape))
    )


def entry_symbols(par: Parametrization) -> tuple[sympy.Expr, ...]:
    """The entries in SymPy: ``u[0]``, ``U[0, 1]`` and ``w2``, real."""
    symbols: list[sympy.Expr] = []
    for name, shape in zip(par.names, par.shapes, strict=True):
        if shape:
            letter = sympy.IndexedBase(name, real=True)
            symbols.extend(letter[index] for index in itertools.product(*map(range, shape)))
        else:
            symbols.append(sympy.Symbol(name, real=True))
    return tuple(symbols)


def entry_map(par: Parametrization) -> EntryMap:
    r"""Write a parametrization out, entry by entry, in the ring of its entries.

    Parameters
    ----------
    par : Parametrization
        A map with at most 64 parameters.

    Raises
    ------
    InputError
        If it has more parameters, too many monomials, or does what a ring of entries does not know.

    Examples
    --------
    >>> from flowsim.problems.families import ScaledVector
    >>> em = entry_map(ScaledVector(2))
    >>> em.names
    ('w1[0]', 'w1[1]', 'w2')
    >>> em.to_sympy(em.values[1])
    w2*w1[1]
    >>> [str(em.to_sympy(x)) for x in em.jacobian[0]]
    ['w2', '0', 'w1[0]']
    """
    if not isinstance(par, Parametrization):
        raise InputError(f"par is {type(par).__name__}; pass a Parametrization.")
    if par.size > LARGEST_SIZE:
        raise InputError(
            f"par has D = {par.size} parameters; at most {LARGEST_SIZE} are written out entry by "
            "entry. Take smaller widths: what holds at small sizes for the same kind of map "
            "usually shows the pattern."
        )
    tower = Tower(par.size)
    elements = iter(tower.entries())
    factors = []
    for shape in par.shapes:
        array = np.empty(shape, dtype=object)
        for index in np.ndindex(*shape):
            array[index] = next(elements)
        factors.append(array)
    try:
        value = par(tuple(factors))
    except InputError:
        raise
    except Exception as error:  # whatever a map does that a ring of entries does not know
        # The first line: what follows in JAX's messages is advice to who writes JAX.
        complaint = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"par cannot be written out entry by entry: {type(error).__name__}: {complaint}. Write "
            "it with @ * / ** + - and the functions of flowsim.functions, not those of jax.numpy; "
            "constants may be NumPy arrays."
        ) from error
    values = tuple(
        tower.reduce(tower.lift(tower.element(x).poly)) for x in np.ravel(np.array(value, object))
    )
    terms = sum(map(len, values))
    if terms > LARGEST_TERMS:
        raise InputError(
            f"par has D = {par.size} parameters and {terms} monomials; at most {LARGEST_TERMS} are "
            "worked with exactly. Take smaller widths."
        )
    values = tuple(tower.lift(v) for v in values)
    return EntryMap(
        par, entry_names(par), values, tower, tuple(range(par.size)), entry_symbols(par)
    )
