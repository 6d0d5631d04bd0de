"""Conservation laws as values: what is conserved, how it reads, and what it is worth at a point."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from sympy.polys.rings import PolyElement

from flowsim._errors import InputError
from flowsim.symbolic import printing
from flowsim.symbolic.algebra.ring import EntryMap
from flowsim.symbolic.conservation.components import Component

__all__ = ["ConservationLaw", "ConservationLaws"]


@dataclass(frozen=True, eq=False)
class ConservationLaw:
    r"""One function of the factors that gradient flow leaves unchanged, whatever the loss.

    With weight decay λ it changes as :math:`h(t) = h(0)\, e^{\mathrm{rate}\, t}`.

    Attributes
    ----------
    name : str
        Its name: an entry such as ``"(U^T U - V^T V)[0,1]"``, else the expression.
    expression : sympy.Expr
        The law, in symbols ``u[0]``, ``U[0, 1]``, ``w2``.
    kind : str
        "polynomial", "rational", "algebraic" (with roots), "logarithmic" or "transcendental".
    entries : tuple of str
        The parameters that it is a function of.
    degree : Fraction or None
        The degree of homogeneity; None where it is not homogeneous.
    rate : float
        0 without weight decay, -degree * λ with it, where the factors learn at one rate.
    """

    name: str
    expression: sympy.Expr
    kind: str
    entries: tuple[str, ...]
    degree: Fraction | None
    rate: float
    em: EntryMap = field(repr=False)
    poly: PolyElement = field(repr=False)

    def value(self, theta: Any) -> np.ndarray:
        """The law at factors, float64 arrays, with leading axes such as time or without.

        Logarithms are those of absolute values: a parameter does not change its sign where its
        logarithm is conserved.

        Raises
        ------
        InputError
            If the factors have other shapes, or the law is not finite there.
        """
        return self._checked(self.poly, theta)

    def scale(self, theta: Any) -> np.ndarray:
        """The sum of the absolute values of the law's terms, with which its rounding scales."""
        terms = [self.em.ring.from_dict({m: c}) for m, c in self.em.tower.lift(self.poly).items()]
        return np.sum([np.abs(self._checked(term, theta)) for term in terms], axis=0)

    def gradient(self, theta: Any) -> tuple[np.ndarray, ...]:
        """The derivatives with respect to the factors, arrays of the factors' shapes."""
        par = self.em.parametrization
        columns: list[Any] = [0.0] * par.size
        for i, position in enumerate(self.em.positions):
            columns[position] = self._checked(self.em.derive(self.poly, i), theta)
        flat = np.stack(np.broadcast_arrays(*columns), axis=-1)
        sizes = [int(np.prod(shape)) for shape in par.shapes]
        parts = np.split(flat, np.cumsum(sizes)[:-1], axis=-1)
        return tuple(
            part.reshape((*part.shape[:-1], *shape))
            for part, shape in zip(parts, par.shapes, strict=True)
        )

    def _sympy_(self) -> sympy.Expr:
        """The expression, wherever SymPy is given the law."""
        return self.expression

    def latex(self) -> str:
        """The expression in LaTeX."""
        return printing.latex(self.expression)

    def text(self) -> str:
        """The expression in one line of text."""
        return printing.text(self.expression)

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        return self.text() if self.name == self.text() else f"{self.name} = {self.text()}"

    def _checked(self, poly: PolyElement, theta: Any) -> np.ndarray:
        value = self.em.numeric(poly)(theta)
        if not np.isfinite(value).all():
            raise InputError(
                f"theta: the law {self.text()} is not finite there; it divides by 0 or takes the "
                "logarithm of 0, or a root of a negative number. It holds away from such points."
            )
        return value


@dataclass(frozen=True, eq=False)
class ConservationLaws:
    r"""The conservation laws of a parametrization.

    Attributes
    ----------
    count : int
        How many independent laws there are near a generic point:
        :math:`D - \dim\mathrm{Lie}\{\nabla\varphi_i\}`.
    laws : tuple of ConservationLaw
        Those found, functionally independent; with weight decay those that change by a rate.
    size : int
        D, the number of parameters.
    generation_ranks : tuple of int
        The rank of the gradients, then with their brackets, brackets of brackets, and so on.
    components : tuple of Component
        The parts that share no parameter.
    dropped : tuple of ConservationLaw
        Laws found that weight decay destroys, being not homogeneous.
    weight_decay : float
        λ.
    rates : dict
        The learning rates of the factors where they differ; empty where all are 1.
    degree : int
        The degree up to which all polynomials were searched in every component that is not
        complete; 0 where all are complete.
    """

    count: int
    laws: tuple[ConservationLaw, ...]
    size: int
    generation_ranks: tuple[int, ...]
    components: tuple[Component, ...] = field(repr=False)
    dropped: tuple[ConservationLaw, ...] = ()
    weight_decay: float = 0.0
    rates: dict[str, float] = field(default_factory=dict)
    degree: int = 0

    @property
    def missing(self) -> int:
        """How many laws exist of which no formula was found."""
        return self.count - len(self.laws) - len(self.dropped)

    @property
    def complete(self) -> bool:
        """Whether every law is a function of those found."""
        return self.missing == 0

    def __len__(self) -> int:
        return len(self.laws)

    def __iter__(self) -> Iterator[ConservationLaw]:
        return iter(self.laws)

    def __getitem__(self, index: int) -> ConservationLaw:
        return self.laws[index]

    def values(self, theta: Any) -> dict[str, np.ndarray]:
        """Every law at factors, by name; see :meth:`ConservationLaw.value`."""
        return {law.name: law.value(theta) for law in self.laws}

    def explain(self) -> str:
        """Why there are as many laws as there are, and no more; a few sentences."""
        dimension = self.size - self.count
        grown = " -> ".join(map(str, self.generation_ranks))
        parts = sum(c.multiplicity for c in self.components)
        lines = [
            f"The map has D = {self.size} parameters"
            + (f" in {parts} parts that share none." if parts > 1 else "."),
            "A function is conserved for every loss if and only if its gradient is orthogonal to "
            "the gradients of all entries of the map, and then to their Lie brackets.",
            "At a random point (modulo 2^61 - 1) the rank of these is, generation by generation, "
            f"{grown}. By Frobenius's theorem the number of independent laws near a generic point "
            f"is {self.size} - {dimension} = {self.count}.",
        ]
        found = len(self.laws) + len(self.dropped)
        if found:
            lines.append(f"Independent laws found: {found}, each verified exactly.")
        if self.missing:
            polynomial = (
                f"none is a polynomial of degree {self.degree} or less, and "
                if self.degree
                else "there are too many monomials for a search of all polynomials, and "
            )
            lines.append(
                f"{self.missing} more exist of which no formula was found: {polynomial}none was "
                "among the sums of powers and logarithms and the ratios of minors that were tried."
            )
        elif found:
            lines.append("Every other law is a function of these.")
        if self.rates:
            given = ", ".join(f"{name}: {rate:g}" for name, rate in self.rates.items())
            lines.append(
                f"The factors learn at the rates {given}; the gradients are scaled by them."
            )
        if self.weight_decay:
            lines.append(
                f"With weight decay {self.weight_decay:g} a law that is homogeneous of degree k "
                "decays as exp(-k * weight_decay * t) (Euler's theorem)."
            )
            if self.dropped:
                gone = "; ".join(law.text() for law in self.dropped)
                lines.append(f"Not homogeneous, and so not kept: {gone}.")
        return "\n".join(lines)

    def latex(self) -> str:
        """All laws in LaTeX, aligned."""
        rows = [rf"{law.latex()} &= \text{{const}}" + _decay(law.rate) for law in self.laws]
        return r"\begin{aligned}" + r" \\ ".join(rows) + r"\end{aligned}"

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        found = f"{len(self.laws)} of {self.count}" if self.missing else str(self.count)
        laws = "law" if self.count == 1 else "laws"
        head = f"{found} conservation {laws} of {self.size} parameters"
        lines = [
            f"  {law}" + (f"    (rate {law.rate:g})" if self.weight_decay else "")
            for law in self.laws
        ]
        if self.dropped:
            lines.append(f"  not kept by weight decay: {len(self.dropped)}")
        if self.missing:
            lines.append(f"  without a formula: {self.missing}; explain() says what was tried")
        return "\n".join([head, *lines])


def _decay(rate: float) -> str:
    return rf" \cdot e^{{{rate:g} t}}" if rate else ""
