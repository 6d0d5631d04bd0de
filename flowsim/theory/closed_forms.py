"""The table of closed forms, and the one that fits a problem and a start.

Each module of theorems keeps its own table, ``CLOSED_FORMS``, of
:class:`flowsim.theory.records.ClosedForm`; here they stand in one row, the most special first.
"""

from __future__ import annotations

from typing import Any

from flowsim._errors import InputError
from flowsim.problems import Identity, Problem
from flowsim.theory import elementwise, modes, riccati
from flowsim.theory.records import ClosedForm, DigitsLostError, Solution

__all__ = [
    "CLOSED_FORMS",
    "ClosedForm",
    "DigitsLostError",
    "Solution",
    "closed_form",
    "closed_form_reasons",
]

#: Every closed form, most special first: the first whose conditions hold is the one used.
CLOSED_FORMS: tuple[ClosedForm, ...] = (
    *modes.CLOSED_FORMS,
    *riccati.CLOSED_FORMS,
    *elementwise.CLOSED_FORMS,
)


def closed_form(problem: Problem, start: Any) -> Solution | None:
    r"""Return the solution of a gradient flow in closed form, or None where none is known.

    Parameters
    ----------
    problem : Problem
        Loss and parametrization.
    start
        The factors at time 0, in the order of the parametrization.

    Returns
    -------
    Solution or None
        A function of time that gives the end-to-end value; None where no record of the book has
        hypotheses that hold, and :func:`closed_form_reasons` says why for each.

    Raises
    ------
    InputError
        If ``problem`` is not a Problem with a parametrization, or the start does not fit it.

    Notes
    -----
    Known are: one factor and any depth from balanced starts in the singular bases of the target, on
    whitened or commuting inputs (Saxe, McClelland and Ganguli 2014), two layers with
    :math:`W_2^\top W_2 - W_1 W_1^\top = \lambda I` (Dominé et al. 2024), two scalar weights from
    any start, diagonal networks on linear losses at any depth and on quadratic ones at depth 2, and
    a vector times a number on a linear loss. Each solution has its ``citation``.

    Examples
    --------
    >>> import jax.numpy as jnp, numpy as np, flowsim as fs
    >>> target = np.diag([2.0, 1.0])
    >>> net = fs.DeepLinear((2, 2, 2))
    >>> problem = fs.Problem(lambda W: jnp.sum((W - target) ** 2) / 2, net)
    >>> solution = closed_form(problem, net.balanced(0.01 * np.eye(2)))
    >>> np.diag(solution(2.0)).round(6)
    array([1.874841, 0.355461])
    >>> problem = fs.Problem(lambda W: jnp.sum(W**4), net)
    >>> closed_form(problem, net.balanced(np.eye(2))) is None
    True
    >>> closed_form_reasons(problem, net.balanced(np.eye(2)))["Saxe modes"]
    'The loss is not 1/2 tr (W - Φ) Σ (W - Φ)^T plus a constant.'
    """
    start = _checked(problem, start)
    for form in CLOSED_FORMS:
        if not form.reason(problem, start):
            return form.solve(problem, start)
    return None


def closed_form_reasons(problem: Problem, start: Any) -> dict[str, str]:
    """Say for each closed form why it does not apply: an empty string where it does.

    Parameters
    ----------
    problem, start
        As for :func:`closed_form`.

    Returns
    -------
    dict
        From the names of theorems, in the order in which they are tried, to a sentence.
    """
    start = _checked(problem, start)
    reasons: dict[str, str] = {}
    for form in CLOSED_FORMS:
        reason = form.reason(problem, start)
        # One theorem may give several closed forms; it applies where one of them does.
        if reasons.get(form.theorem.name) != "":
            reasons[form.theorem.name] = reason
    return reasons


def _checked(problem: Problem, start: Any) -> Any:
    if not isinstance(problem, Problem):
        raise InputError(
            f"problem is {type(problem).__name__}; pass a Problem(loss, parametrization), of "
            "which the parametrization is known."
        )
    parametrization = problem.parametrization
    if isinstance(parametrization, Identity) and isinstance(start, tuple | list):
        # Other families take their factors as a tuple; one of one will do here too.
        start = start[0] if len(start) == 1 else start
    return parametrization.check_factors(start, "start")
