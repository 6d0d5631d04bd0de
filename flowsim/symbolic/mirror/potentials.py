r"""Potentials of commuting parametrizations.

Where the gradient fields commute, :math:`\partial\psi/\partial\mu_i = \nabla G_i(\psi)` has a
solution :math:`\psi(\mu)` from every start, and if all :math:`G_i` are homogeneous of degree N,

.. math:: R^*(\mu) = \frac{\|\psi(\mu)\|^2}{2N}, \qquad \nabla R^*(\mu) = G(\psi(\mu)) = w,

by Euler's identity. The same identity with a weight for each factor entry,
:math:`\sum_l a_l \theta_l \partial_l G_i = G_i` for all i, gives
:math:`R^* = \frac12 \sum_l a_l \psi_l^2`; :math:`a_l = 1/N` is the homogeneous case. The solution
is elementary where the G_i are sums, in separate entries, of monomials :math:`c x^N` and of
products :math:`c x y`, and where all are commuting quadratic forms.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportIndexIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy
from sympy import Expr, Rational, Symbol

from flowsim._checks import check_array
from flowsim._errors import InputError
from flowsim.symbolic import printing, scalars
from flowsim.symbolic.algebra import EntryMap
from flowsim.symbolic.certify import CertificationError, certify
from flowsim.symbolic.mirror.explicit import explicit_potential
from flowsim.symbolic.mirror.flows import compiled, flattened, moved_numerically

__all__ = ["DualPotential", "dual_variables", "primal_potential"]


#: Potentials of more terms are shown abridged; the expression has them all.
LONGEST_SUM = 8


def dual_variables(count: int) -> tuple[Symbol, ...]:
    r"""The variables :math:`\mu_1, \dots, \mu_m`, minus the integrated gradients."""
    return tuple(Symbol(f"mu_{i}", real=True) for i in range(count))


@dataclass(frozen=True)
class DualPotential:
    r"""The dual potential :math:`R^*(\mu) = \frac12 \sum_l a_l \psi_l(\mu)^2` of a start.

    For entries homogeneous of one degree N all weights are 1/N and it is
    :math:`\|\psi(\mu)\|^2 / (2N)`.

    Attributes
    ----------
    map : EntryMap
        The parametrization, entry by entry.
    weights : tuple of sympy.Rational
        The weight of each entry of the factors.
    mu : tuple of sympy.Symbol
        The dual variables.
    expression : sympy.Expr or None
        The potential in ``mu`` and the entries of the start, which have the names of the entries;
        None where the flows have no elementary solution that is known.
    method : str
        How the flows were solved, in words.
    """

    map: EntryMap = field(repr=False)
    weights: tuple[Rational, ...]
    mu: tuple[Symbol, ...]
    expression: Expr | None
    method: str

    @classmethod
    def of(cls, em: EntryMap, weights: tuple[Rational, ...]) -> DualPotential:
        """The potential of a commuting map with the weights of Euler's identity."""
        mu = dual_variables(len(em.values))
        expression, method = explicit_potential(em, weights, mu)
        return cls(em, weights, mu, expression, method)

    @functools.cached_property
    def _compiled(self) -> Any:
        return compiled(self.map.parametrization)

    def state(self, mu: Any, start: Any) -> tuple[np.ndarray, ...]:
        r"""The factors :math:`\psi(\mu)`, by following the commuting fields from the start.

        Parameters
        ----------
        mu
            Minus the integrated gradient, shape (m,).
        start
            The factors at :math:`\mu = 0`.

        Raises
        ------
        InputError
            If the flow blows up before: :math:`\mu` is outside the domain of the potential.
        """
        return self.map.parametrization.unflattened(self._moved(mu, start))

    def __call__(self, mu: Any, start: Any) -> float:
        r"""The value :math:`R^*(\mu)` from a start."""
        return float(np.array(self.weights, dtype=float) @ self._moved(mu, start) ** 2) / 2

    def gradient(self, mu: Any, start: Any) -> np.ndarray:
        r"""The gradient :math:`w = G(\psi(\mu))`, all entries in a row."""
        return self._compiled[0](self._moved(mu, start))

    def _moved(self, mu: Any, start: Any) -> np.ndarray:
        par = self.map.parametrization
        mu = check_array("mu", mu).astype(np.float64)
        if mu.shape != (len(self.mu),):
            raise InputError(f"mu has shape {mu.shape}; ({len(self.mu)},) is needed.")
        end = moved_numerically(self._compiled[2], flattened(par, start), mu)
        if end is None:
            raise InputError(
                "mu is outside the domain of the potential: the flow along the gradient fields "
                "grows beyond all bounds before it gets there."
            )
        return end

    def _square(self, equal: str, weighted: str) -> str:
        """The potential in the factors, with one weight or with several."""
        (weight, *others) = dict.fromkeys(self.weights)
        degree = 2 / weight
        return weighted if others else equal.format(degree if degree > 0 else f"({degree})")

    def __str__(self) -> str:
        shown = f"R*(mu) = {self._square('|psi(mu)|^2/{}', 'sum_l a_l psi_l(mu)^2/2')}"
        if self.expression is not None:
            shown += f" = {_abridged(self.expression, printing.text, ' + ... ({} terms)')}"
        return f"{shown}  [{self.method}]"

    def latex(self) -> str:
        """The potential as LaTeX."""
        square = self._square(
            r"\tfrac{{1}}{{{}}} \|\psi(\mu)\|^2", r"\tfrac12 \sum_l a_l \psi_l(\mu)^2"
        )
        shown = rf"R^*(\mu) = {square}"
        if self.expression is not None:
            more = r" + \dots \text{{ ({} terms)}}"
            shown += f" = {_abridged(self.expression, printing.latex, more)}"
        return shown

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.latex()}$"


def _abridged(expression: Expr, show: Callable[[Expr], str], more: str) -> str:
    """A sum of many terms by the first of them and their number."""
    terms = expression.as_ordered_terms()
    if len(terms) <= LONGEST_SUM:
        return show(expression)
    return show(sympy.Add(*terms[:2])) + more.format(len(terms))


def primal_potential(P: Expr, w: Symbol, /, *, name: str = "primal potential") -> Expr:
    r"""Integrate :math:`R'' = 1/P(w)` twice: the potential of one coordinate.

    A coordinate with :math:`\dot w = -P(w)\,\partial L/\partial w` follows the mirror flow of R;
    powers and roots of :math:`a w^2 + b` are known, other integrals are SymPy's, and
    :math:`R'' P = 1` is certified.

    Parameters
    ----------
    P : sympy.Expr
        The preconditioner, a positive expression in w and constants.
    w : sympy.Symbol
        The coordinate.
    name : str
        What is being integrated, for messages.

    Returns
    -------
    sympy.Expr
        R, of which constants and multiples of w are free.

    Raises
    ------
    InputError
        If SymPy knows no integral.
    flowsim.symbolic.certify.CertificationError
        If the integral that it gives is not one.

    Examples
    --------
    >>> import sympy
    >>> w, c = sympy.Symbol("w", real=True), sympy.Symbol("c", positive=True)
    >>> primal_potential(4 * sympy.sqrt(w**2 + 4 * c**2), w)      # u^2 - v^2, with c = u v
    w*asinh(w/(2*c))/4 - sqrt(4*c**2 + w**2)/4
    """
    second = _known_potential(P, w)
    if second is None:
        second = sympy.expand(sympy.integrate(sympy.integrate(1 / P, w), w))
    if second.has(sympy.Integral, sympy.Piecewise):
        raise InputError(f"{name}: no integral of 1/P is known for P = {printing.text(P)}.")
    residual = scalars.normal(sympy.cancel(sympy.together(second.diff(w, 2) * P - 1)))
    if not scalars.is_zero(residual):
        # Roots of one argument that are written in two ways: compare the squares of both sides,
        # whose signs are those of P at a point.
        squares = sympy.cancel(sympy.together((second.diff(w, 2) * P) ** 2)) - 1
        if not scalars.is_zero(squares):
            raise CertificationError(name, sympy.S.One, second.diff(w, 2) * P, residual)
    return second


def _known_potential(P: Expr, w: Symbol) -> Expr | None:
    """The second integral of 1/P for a power of w, or the root of a quadratic without w."""
    factor, power = sympy.expand_power_base(P).as_independent(w, as_Add=False)
    base, exponent = power.as_base_exp()
    if base == w and w.is_positive and not exponent.has(w):
        if exponent == 1:
            return (w * sympy.log(w) - w) / factor
        if exponent == 2:
            return -sympy.log(w) / factor
        return w ** (2 - exponent) / (factor * (1 - exponent) * (2 - exponent))
    square = sympy.expand(P**2)
    if not square.is_polynomial(w):
        return None
    poly = sympy.Poly(square, w)
    a, b = poly.coeff_monomial(w**2), poly.coeff_monomial(1)
    if poly.degree() != 2 or poly.coeff_monomial(w) != 0 or b == 0:
        return None
    root = sympy.sqrt(w**2 + b / a)
    return sympy.expand((w * sympy.asinh(w * sympy.sqrt(a / b)) - root) / sympy.sqrt(a))


def primal_of_block(em: EntryMap, index: int, w: Symbol) -> tuple[Expr, Expr, Expr] | None:
    r"""P(w), the primal potential R(w), and the constant c in them, for one coordinate.

    Elimination of the entries x, y of a coordinate, where it is of degree 2 in one or two entries
    that no other coordinate has:

    .. math:: a (x^2 - y^2):\ P = 4 |a| \sqrt{w^2 + 4 a^2 c^2},\ c = xy; \qquad
        a x y:\ P = \sqrt{4 w^2 + a^2 c^2}\,|a|,\ c = x^2 - y^2 ;

    and of a monomial :math:`a x^N`, :math:`P = a^2 N^2 (w/a)^{2 - 2/N}`, c = 0. Each is certified
    in the ring of the entries: :math:`P(G)^2 = \|\nabla G\|^4`.
    """
    value = em.values[index]
    if em.tower.extended or not value:
        return None
    terms = list(value.terms())
    c = Symbol("c", positive=True)
    own = [g for g in range(em.size) if any(m[g] for m, _ in terms)]
    if any(em.derive(other, g) for g in own for j, other in enumerate(em.values) if j != index):
        return None
    x = [em.ring.gens[g] for g in own]
    square = sum((d * d for d in em.gradient(value)), em.ring.zero)
    a = terms[0][1]
    number = Rational(int(a.numerator), int(a.denominator))
    if len(terms) == 1 and len(own) == 1:
        N = max(terms[0][0])
        certify_zero(em, square**N - (a * N) ** (2 * N) * (value / a) ** (2 * N - 2), "P of a x^N")
        w = Symbol(w.name, positive=True)
        P = number**2 * N**2 * (w / number) ** (2 - Rational(2, N)) if number > 0 else None
        return None if P is None else (P, primal_potential(P, w), sympy.S.Zero)
    if len(own) != 2 or any(sum(m) != 2 for m, _ in terms):
        return None
    if len(terms) == 1 and max(terms[0][0]) == 1:
        kept = x[0] ** 2 - x[1] ** 2
        certify_zero(em, square**2 - a**2 * (4 * value**2 + a**2 * kept**2), "P of a x y")
        P = abs(number) * sympy.sqrt(4 * w**2 + number**2 * c**2)
    elif len(terms) == 2 and max(map(max, (m for m, _ in terms))) == 2 and terms[1][1] == -a:
        kept = x[0] * x[1]
        certify_zero(em, square**2 - 16 * a**2 * (value**2 + 4 * a**2 * kept**2), "P of x^2 - y^2")
        P = 4 * abs(number) * sympy.sqrt(w**2 + 4 * number**2 * c**2)
    else:
        return None
    # What is kept along the flow of any loss: it is orthogonal to the gradient.
    certify_zero(em, em.along(kept, em.gradient(value)), "conserved along the flow")
    return P, primal_potential(P, w), c


def certify_zero(em: EntryMap, poly: Any, name: str) -> None:
    """Certify that a polynomial of the entries is 0."""
    if not em.is_zero(poly):
        certify(sympy.S.Zero, em.to_sympy(poly), name=name)
