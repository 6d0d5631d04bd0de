"""A limit point and its certificate, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from flowsim._errors import FlowsimError

__all__ = ["BOUNDED", "PROVIDED", "LimitError", "LimitPoint"]

#: Why flows converge, and the condition under which they do.
BOUNDED = "P is bounded away from 0 along the flow, so that least squares converges to X w = y."
PROVIDED = (
    "Provided that the flow converges to X w = y, that is, that it does not come to rest where P "
    "is singular on the rows of X."
)


class LimitError(FlowsimError):
    """No limit point was found; the message says why."""


@dataclass(frozen=True)
class LimitPoint:
    r"""Where gradient flow on :math:`X w = y` ends, and the certificate of it.

    Attributes
    ----------
    w : numpy.ndarray
        The limit of the end-to-end parameter, shape (d,).
    multipliers : numpy.ndarray
        :math:`\lambda`, shape (n,), of least norm where rows of X are dependent.
    factors : tuple of numpy.ndarray
        The limits of the factors, where w determines them; else empty.
    residual : float
        The largest entry of :math:`|X w - y|`.
    stationarity : float
        The largest entry of :math:`|\nabla R(w) - \nabla R(w_0) - X^\top \lambda|`, computed from
        w anew, relative to the largest of :math:`\nabla R(w)`; where R is not explicit, the
        relative distance of w from :math:`\nabla R^*(\nu_0 + X^\top \lambda)`; for weight
        normalization, the defect of its invariant relative to w.
    iterations : int
        Newton steps; 0 where the limit is the root of one equation.
    law : str
        The mirror flow used.
    converges : str
        Why the flow converges to :math:`Xw = y`, or under which condition it does.
    """

    w: np.ndarray
    multipliers: np.ndarray
    factors: tuple[np.ndarray, ...] = field(repr=False)
    residual: float
    stationarity: float
    iterations: int
    law: str
    converges: str

    def __str__(self) -> str:
        work = f"; {self.iterations} Newton steps" if self.iterations else ""
        return (
            f"limit of gradient flow on X w = y, w = {np.array2string(self.w, precision=12)}\n"
            f"    mirror flow: {self.law}\n"
            f"    certificate: |X w - y| <= {self.residual:.1e}; grad R(w) - grad R(w0) - X^T "
            f"lambda is {self.stationarity:.1e} of grad R(w){work}\n"
            f"    {self.converges}\n"
            "    The same for every loss of X w whose only stationary point is X w = y."
        )
