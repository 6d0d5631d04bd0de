r"""Mirror flows: when overparameterized gradient flow is one, and with which potential.

The end-to-end parameter :math:`w = G(\theta)` follows a *mirror flow* where
:math:`\frac{d}{dt} \nabla R(w) = -\nabla L(w)` for a convex R, and a *time-warped* one where the
right-hand side carries a positive scalar factor. Both keep :math:`\nabla R(w) - \nabla R(w_0)` in
the row space of the data, which is what decides between the solutions of an underdetermined
problem (:func:`flowsim.instruments.limits.mirror_limit`).

Vectors are columns of symbolic size.

References
----------
Z. Li, T. Wang, J. D. Lee, S. Arora, Implicit bias of gradient descent on reparametrized models: on
equivalence to mirror descent, NeurIPS 2022, arXiv:2207.04036; S. Azulay et al., On the implicit
bias of initialization shape: beyond infinitesimal mirror descent, ICML 2021, arXiv:2102.09769.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from sympy import Expr, MatAdd, MatMul, MatrixExpr, MatrixSymbol, Symbol, Transpose, sqrt

from flowsim._checks import check_choice
from flowsim.symbolic.columns import Inner
from flowsim.symbolic.integrability import SIZE, G, W
from flowsim.symbolic.nodes import FrobeniusNorm
from flowsim.theory.records import Condition, Theorem

__all__ = [
    "E_I",
    "E_J",
    "GRADIENT",
    "IMBALANCE",
    "NORM",
    "STATE",
    "THEOREMS",
    "balanced_metric",
    "commuting",
    "homogeneous_potential",
    "scaled_vector_mirror",
    "time_warped_mirror",
]

#: Sizes of the factors together (D) and of the end-to-end parameter (m).
FACTORS, ENTRIES = (
    Symbol("D", integer=True, positive=True),
    Symbol("m", integer=True, positive=True),
)

#: The factors in a row, the gradient of the loss at w = G(psi): columns.
STATE, GRADIENT = MatrixSymbol("psi", FACTORS, 1), MatrixSymbol("g", ENTRIES, 1)

#: Two vectors of the standard basis.
E_I, E_J = MatrixSymbol("e_i", SIZE, 1), MatrixSymbol("e_j", SIZE, 1)

#: c = w_2^2 - |w_1|^2 of a scaled vector, and the norm of w.
IMBALANCE, NORM = Symbol("c", real=True), Symbol("r", positive=True)


def _commuting(N: Expr | int = 2) -> MatrixExpr:
    r"""State :math:`\frac{d}{dt} \nabla R(w)`: minus the gradient."""
    return MatMul(-1, GRADIENT)


def _homogeneous_potential(N: Expr | int) -> MatrixExpr:
    r"""State :math:`R^* = \|\psi\|^2 / (2N)`; N is the degree of homogeneity."""
    return MatMul(1 / (2 * N), Transpose(STATE), STATE)


def _time_warped(N: Expr | int, *, what: str = "velocity") -> MatrixExpr | Expr:
    r"""State :math:`\frac{d}{dt} \nabla Q(w) = -\|w\|^{(N-1)/N} g`, or the potential Q.

    ``"potential"`` is :math:`Q = \frac N{N+1} \|w\|^{(N+1)/N}`.
    """
    norm = FrobeniusNorm(W)
    if check_choice("what", what, ("velocity", "potential")) == "potential":
        return N * norm ** ((N + 1) / N) / (N + 1)
    return MatMul(-(norm ** ((N - 1) / N)), G)


def _scaled_vector(N: Expr | int = 2, *, what: str = "slope") -> Expr:
    r"""State the radial slope of :math:`Q_c`, or the warp :math:`|w_2|`, in c and r = ‖w‖.

    :math:`\nabla Q_c(w) = \sqrt{\frac12 (\sqrt{c^2 + 4 r^2} - c)}\, w / r`.
    """
    sign = -1 if check_choice("what", what, ("slope", "warp")) == "slope" else 1
    return sqrt((sqrt(IMBALANCE**2 + 4 * NORM**2) + sign * IMBALANCE) / 2)


def _balanced_metric(N: Expr | int) -> MatrixExpr:
    r"""State :math:`[P e_i, P e_j] = (N-1) \|w\|^{2-4/N} (w_i e_j - w_j e_i)`."""
    scale = (N - 1) * FrobeniusNorm(W) ** (2 - 4 / N)
    return MatAdd(MatMul(scale * Inner(W, E_I), E_J), MatMul(-scale * Inner(W, E_J), E_I))


def _fields_commute(problem: Any, start: Any) -> str | None:
    from flowsim.symbolic.mirror import mirror

    verdict = mirror(problem.parametrization)
    return None if verdict.commuting else verdict.because


def _is_homogeneous(problem: Any, start: Any) -> str | None:
    from flowsim.symbolic.mirror import mirror

    if mirror(problem.parametrization).homogeneity:
        return None
    return "The entries of the map are not homogeneous of one degree that is not 0."


def _no_decay(problem: Any, start: Any) -> str | None:
    return f"The weight decay is {problem.weight_decay:g}." if problem.weight_decay else None


def _one_output(problem: Any, start: Any) -> str | None:
    outputs = problem.parametrization.end_to_end_shape[0]
    return None if outputs == 1 else f"The network has {outputs} outputs."


def _balanced(problem: Any, start: Any) -> str | None:
    pairs = pairwise(start)
    defect = max((float(np.abs(b.T @ b - a @ a.T).max()) for a, b in pairs), default=0.0)
    scale = max(float(np.abs(a).max()) ** 2 for a in start)
    return None if defect <= 1e-10 * scale else f"The start is unbalanced by {defect:.3g}."


def _starts_elsewhere(problem: Any, start: Any) -> str | None:
    w = problem.parametrization(start)
    return None if np.any(w) else "w is 0 at the start, where it stays."


def _scale_is_not_zero(problem: Any, start: Any) -> str | None:
    return None if float(start[1]) else "w_2 is 0 at the start."


_SMOOTH = "L is continuously differentiable."
_NO_DECAY = Condition("There is no weight decay.", _no_decay)
_COMMUTES = Condition(
    "The gradient fields of the entries of G commute: [grad G_i, grad G_j] = 0.", _fields_commute
)

commuting = Theorem(
    name="commuting parametrization",
    title="If the gradient fields of its entries commute, a parametrization follows the mirror "
    "flow of the potential with grad R* = G o psi.",
    statement=_commuting,
    hypotheses=("G is twice differentiable.", _SMOOTH, _NO_DECAY, _COMMUTES),
    citation="Li, Wang, Lee, Arora 2022, arXiv:2207.04036, theorem on commuting parametrizations",
    proof="derivations/commuting.py",
)

homogeneous_potential = Theorem(
    name="homogeneous potential",
    title="The dual potential of commuting entries homogeneous of degree N is |psi(mu)|^2/(2N).",
    statement=_homogeneous_potential,
    hypotheses=(
        "G is twice differentiable.",
        _COMMUTES,
        Condition("All entries of G are homogeneous of degree N, not 0.", _is_homogeneous),
    ),
    citation="Li, Wang, Lee, Arora 2022, arXiv:2207.04036 (the potential exists); its value by "
    "Euler's identity",
    proof="derivations/homogeneous_potential.py",
)

time_warped_mirror = Theorem(
    name="time-warped mirror flow",
    title="The balanced network with one output follows the mirror flow of N/(N+1) |w|^((N+1)/N) "
    "at the rate |w|^((N-1)/N).",
    statement=_time_warped,
    hypotheses=(
        _SMOOTH,
        _NO_DECAY,
        Condition("There is one output.", _one_output),
        Condition("The start is balanced.", _balanced),
        Condition("w is not 0 at the start.", _starts_elsewhere),
    ),
    citation="Azulay et al. 2021, arXiv:2102.09769 (depth 2)",
    proof="derivations/time_warped_mirror.py",
)

scaled_vector_mirror = Theorem(
    name="scaled vector mirror",
    title="w = w_1 w_2 follows the mirror flow of a radial potential at the rate |w_2|, for every "
    "value of c = w_2^2 - |w_1|^2, while w_2 is not 0.",
    statement=_scaled_vector,
    hypotheses=(_SMOOTH, _NO_DECAY, Condition("w_2 is not 0.", _scale_is_not_zero)),
    citation="Azulay et al. 2021, arXiv:2102.09769",
    proof="derivations/scaled_vector_mirror.py",
)

balanced_metric = Theorem(
    name="balanced metric",
    title="The columns of the preconditioner of the balanced network with one output do not "
    "commute for N > 1 and d > 1: its metric is no Hessian, its flow no mirror flow.",
    statement=_balanced_metric,
    hypotheses=("w is not 0.", "e_i and e_j are different vectors of an orthonormal basis."),
    citation="Li, Wang, Lee, Arora 2022, arXiv:2207.04036 (the criterion)",
    proof="derivations/balanced_metric.py",
)

THEOREMS = (
    commuting,
    homogeneous_potential,
    time_warped_mirror,
    scaled_vector_mirror,
    balanced_metric,
)
