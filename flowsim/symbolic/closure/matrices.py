"""Closed laws in whole matrices: the balanced deep linear network."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
from __future__ import annotations

from sympy import Eq, Symbol

from flowsim.problems.families import TwoLayer
from flowsim.problems.parametrizations import DeepLinear, Parametrization
from flowsim.symbolic.closure.result import Closure, Part
from flowsim.symbolic.derive import derive

__all__ = ["balanced_closure"]


def balanced_closure(par: Parametrization) -> Closure | None:
    """The law of a balanced linear network with a matrix inside, None for any other map.

    Networks whose hidden layers have one unit each are left to elimination, which writes their law
    entry by entry.
    """
    if isinstance(par, TwoLayer):
        net = DeepLinear(par.widths)
    elif isinstance(par, DeepLinear):
        net = par
    else:
        return None
    if net.widths is not None and max(net.widths[1:-1], default=1) == 1 and par.size <= 24:
        return None
    law = derive(net)
    line = Eq(Symbol("W"), law.rhs, evaluate=False)
    part = Part(None, (), (), (), "matrix", (line,))  # no ranks were needed
    domain = [f"{h.name}: {h.statement_text}" for h in law.hypotheses]
    if law.depth != 1:
        domain.append("where W loses rank the law is no longer Lipschitz")
    return Closure(
        parametrization=par,
        closes=True,
        form="matrix",
        preconditioner=law.preconditioner,
        law=law.rhs,
        constants={},
        special={},
        domain=tuple(domain),
        because="a balanced start stays balanced, and then both Gram matrices of each chain are "
        "powers of those of W",
        witness=None,
        steps=law.steps,
        parts=(part,),
        equations=(),
    )
