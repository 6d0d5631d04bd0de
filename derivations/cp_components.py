"""The norm of a component of a CP factorisation moves by an equation of its own.

Let W = sum_r w_r^1 (x) ... (x) w_r^N follow gradient flow of L(W), and fix a component r.  W is
linear in each vector, W = M_n w^n + (the other components), and M_n w^n is the same tensor T, the
component, for all n.  So each squared norm grows by the same number, -2 <T, grad L> = 2 sigma
gamma, where sigma = |w^1| ... |w^N| is the norm of the component and gamma the force on its
direction.  Differences of squared norms are conserved, and the product rule gives, from any start,

    sigma' = gamma sigma^2 (|w^1|^-2 + ... + |w^N|^-2),

N sigma^(2-2/N) gamma where the norms are equal: large components grow fast, small ones hardly move,
the more so the higher the order.
"""

from __future__ import annotations

from string import ascii_lowercase

import numpy as np
from sympy import Symbol

from derivations._components import balanced, component_law, enters_once
from flowsim.problems import CP
from flowsim.symbolic.certify import Derivation, certify
from flowsim.theory.records import Theorem
from flowsim.theory.tensors import COMPONENT, FORCE, cp_component_norms

THEOREM = cp_component_norms


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every order and all dimensions.

    That W is linear in each vector is its definition; it is checked on the factorisation itself at
    order 3.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page, N = Derivation(), Symbol("N", integer=True, positive=True)
    par = CP((2, 2, 2), rank=2)
    factors = {
        name: np.array([[Symbol(f"{x}_{i}{r}") for r in range(2)] for i in range(2)])
        for name, x in zip(par.names, ascii_lowercase, strict=False)
    }
    every = slice(None)
    enters_once(
        page,
        lambda given: par(tuple(given.values())),
        factors,
        [(name, (every, 0)) for name in par.names],
        "The first component of order 3",
    )
    rate = component_law(page, N)
    certify(theorem.statement(N), rate, name=theorem.name)
    page.step(
        Symbol("dsigma/dt"),
        N * COMPONENT ** (2 - 2 / N) * FORCE,
        "Equal norms, sigma^(1/N) each.",
        derived=balanced(rate, N),
    )
    certify(theorem.statement(N, balanced=True), balanced(rate, N), name=f"{theorem.name}, equal")
    for order in (2, 3, 5):
        certify(theorem.statement(order), rate.subs(N, order).doit(), name=f"order {order}")
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
