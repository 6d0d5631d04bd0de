"""Local components of a hierarchical tensor factorisation move like CP components.

Each node of a tree of modes has a matrix.  The r-th tensor of an inner node is the sum over s of
its matrix's entry (s, r) times the outer product of its children's s-th tensors; a leaf's tensors
are the columns of its matrix; the root has one tensor, W.  The local component (node, s) is row s
of the node's matrix together with column s of each child's matrix: K vectors, K - 1 being the
number of children.

W is a sum over s, and each summand is linear in the row s, and in each of the columns s, since a
child's s-th tensor is linear in column s of its matrix.  So the argument for CP applies with K in
place of the order (cp_components.py): from any start

    sigma' = gamma sigma^2 (sum over the K vectors of |w|^-2),

K sigma^(2-2/K) gamma where the norms are equal.  K counts the node's own row: it is 3 for a binary
tree, whatever the number of modes.
"""

from __future__ import annotations

import numpy as np
from sympy import Symbol

from derivations._components import balanced, component_law, enters_once
from flowsim.problems import HierarchicalTucker
from flowsim.symbolic.certify import Derivation, certify
from flowsim.theory.records import Theorem
from flowsim.theory.tensors import COMPONENT, FORCE, hierarchical_component_norms

THEOREM = hierarchical_component_norms


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every number K of vectors and all dimensions.

    Linearity in each vector is checked on trees themselves: at the root and below it, with two
    children and with three.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page, K = Derivation(), Symbol("K", integer=True, positive=True)
    every = slice(None)
    for tree, node, children in (
        (((2, 2), (2, 2)), "B1", ("U1", "U2")),
        (((2, 2), (2, 2)), "B3", ("B1", "B2")),
        (((1, 2, 2), 2), "B1", ("U1", "U2", "U3")),
    ):
        par = HierarchicalTucker(tree, rank=2)
        factors = {
            name: np.array(
                [[Symbol(f"{name}_{i}{j}") for j in range(shape[1])] for i in range(shape[0])]
            )
            for name, shape in zip(par.names, par.shapes, strict=True)
        }
        enters_once(
            page,
            lambda given, par=par: par(tuple(given.values())),
            factors,
            [(node, (0, every)), *((child, (every, 0)) for child in children)],
            f"Local component ({node}, 1) of the tree {tree}",
        )
    rate = component_law(page, K)
    certify(theorem.statement(K), rate, name=theorem.name)
    page.step(
        Symbol("dsigma/dt"),
        K * COMPONENT ** (2 - 2 / K) * FORCE,
        "Equal norms, sigma^(1/K) each.",
        derived=balanced(rate, K),
    )
    certify(theorem.statement(K, balanced=True), balanced(rate, K), name=f"{theorem.name}, equal")
    for vectors in (2, 3, 4):
        certify(theorem.statement(vectors), rate.subs(K, vectors).doit(), name=f"K = {vectors}")
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
