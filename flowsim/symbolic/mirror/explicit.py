r"""Flows along commuting gradient fields that have an elementary solution.

* entries of their own, :math:`G_i \ni c\,x^N`: :math:`x = x_0 e^{2c\mu}` for N = 2, else
  :math:`x = x_0 \bigl(1 - cN(N-2) x_0^{N-2} \mu\bigr)^{-1/(N-2)}`;
* a pair of entries of its own, :math:`G_i \ni c\,xy`:
  :math:`x = x_0 \cosh c\mu + y_0 \sinh c\mu`;
* quadratic forms :math:`G_i = x^\top A_i x` with commuting matrices:
  :math:`\psi = e^{2 \sum_i \mu_i A_i} x_0`, through the projections on the common eigenspaces.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportIndexIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy
from sympy import Expr, Matrix, Rational, Symbol

from flowsim.symbolic import scalars
from flowsim.symbolic.algebra import EntryMap
from flowsim.symbolic.algebra.generators import fraction
from flowsim.symbolic.certify import certify

__all__ = ["commuting_exponentials", "explicit_potential", "separate_flows"]

#: Larger quadratic forms are left to numbers: their eigenvalues fill pages.
LARGEST_FORM = 6


def explicit_potential(
    em: EntryMap, weights: Sequence[Rational], mu: Sequence[Symbol]
) -> tuple[Expr | None, str]:
    r"""The potential :math:`\frac12 \sum_l a_l \psi_l^2` in closed form, and how it was found."""
    separate = separate_flows(em, mu)
    if separate is not None:
        terms = (a * x**2 / 2 for a, x in zip(weights, separate, strict=True))
        return sympy.Add(*terms), "separate flows, solved"
    if all(a == Rational(1, 2) for a in weights):
        potential = commuting_exponentials(em, mu)
        if potential is not None:
            return potential, "psi = exp(2 sum_i mu_i A_i) x, in the common eigenspaces"
    return None, "flows followed by numerical integration"


def separate_flows(em: EntryMap, mu: Sequence[Symbol]) -> list[Expr] | None:
    """The entries as functions of mu, where each moves by itself or in a pair; else None.

    Each solution is certified: its derivative is the gradient there, its value at 0 the start.
    """
    if em.tower.extended:
        return None
    owner: dict[int, tuple[int, tuple[int, ...], Any]] = {}
    for i, value in enumerate(em.values):
        for monomial, c in value.terms():
            own = tuple(g for g in range(em.size) if monomial[g])
            pair = len(own) == 2 and all(monomial[g] == 1 for g in own)
            if not own or not (len(own) == 1 or pair) or any(g in owner for g in own):
                return None
            for g in own:
                owner[g] = (i, own, (Rational(fraction(c)), monomial[g]))
    solved: list[Expr] = []
    for g in range(em.size):
        x0 = em.symbols[g]
        if g not in owner:
            solved.append(x0)
            continue
        i, own, (c, N) = owner[g]
        m = mu[i]
        if len(own) == 2:
            y0 = em.symbols[own[0] if own[1] == g else own[1]]
            x = x0 * sympy.cosh(c * m) + y0 * sympy.sinh(c * m)
            y = y0 * sympy.cosh(c * m) + x0 * sympy.sinh(c * m)
            velocity = c * y
        else:
            x = _monomial_flow(x0, c, N, m)
            velocity = c * N * x ** (N - 1)
        certify(x.diff(m), velocity, name=f"flow of {x0}")
        certify(x0, x.subs(m, 0), name=f"start of {x0}")
        solved.append(x)
    return solved


def _monomial_flow(x0: Expr, c: Expr, N: int, m: Symbol) -> Expr:
    r"""Solve :math:`dx/d\mu = cN x^{N-1}`."""
    if N == 1:
        return x0 + c * m
    if N == 2:
        return x0 * sympy.exp(2 * c * m)
    return x0 * (1 - c * N * (N - 2) * x0 ** (N - 2) * m) ** Rational(-1, N - 2)


def commuting_exponentials(em: EntryMap, mu: Sequence[Symbol]) -> Expr | None:
    r"""The potential :math:`\frac14 \sum_k e^{4 \sum_i \mu_i a_{ik}}\, x^\top E_k x`.

    :math:`E_k` are the projections on the common eigenspaces of the matrices :math:`A_i`, found
    from one combination of them, and :math:`a_{ik}` their eigenvalues there. Certified: the E_k add
    up to the identity, and :math:`\sum_k a_{ik} E_k = A_i`.

    Returns
    -------
    sympy.Expr or None
        None where the entries are no quadratic forms, or their eigenvalues have no square roots
        that would write them.
    """
    if em.tower.extended or em.size > LARGEST_FORM:
        return None
    forms = []
    for value in em.values:
        if any(sum(monomial) != 2 for monomial in value):
            return None
        H = [[em.derive(em.derive(value, i), j) for j in range(em.size)] for i in range(em.size)]
        forms.append(Matrix([[em.to_sympy(entry) for entry in row] for row in H]) / 2)
    n = em.size
    # Weights of no simple relation tell all common eigenspaces apart.
    weights = [Rational(1, 1)] + [
        Rational(sympy.prime(5 + i), 7 + 2 * i) for i in range(1, len(forms))
    ]
    A = sum((a * w for a, w in zip(forms, weights, strict=True)), sympy.zeros(n))
    t = Symbol("t")
    roots: list[Expr] = []
    for factor, _ in sympy.factor_list(A.charpoly(t).as_expr(), t)[1]:
        poly = sympy.Poly(factor, t)
        if poly.degree() > 2:
            return None
        roots.extend(sympy.roots(poly, t))
    projections = []
    for theta in roots:
        E = sympy.eye(n)
        for other in roots:
            if other != theta:
                E = (E * (A - other * sympy.eye(n)) / (theta - other)).applyfunc(_radical)
        projections.append(E)
    _certify_matrix(sympy.eye(n), sum(projections, sympy.zeros(n)), "projections add up to 1")
    x = Matrix(em.symbols[:n])
    rates = []
    for form in forms:
        own = [_radical((form * E).trace() / E.trace()) for E in projections]
        rebuilt = sum((a * E for a, E in zip(own, projections, strict=True)), sympy.zeros(n))
        _certify_matrix(form, rebuilt, "common eigenspaces")
        rates.append(own)
    terms = []
    for k, E in enumerate(projections):
        rate = sympy.Add(*(4 * m * own[k] for m, own in zip(mu, rates, strict=True)))
        terms.append(sympy.exp(rate) * sympy.expand((x.T * E * x)[0, 0]) / 4)
    return sympy.Add(*terms)


def _radical(number: Expr) -> Expr:
    """A number with square roots in normal form, its denominator rational."""
    return sympy.expand(sympy.radsimp(sympy.expand(number)))


def _certify_matrix(stated: Matrix, derived: Matrix, name: str) -> None:
    for a, b in zip(stated, derived, strict=True):
        difference = _radical(a - b)
        if difference != 0 and not scalars.is_zero(difference):
            certify(a, b, name=name)
