r"""Whether motion closes, decided: ranks at one point modulo a prime.

Let B be a basis of the Lie algebra of the gradients :math:`\nabla\varphi_i` at a point: the
directions in which a loss can ever move the parameters, tangent to the leaf on which everything
conserved is constant. Those of them that keep :math:`w = \varphi(\theta)` are the kernel of J in
it. The motion of w closes near a generic point if and only if none of them changes
:math:`P = J J^\top`. This asks for no conserved quantity by name.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sympy.polys.rings import PolyElement

from flowsim.symbolic.algebra.lie import generated
from flowsim.symbolic.algebra.modular import PRIME, kernel, rank
from flowsim.symbolic.algebra.packed import PackedField
from flowsim.symbolic.algebra.ring import EntryMap

__all__ = ["Verdict", "decide", "leaf_fields"]


@dataclass(frozen=True)
class Verdict:
    """The numbers on which the decision rests.

    Attributes
    ----------
    parameters : int
        D, the number of parameters.
    leaf : int
        The dimension of the leaf: of all directions in which a loss can ever move θ.
    image : int
        The rank of J: the dimension of what w can do.
    moving : int
        In how many independent ways P changes along the leaf while w stands still.
    """

    parameters: int
    leaf: int
    image: int
    moving: int

    @property
    def fibre(self) -> int:
        """The dimension of the states on one leaf that share one w."""
        return self.leaf - self.image

    @property
    def conserved(self) -> int:
        """The number of independent conserved quantities."""
        return self.parameters - self.leaf

    @property
    def closes(self) -> bool:
        """Whether P is a function of w on each leaf."""
        return self.moving == 0


def decide(
    em: EntryMap, point: Sequence[int], level: Sequence[PolyElement] | None = None
) -> Verdict:
    """Decide at a point whether P is constant along the fibres of w.

    Parameters
    ----------
    em : EntryMap
        The map.
    point : sequence of int
        Values of all generators of its ring modulo PRIME.
    level : sequence of PolyElement or None
        Functions whose common level set takes the leaf's place: all laws, at a point where they
        have special values, so that leaves of lower dimension are compared with each other too.
    """
    D = em.size
    if level is None:
        basis = [_dense(value, D) for value in generated(em, em.jacobian, point).values]
    else:
        slopes = [[em.evaluate(g, point) for g in em.gradient(law)] for law in level]
        rows = [{a: v for a, v in enumerate(row) if v} for row in slopes]
        basis = [_dense(v, D) for v in kernel(rows, D)]
    J = [[em.evaluate(x, point) for x in row] for row in em.jacobian]
    images = [[_dot(row, b) for b in basis] for row in J]
    rows = [{k: v for k, v in enumerate(row) if v} for row in images]
    still = [
        [sum(y[k] * basis[k][a] for k in y) % PRIME for a in range(D)]
        for y in kernel(rows, len(basis))
    ]
    changes: list[list[int]] = []
    if still:
        hessian = _hessian(em, point)
        for v in still:
            dJ = [
                [sum(h * v[b] for b, h in entry.items()) % PRIME for entry in row]
                for row in hessian
            ]
            m = len(J)
            changes.append(
                [
                    (_dot(dJ[i], J[j]) + _dot(J[i], dJ[j])) % PRIME
                    for i in range(m)
                    for j in range(i, m)
                ]
            )
    return Verdict(D, len(basis), len(basis) - len(still), rank(changes))


def leaf_fields(em: EntryMap, point: Sequence[int]) -> list[PackedField]:
    """Fields that span the Lie algebra of the gradients at this point, and near it."""
    return generated(em, em.jacobian, point).kept


def _hessian(em: EntryMap, point: Sequence[int]) -> list[list[dict[int, int]]]:
    """The second derivatives of every value, sparse rows."""
    rows = []
    for row in em.jacobian:
        entries = []
        for x in row:
            second = {b: em.evaluate(em.derive(x, b), point) for b in em.depends(x)}
            entries.append({b: v for b, v in second.items() if v})
        rows.append(entries)
    return rows


def _dense(vector: dict[int, int], size: int) -> list[int]:
    return [vector.get(a, 0) for a in range(size)]


def _dot(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True)) % PRIME
