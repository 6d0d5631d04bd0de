r"""Any preconditioned flow of a few variables: whether it descends a potential.

Of :math:`\dot w = -P(w) \nabla L(w)`, for one loss or for all, decided exactly on the entries.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sympy import Expr, Matrix, Symbol, cancel, diff

from flowsim._errors import InputError
from flowsim.symbolic import printing, scalars
from flowsim.symbolic.identities import exact, vanishes, witness

__all__ = ["RegularizerVerdict", "antisymmetric_part", "regularizer_exists"]


@dataclass(frozen=True)
class RegularizerVerdict:
    r"""Whether a preconditioned flow :math:`\dot w = -P(w) \nabla L(w)` descends some potential.

    Attributes
    ----------
    holds : bool
        Whether :math:`P\,\nabla L` is a gradient, for the loss given or for all losses.
    antisymmetric : sympy.Matrix
        :math:`J - J^\top` of :math:`P\,\nabla L`; without a loss, in the symbols g_i and H_ij.
    witness : dict or None
        Where it is not a gradient: a point (for a loss) at which the antisymmetric part is not 0.
    counterexample : sympy.Expr or None
        Where it is not a gradient for all losses: a loss for which it is not.
    reason : str
        The verdict in a sentence.
    """

    holds: bool
    antisymmetric: Matrix
    witness: dict[Symbol, Expr] | None
    counterexample: Expr | None
    reason: str

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        return self.reason


def antisymmetric_part(field: Sequence[Expr], variables: Sequence[Symbol]) -> Matrix:
    r"""Return :math:`J_F - J_F^\top` of a field that is written out.

    Each entry is over one denominator.

    Parameters
    ----------
    field : sequence of sympy.Expr
        The d entries of F, exactly as given: a flow :math:`\dot w = -F` has the opposite sign.
    variables : sequence of sympy.Symbol
        The d variables.

    Returns
    -------
    sympy.Matrix
        Of shape (d, d).

    Examples
    --------
    >>> from sympy.abc import x, y
    >>> antisymmetric_part([-y, x], [x, y])
    Matrix([
    [0, -2],
    [2,  0]])
    """
    field = [exact(entry) for entry in field]
    if len(field) != len(variables):
        raise InputError(
            f"field has {len(field)} entries on {len(variables)} variables; give as many as there "
            "are variables."
        )
    J = Matrix(field).jacobian(list(variables))
    return (J - J.T).applyfunc(lambda entry: cancel(scalars.normal(entry)))


def regularizer_exists(
    P: Matrix, variables: Sequence[Symbol], loss: Expr | None = None
) -> RegularizerVerdict:
    r"""Decide whether a preconditioned flow :math:`\dot w = -P(w)\nabla L(w)` descends a potential.

    With a loss, whether :math:`J - J^\top = 0` for :math:`P\,\nabla L`, identically. Without one,
    whether it is so for every loss: gradient and Hessian are then free at every point, and the
    answer is yes only where P is a constant times the identity, or d = 1.

    Parameters
    ----------
    P : sympy.Matrix
        The preconditioner, shape (d, d), written out.
    variables : sequence of sympy.Symbol
        The entries of w.
    loss : sympy.Expr, optional
        A loss; None asks for all of them.

    Returns
    -------
    RegularizerVerdict

    Examples
    --------
    >>> from sympy import diag
    >>> from sympy.abc import x, y
    >>> verdict = regularizer_exists(diag(x**2, y**2), [x, y])
    >>> verdict.counterexample
    x*y
    >>> bool(regularizer_exists(diag(x**2, y**2), [x, y], x**3 + y))
    True
    """
    ws = list(variables)
    P = Matrix(P).applyfunc(exact)
    d = len(ws)
    if P.shape != (d, d):
        raise InputError(f"P has shape {P.shape} on {d} variables; ({d}, {d}) is needed.")
    if loss is not None:
        A = antisymmetric_part(P * Matrix([diff(exact(loss), w) for w in ws]), ws)
        entries = [A[i, j] for i in range(d) for j in range(i)]
        if all(vanishes(entry) for entry in entries):
            reason = "a gradient: the Jacobian is symmetric, so a regularizer exists for this loss."
            return RegularizerVerdict(True, A, None, None, reason)
        symbols = set().union(*(entry.free_symbols for entry in entries))
        point = witness(entries, symbols)
        reason = "no gradient: the Jacobian is not symmetric, so this loss has no regularizer."
        return RegularizerVerdict(False, A, point, None, reason)
    g = [Symbol(f"g{i + 1}", real=True) for i in range(d)]
    H = Matrix(d, d, lambda i, j: Symbol(f"H{min(i, j) + 1}{max(i, j) + 1}", real=True))
    J = P * H + Matrix(d, d, lambda i, k: sum(diff(P[i, j], ws[k]) * g[j] for j in range(d)))
    A = J - J.T
    # Gradient and Hessian at a point are those of a quadratic loss, so these losses decide.
    quadratic = [ws[i] * ws[j] for i in range(d) for j in range(i)] + [w**2 / 2 for w in ws]
    for example in [*ws, *quadratic]:
        verdict = regularizer_exists(P, ws, example)
        if not verdict:
            reason = (
                f"not for all losses: for L = {printing.text(example)} the Jacobian is not "
                "symmetric."
            )
            return RegularizerVerdict(False, A, verdict.witness, example, reason)
    reason = "a gradient for every loss: P is a constant times the identity."
    if d == 1:
        reason = "a gradient for every loss: there is one variable."
    return RegularizerVerdict(True, A, None, None, reason)
