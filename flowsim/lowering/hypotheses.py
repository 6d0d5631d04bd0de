"""Checking a law's hypotheses on a start."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from flowsim._errors import BalanceWarning, HypothesisError
from flowsim._types import FloatArray
from flowsim.lowering.printer import compile_law
from flowsim.symbolic import EndToEnd, Hypothesis

#: Relative defect up to which a start satisfies a hypothesis: rounding in its construction.
HOLDS_BELOW = 1e-10
#: Relative defect from which the law is no description of the start any more. Balance broken by
#: 1e-3 makes dW/dt wrong by about 1e-3; from a few percent on, the formula is another flow's.
REFUSED_ABOVE = 2e-2


@dataclasses.dataclass(frozen=True)
class HypothesisCheck:
    """What was found when a hypothesis was checked on a start.

    Attributes
    ----------
    name
        The hypothesis.
    holds
        Whether it holds to rounding.
    defect
        The largest Frobenius norm of what should vanish, over the square of the largest factor's
        Frobenius norm; 0 where nothing has to vanish.
    tolerance
        The defect up to which it is said to hold.
    """

    name: str
    holds: bool
    defect: float
    tolerance: float = HOLDS_BELOW

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "fails"
        return f"{self.name} {verdict}: relative defect {self.defect:.3g}"


def check(hypothesis: Hypothesis, law: EndToEnd, theta: Any) -> HypothesisCheck:
    """Evaluate what a hypothesis says must vanish, on the factors of a start.

    Parameters
    ----------
    hypothesis, law
        The hypothesis and the law that it belongs to; the law's network must have widths.
    theta
        Factors W_1, ..., W_N.
    """
    factors = law.parent.check_factors(theta)
    if not hypothesis.expressions:
        return HypothesisCheck(hypothesis.name, True, 0.0)
    instances = tuple(
        expression.subs(law.index, j)
        for expression in hypothesis.expressions
        for j in (range(1, len(factors)) if expression.has(law.index) else (1,))
    )
    compiled = compile_law(instances, law.parent.widths, "numpy")
    # Divided by the largest factor's norm first: squares of tiny factors would underflow.
    size = max(float(np.max(np.abs(W))) for W in factors)
    if size == 0:
        return HypothesisCheck(hypothesis.name, True, 0.0)
    scaled = tuple(W / size for W in factors)
    largest = max(float(np.linalg.norm(W)) for W in scaled)
    residuals = compiled.function(scaled, None, None)
    defect = max((float(np.linalg.norm(D)) for D in residuals), default=0.0) / largest**2
    return HypothesisCheck(hypothesis.name, defect <= HOLDS_BELOW, defect)


def check_start(law: EndToEnd, factors: tuple[FloatArray, ...]) -> None:
    """Refuse a start that the law does not describe; warn of one that it nearly describes.

    Raises
    ------
    HypothesisError
        If a hypothesis fails by more than 2 percent.
    """
    for hypothesis in law.hypotheses:
        found = check(hypothesis, law, factors)
        if found.defect > REFUSED_ABOVE:
            raise HypothesisError(
                f"the end-to-end law presumes that the start is {hypothesis.name} "
                f"({hypothesis.statement_text}); here the relative defect is {found.defect:.3g}, "
                f"above {REFUSED_ABOVE:g}. Integrate the factors instead, which is exact from any "
                "start: fs.integrate(fs.Problem(loss, net), theta, t1). Or start from "
                "net.balanced(w0)."
            )
        if not found.holds:
            warnings.warn(
                f"the start is not exactly {hypothesis.name}: relative defect {found.defect:.3g}. "
                "The end-to-end law is wrong by about that much; integrate the factors, "
                "fs.integrate(fs.Problem(loss, net), theta, t1), to be exact.",
                BalanceWarning,
                stacklevel=2,
            )
