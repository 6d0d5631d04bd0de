r"""The edge of stability on this task, p = 2 and depth 2.

For a linear network of one output, :math:`w = a\,w_1` with a the product of the scalar layers, the
outer gain is :math:`q = a^2`, equal to :math:`\|w\|^{2-2/N}` where the layers are balanced. The
sharpness of the loss in the layers is about :math:`q\,\lambda` with :math:`\lambda` the largest
eigenvalue of :math:`\nabla^2 L`, and descent is stable while :math:`\eta\,q\,\lambda < 2`.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from flowsim._types import FloatArray
from flowsim.comparison import Comparison
from flowsim.trajectory import Trajectory


@dataclasses.dataclass(frozen=True, eq=False)
class Edge:
    """Descent on the layers, the rule on their product, and the flow that both set out from.

    Attributes
    ----------
    comparison
        The flow beside descent on the layers.
    emulated
        Descent on the end-to-end law.
    learning_rate
        η.
    curvature
        λ, the largest eigenvalue of the Hessian of the loss in w.
    depth
        N.
    """

    comparison: Comparison
    emulated: Trajectory
    learning_rate: float
    curvature: float
    depth: int

    @property
    def layerwise(self) -> Trajectory:
        """Descent on the layers."""
        return self.comparison.descent

    @property
    def limit(self) -> float:
        """The largest stable sharpness, 2/η."""
        return 2.0 / self.learning_rate

    @property
    def layerwise_sharpness(self) -> FloatArray:
        """Q λ along descent on the layers, shape (T,)."""
        return outer_gain(self.layerwise) * self.curvature

    @property
    def emulated_sharpness(self) -> FloatArray:
        """Q λ along the rule on the product, shape (T,)."""
        return norms(self.emulated) ** (2 - 2 / self.depth) * self.curvature

    @property
    def imbalance(self) -> FloatArray:
        """The largest of | ‖W_{j+1}‖² − ‖W_j‖² | along descent on the layers, shape (T,)."""
        squares = [np.sum(W**2, axis=(1, 2)) for W in self.layerwise.states]
        return np.max(np.abs(np.diff(squares, axis=0)), axis=0)

    @property
    def frozen_norm(self) -> float:
        """Where the rule on the product must stop growing: (2/(ηλ))^{N/(2N−2)}."""
        return (self.limit / self.curvature) ** (self.depth / (2 * self.depth - 2))

    @property
    def exit_iteration(self) -> float | None:
        """The iteration at which η λ_max along the flow passes 2, or None."""
        time = self.comparison.regime_exit
        return None if time is None else time / self.learning_rate


def outer_gain(run: Trajectory) -> FloatArray:
    """The square of the product of the scalar layers, shape (T,)."""
    scalars = [W[:, 0, 0] for W in run.states[1:]]
    return np.prod(scalars, axis=0) ** 2


def end_to_end(run: Trajectory) -> FloatArray:
    """W along a run, shape (T, d)."""
    if run.end_to_end is None:
        raise RuntimeError("a run of a linear network has an end-to-end value: a fault of flowsim")
    return run.end_to_end.reshape(len(run), -1)


def norms(run: Trajectory) -> FloatArray:
    """‖w‖ along a run, shape (T,)."""
    return np.linalg.norm(end_to_end(run), axis=1)
