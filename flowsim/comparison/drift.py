"""Drift of what the flow conserves, along any trajectory of factors."""

from __future__ import annotations

import numpy as np

from flowsim._types import FloatArray, PyTree
from flowsim.lowering.printer import compile_law
from flowsim.symbolic import EndToEnd


def conserved_drift(
    law: EndToEnd, widths: tuple[int, ...], ts: FloatArray, states: PyTree
) -> FloatArray:
    r"""How far the conserved quantities have moved from where the flow would have them.

    .. math:: \Big(\sum_j \|D_j(t) - e^{rt} D_j(0)\|_F^2\Big)^{1/2}

    with :math:`D_j = W_{j+1}^\top W_{j+1} - W_j W_j^\top` and the law's rate r, zero without weight
    decay. For a flow it is the integrator's error; for descent it is the discretisation's.

    Returns
    -------
    array of shape (T,)
    """
    total = np.zeros(len(ts))
    for quantity in law.conserved:
        compiled = compile_law(quantity.instances(), widths, "numpy")
        values = [compiled.function(factors, None, None) for factors in zip(*states, strict=True)]
        decay = np.exp(float(quantity.rate) * (ts - ts[0]))
        for j in range(len(quantity.instances())):
            D = np.array([value[j] for value in values])
            total += np.sum((D - decay[:, None, None] * D[0]) ** 2, axis=(1, 2))
    return np.sqrt(total)
