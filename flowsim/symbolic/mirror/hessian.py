r"""Whether a metric on the image is a Hessian, so that the flow on it is a mirror flow.

A flow :math:`\dot w = -P(w)\,\nabla L(w)` with P positive definite is a mirror flow,
:math:`\frac{d}{dt}\nabla R(w) = -\nabla L(w)`, exactly where :math:`P^{-1} = \nabla^2 R`. A field
of symmetric matrices is a Hessian exactly where its derivative is symmetric in all three indices;
in terms of P, where the columns of P commute as vector fields:

.. math:: \sum_l P_{li}\,\partial_l P_{kj} - P_{lj}\,\partial_l P_{ki} = 0 .
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportIndexIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import sympy
from sympy import Expr, Symbol

from flowsim._errors import InputError
from flowsim.symbolic.certify import Step
from flowsim.symbolic.identities import vanishes
from flowsim.symbolic.mirror.notation import Named, combination

__all__ = ["HessianMetric", "hessian_metric"]


@dataclass(frozen=True)
class HessianMetric:
    """The verdict of the Hessian-metric test.

    Attributes
    ----------
    is_hessian : bool
        Whether all columns of P commute.
    witness : tuple (i, j, bracket) or None
        Two columns, counted from 0, and the components of their bracket, where it is not zero.
    because : str
        The verdict in words.
    steps : tuple of Step
        The brackets of all pairs of columns.
    """

    is_hessian: bool
    witness: tuple[int, int, tuple[Expr, ...]] | None
    because: str
    steps: tuple[Step, ...] = field(repr=False)

    def __bool__(self) -> bool:
        return self.is_hessian

    def __str__(self) -> str:
        return "\n".join([self.because, *(f"    {step}" for step in self.steps)])

    def latex(self) -> str:
        """The brackets, one a line."""
        return r" \\ ".join(step.latex() for step in self.steps)

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle \begin{{gathered}} {self.latex()} \end{{gathered}}$"


def hessian_metric(P: sympy.MatrixBase, w: Sequence[Symbol], /) -> HessianMetric:
    r"""Test whether :math:`\dot w = -P(w)\,\nabla L` is a mirror flow for every loss.

    .. math:: [P_{\cdot i}, P_{\cdot j}]_k
        = \sum_l P_{li}\,\partial_l P_{kj} - P_{lj}\,\partial_l P_{ki} = 0 .

    Parameters
    ----------
    P : sympy.Matrix, shape (d, d)
        The preconditioner, symmetric, its entries expressions in w and constants.
    w : sequence of d symbols
        The end-to-end parameter.

    Returns
    -------
    HessianMetric
        True where the brackets vanish identically, else with the first that does not.

    Raises
    ------
    InputError
        If P is not a square symmetric matrix of the size of w.

    Notes
    -----
    P must be a function of w: where the motion of w is not closed there is no metric to test, and
    :func:`flowsim.symbolic.mirror.mirror` tests the parametrization itself.

    References
    ----------
    H. Shima, The Geometry of Hessian Structures, 2007 (Codazzi equation);
    Li, Wang, Lee, Arora 2022, arXiv:2207.04036.

    Examples
    --------
    >>> import sympy
    >>> w = sympy.symbols("w_1 w_2", positive=True)
    >>> bool(hessian_metric(sympy.diag(*w), w))                  # negative entropy
    True
    >>> r = sympy.sqrt(w[0]**2 + w[1]**2)
    >>> P = r * sympy.eye(2) + sympy.Matrix(w) * sympy.Matrix(w).T / r
    >>> print(hessian_metric(P, w).because)
    Columns 0 and 1 of P do not commute: the metric is no Hessian, and the flow no mirror flow.
    """
    w = tuple(w)
    d = len(w)
    if not isinstance(P, sympy.MatrixBase) or P.shape != (d, d):
        shape = getattr(P, "shape", type(P).__name__)
        raise InputError(f"P is {shape}; a sympy.Matrix of shape {(d, d)} is needed.")
    if not all(isinstance(x, Symbol) for x in w) or len(set(w)) != d:
        raise InputError(f"w is {w}; {d} different symbols are needed.")
    for i in range(d):
        for j in range(i):
            if not vanishes(P[i, j] - P[j, i]):
                raise InputError(f"P is not symmetric: the entries ({i}, {j}) and ({j}, {i}).")
    basis = [Named(f"e_{k}", f"e_{{{k}}}") for k in range(d)]
    steps, witness = [], None
    for i in range(d):
        for j in range(i + 1, d):
            bracket = tuple(
                _fraction(
                    sum(
                        P[m, i] * P[k, j].diff(w[m]) - P[m, j] * P[k, i].diff(w[m])
                        for m in range(d)
                    )
                )
                for k in range(d)
            )
            bracket = tuple(sympy.S.Zero if vanishes(x) else x for x in bracket)
            lhs = Named(f"[P e_{i}, P e_{j}]", f"[P e_{{{i}}}, P e_{{{j}}}]")
            steps.append(
                Step(lhs, combination(bracket, basis), "Lie bracket of two columns.", "normal form")
            )
            if witness is None and any(bracket):
                witness = (i, j, bracket)
    if witness is None:
        because = "All columns of P commute: its inverse is the Hessian of a potential."
    else:
        because = (
            f"Columns {witness[0]} and {witness[1]} of P do not commute: the metric is no "
            "Hessian, and the flow no mirror flow."
        )
    return HessianMetric(witness is None, witness, because, tuple(steps))


def _fraction(expression: Expr) -> Expr:
    """One fraction in lowest terms; powers of sums count as symbols."""
    return sympy.factor(sympy.cancel(sympy.together(sympy.expand(expression))))
