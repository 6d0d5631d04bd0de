r"""Tensor factorisations: how the norms of their components move.

CP: :math:`\mathcal W = \sum_r \bigotimes_{n=1}^N w_r^n`. A component has the norm
:math:`\sigma_r = \prod_n \|w_r^n\|` and feels the force
:math:`\gamma_r = \langle -\nabla L(\mathcal W), \bigotimes_n \hat w_r^n \rangle`. The end-to-end
tensor is linear in each vector, so that all squared norms grow by :math:`2 \sigma_r \gamma_r`, and

.. math:: \dot\sigma_r = \gamma_r \sigma_r^2 \sum_n \|w_r^n\|^{-2} , \qquad
    \dot\sigma_r = N \sigma_r^{2 - \frac2N} \gamma_r \ \text{where the norms are equal.}

Hierarchical (a tree of modes; node :math:`\nu` has a matrix, a leaf one of shape
:math:`D_n \times R`): the *local component* :math:`(\nu, r)` is row r of the matrix of :math:`\nu`
and column r of the matrix of each child, K = number of children + 1 vectors. The end-to-end tensor
is a sum over r of terms linear in each of these vectors, and the same law holds with K for N.

References
----------
N. Razin, A. Maman, N. Cohen, Implicit regularization in tensor factorization, ICML 2021,
arXiv:2102.09972; the same, Implicit regularization in hierarchical tensor factorization and deep
convolutional neural networks, ICML 2022, arXiv:2201.11729.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportIndexIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sympy import Add, Expr, IndexedBase, Integer, Sum, Symbol

from flowsim._checks import check_array, check_choice
from flowsim._errors import InputError
from flowsim._types import ArrayLike
from flowsim.theory.conditions import PLAIN, SMOOTH
from flowsim.theory.records import Condition, Theorem

if TYPE_CHECKING:
    from flowsim.problems import HierarchicalTucker

__all__ = [
    "COMPONENT",
    "FORCE",
    "NORMS",
    "THEOREMS",
    "Components",
    "component_rate",
    "cp_component_norms",
    "cp_components",
    "hierarchical_component_norms",
    "hierarchical_components",
]

#: The norm of a component, the force on it, the norms of its vectors a[1], a[2], ...
COMPONENT, FORCE = Symbol("sigma", positive=True), Symbol("gamma", real=True)
NORMS = IndexedBase("a", positive=True)
INDEX = Symbol("n", integer=True, positive=True)


def _rate(N: Expr | int, *, balanced: bool = False) -> Expr:
    r"""State :math:`\dot\sigma = \gamma\sigma^2 \sum_n a_n^{-2}`; if balanced, for equal norms."""
    if balanced:
        return N * COMPONENT ** (2 - Integer(2) / N) * FORCE
    if isinstance(N, Expr) and not N.is_Integer:
        total = Sum(NORMS[INDEX] ** -2, (INDEX, 1, N))
    else:
        total = Add(*(NORMS[n] ** -2 for n in range(1, int(N) + 1)))
    return FORCE * COMPONENT**2 * total


def _no_zero_column(problem: Any, start: Any) -> str | None:
    for n, A in enumerate(start):
        for r in np.flatnonzero(np.linalg.norm(np.asarray(A), axis=0) == 0):
            return f"Vector {n + 1} of component {r + 1} is 0, and has no direction."
    return None


cp_component_norms = Theorem(
    name="CP components",
    title="The norm of a CP component moves by gamma sigma^2 times the sum of the inverse squared "
    "norms of its vectors, N sigma^(2-2/N) gamma if these are equal.",
    statement=_rate,
    hypotheses=(
        SMOOTH,
        Condition("No vector of a component is 0.", _no_zero_column),
        PLAIN,
    ),
    citation="Razin, Maman, Cohen 2021, arXiv:2102.09972, dynamics of component norms; "
    "any start: derivations/cp_components.py",
    proof="derivations/cp_components.py",
)

hierarchical_component_norms = Theorem(
    name="hierarchical components",
    title="The norm of a local component of a hierarchical tensor factorization of K vectors moves "
    "as that of a CP component of order K.",
    statement=_rate,
    hypotheses=(SMOOTH, "No vector of the local component is 0.", PLAIN),
    citation="Razin, Maman, Cohen 2022, arXiv:2201.11729, dynamics of local component norms; any "
    "start: derivations/hierarchical_components.py",
    proof="derivations/hierarchical_components.py",
)

THEOREMS = (cp_component_norms, hierarchical_component_norms)


class Components(NamedTuple):
    r"""Components of a factorisation, one entry for each.

    Attributes
    ----------
    norms : numpy.ndarray
        :math:`\sigma_r`, shape (R,).
    forces : numpy.ndarray
        :math:`\gamma_r`, shape (R,).
    rates : numpy.ndarray
        :math:`\dot\sigma_r` under gradient flow, shape (R,).
    """

    norms: np.ndarray
    forces: np.ndarray
    rates: np.ndarray


def component_rate(vector_norms: ArrayLike, force: ArrayLike, /) -> np.ndarray:
    r"""Return :math:`\dot\sigma = \gamma \sigma^2 \sum_n \|w^n\|^{-2}`.

    Parameters
    ----------
    vector_norms
        Norms of the vectors of each component, shape (N, ...), not negative.
    force
        :math:`\gamma`, shape (...).

    Returns
    -------
    numpy.ndarray
        Shape (...). Where a vector is 0 it is the limit: :math:`\gamma` times the squared product
        of the other norms, and 0 where two vectors are.

    Examples
    --------
    >>> float(component_rate([2.0, 2.0, 2.0], 0.5))            # 3 * 8^(4/3) * 0.5
    24.0
    """
    a, force = check_array("vector_norms", vector_norms), check_array("force", force)
    if a.ndim == 0 or (a < 0).any():
        raise InputError("vector_norms: pass an array of shape (N, ...) without negative numbers.")
    if a.shape[1:] != force.shape:
        raise InputError(f"force has shape {force.shape}; vector_norms calls for {a.shape[1:]}.")
    # sigma^2 / a_n^2 is the squared product of the other norms.
    others = [np.prod(np.delete(a, n, axis=0), axis=0) ** 2 for n in range(len(a))]
    return force * np.sum(others, axis=0)


def cp_components(factors: Sequence[ArrayLike], gradient: ArrayLike, /) -> Components:
    r"""Return norms, forces and rates of the components of a CP factorisation.

    .. math:: \sigma_r = \prod_n \|w_r^n\|, \qquad
        \gamma_r = \langle -\nabla L, \textstyle\bigotimes_n \hat w_r^n \rangle, \qquad
        \dot\sigma_r = \gamma_r \sigma_r^2 \sum_n \|w_r^n\|^{-2}

    Parameters
    ----------
    factors
        One matrix for each mode, shape (D_n, R); columns are the vectors of the components.
    gradient
        Gradient of the loss with respect to the tensor, shape (D_1, ..., D_N).

    Returns
    -------
    Components
        Each of its three arrays of shape (R,).

    Raises
    ------
    InputError
        If shapes disagree, or a vector of a component is 0, which has no direction.

    References
    ----------
    Razin, Maman, Cohen 2021, arXiv:2102.09972.

    Examples
    --------
    >>> found = cp_components([[[3.0], [4.0]], [[2.0]]], [[-1.0], [0.0]])
    >>> [part.round(12).tolist() for part in found]            # 0.6 * 100 * (1/25 + 1/4)
    [[10.0], [0.6], [17.4]]
    """
    matrices = [check_array(f"factors[{n}]", A, ndim=2) for n, A in enumerate(factors)]
    G = check_array("gradient", gradient)
    if len({A.shape[1] for A in matrices}) != 1:
        raise InputError(f"factors have shapes {[A.shape for A in matrices]}; one rank is needed.")
    dims = tuple(len(A) for A in matrices)
    if G.shape != dims:
        raise InputError(f"gradient has shape {G.shape}; the factors call for {dims}.")
    norms = np.stack([np.linalg.norm(A, axis=0) for A in matrices])
    if not (norms > 0).all():
        n, r = np.argwhere(norms == 0)[0]
        raise InputError(f"factors[{n}][:, {r}] is 0, and has no direction.")
    # Contract one mode after the other, the components kept apart.
    inner = np.tensordot(G, matrices[0] / norms[0], axes=(0, 0))
    for A, a in zip(matrices[1:], norms[1:], strict=True):
        inner = np.einsum("i...r,ir->...r", inner, A / a)
    return Components(np.prod(norms, axis=0), -inner, component_rate(norms, -inner))


def hierarchical_components(
    net: HierarchicalTucker, factors: Sequence[ArrayLike], gradient: ArrayLike, /, *, node: str
) -> Components:
    r"""Return norms, forces and rates of the local components at a node of a hierarchical network.

    .. math:: \sigma = \prod_{w} \|w\|, \quad \gamma = \langle -\nabla L, \mathcal C \rangle, \quad
        \dot\sigma = \gamma \sigma^2 \sum_w \|w\|^{-2}

    over the K vectors w of a local component, where :math:`\sigma \mathcal C` is the end-to-end
    tensor with the other rows of the node's matrix set to 0.

    Parameters
    ----------
    net
        The network.
    factors
        Its matrices, in the order of ``net.names``.
    gradient
        Gradient of the loss with respect to the tensor, of its shape.
    node
        Name of an inner node, such as ``"B1"``.

    Returns
    -------
    Components
        One entry for each row of the node's matrix.

    Raises
    ------
    InputError
        If shapes disagree, the node is a leaf or unknown, or a vector is 0.

    References
    ----------
    Razin, Maman, Cohen 2022, arXiv:2201.11729.

    Examples
    --------
    >>> import numpy as np
    >>> from flowsim.problems import HierarchicalTucker
    >>> net = HierarchicalTucker((1, 1), rank=1)
    >>> found = hierarchical_components(net, [[[2.0]], [[3.0]], [[0.5]]], [[-1.0]], node="B1")
    >>> [part.round(12).tolist() for part in found]            # 9 (1/4 + 1/9 + 4)
    [[3.0], [1.0], [39.25]]
    """
    matrices = net.check_factors(tuple(np.asarray(A) for A in factors), "factors")
    G = check_array("gradient", gradient)
    if G.shape != net.end_to_end_shape:
        raise InputError(f"gradient has shape {G.shape}; the net has {net.end_to_end_shape}.")
    children = _children(net.tree)
    check_choice("node", node, tuple(children))
    place = {name: j for j, name in enumerate(net.names)}
    row, below = matrices[place[node]], [matrices[place[child]] for child in children[node]]
    norms = np.stack([np.linalg.norm(row, axis=1), *(np.linalg.norm(A, axis=0) for A in below)])
    if not (norms > 0).all():
        raise InputError(f"factors: a vector of local component {node} is 0, without direction.")
    sizes = np.prod(norms, axis=0)
    forces = np.empty(len(row))
    for r in range(len(row)):
        alone = np.zeros_like(row)
        alone[r] = row[r]
        kept = [alone if j == place[node] else A for j, A in enumerate(matrices)]
        forces[r] = -np.sum(G * net(kept)) / sizes[r]
    return Components(sizes, forces, component_rate(norms, forces))


def _children(tree: Any) -> dict[str, tuple[str, ...]]:
    """Return the children of each inner node by name; nodes are named as they are completed."""
    children: dict[str, tuple[str, ...]] = {}
    leaves = 0

    def visit(node: Any) -> str:
        nonlocal leaves
        if isinstance(node, Sequence):
            below = tuple(visit(child) for child in node)
            name = f"B{len(children) + 1}"
            children[name] = below
            return name
        leaves += 1
        return f"U{leaves}"

    visit(tree)
    return children
