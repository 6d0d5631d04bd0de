r"""The families of parametrizations that the theory of gradient flow speaks of.

Each is a size and one formula. Factors are handed over in the order of ``names``.
"""

# What is a property of the base is a constant, or a field, of some families.
# pyright: reportIncompatibleMethodOverride=false
# pyright: reportAssignmentType=false
from __future__ import annotations

import dataclasses
import functools
import operator
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from flowsim._checks import check_array, check_count, check_real
from flowsim._errors import InputError
from flowsim._types import ArrayLike
from flowsim.problems import functions as fn
from flowsim.problems.parametrizations import Parametrization, Shape

__all__ = [
    "CP",
    "Diagonal",
    "DiagonalProduct",
    "HierarchicalTucker",
    "ReLUPaths",
    "ScaledVector",
    "SymmetricFactorization",
    "TwoLayer",
    "WeightNormalized",
]


@dataclasses.dataclass(frozen=True)
class ScaledVector(Parametrization):
    r"""A vector times a number, :math:`w = w_1 w_2` with :math:`w_1 \in \mathbb R^d`.

    Arora, Cohen and Hazan (2018, arXiv:1802.06509, section 3).
    """

    d: int
    names = ("w1", "w2")

    def __post_init__(self) -> None:
        object.__setattr__(self, "d", check_count("d", self.d))

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(d,) and ()."""
        return (self.d,), ()

    @property
    def end_to_end_shape(self) -> Shape:
        """(d,)."""
        return (self.d,)

    def __call__(self, factors: Sequence[Any]) -> Any:
        """w1 * w2."""
        w1, w2 = factors
        return w1 * w2


@dataclasses.dataclass(frozen=True)
class Diagonal(Parametrization):
    r"""The diagonal linear network :math:`\beta = u^{\odot N} - v^{\odot N}`.

    Woodworth et al. (2020, arXiv:2002.09277).
    """

    d: int
    depth: int = 2
    names = ("u", "v")

    def __post_init__(self) -> None:
        object.__setattr__(self, "d", check_count("d", self.d))
        object.__setattr__(self, "depth", check_count("depth", self.depth))

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(d,) twice."""
        return (self.d,), (self.d,)

    @property
    def end_to_end_shape(self) -> Shape:
        """(d,)."""
        return (self.d,)

    def __call__(self, factors: Sequence[Any]) -> Any:
        """u**N - v**N, entry by entry."""
        u, v = factors
        return u**self.depth - v**self.depth


@dataclasses.dataclass(frozen=True)
class DiagonalProduct(Parametrization):
    r"""The product of N vectors entry by entry, :math:`w = w_1 \odot \cdots \odot w_N`."""

    d: int
    depth: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "d", check_count("d", self.d))
        object.__setattr__(self, "depth", check_count("depth", self.depth))

    @property
    def names(self) -> tuple[str, ...]:
        """w1, ..., wN."""
        return tuple(f"w{j}" for j in range(1, self.depth + 1))

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(d,) for each."""
        return ((self.d,),) * self.depth

    @property
    def end_to_end_shape(self) -> Shape:
        """(d,)."""
        return (self.d,)

    def __call__(self, factors: Sequence[Any]) -> Any:
        """w1 * ... * wN, entry by entry."""
        return functools.reduce(operator.mul, factors)


@dataclasses.dataclass(frozen=True)
class WeightNormalized(Parametrization):
    r"""A length and a direction, :math:`w = g\, v / \|v\|`.

    Salimans and Kingma (2016, arXiv:1602.07868).
    """

    d: int
    names = ("g", "v")

    def __post_init__(self) -> None:
        object.__setattr__(self, "d", check_count("d", self.d))

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """() and (d,)."""
        return (), (self.d,)

    @property
    def end_to_end_shape(self) -> Shape:
        """(d,)."""
        return (self.d,)

    @property
    def kinks(self) -> tuple[str, ...]:
        """The one point without a direction."""
        return ("norm(v) has no derivative at v = 0",)

    def __call__(self, factors: Sequence[Any]) -> Any:
        """G * v / norm(v)."""
        g, v = factors
        return g * v / fn.norm(v)


@dataclasses.dataclass(frozen=True)
class SymmetricFactorization(Parametrization):
    r"""The positive semidefinite matrix :math:`W = U U^\top` with U of shape (n, r).

    Gunasekar et al. (2017, arXiv:1705.09280).
    """

    n: int
    r: int
    names = ("U",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", check_count("n", self.n))
        object.__setattr__(self, "r", check_count("r", self.r))

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(n, r)."""
        return ((self.n, self.r),)

    @property
    def end_to_end_shape(self) -> Shape:
        """(n, n)."""
        return self.n, self.n

    def __call__(self, factors: Sequence[Any]) -> Any:
        """U @ U.T."""
        (U,) = factors
        return U @ U.T


@dataclasses.dataclass(frozen=True)
class TwoLayer(Parametrization):
    r"""The two-layer linear network :math:`W = W_2 W_1`, of widths (d, h, k).

    As ``DeepLinear((d, h, k))``, with starts of which
    :math:`W_2^\top W_2 - W_1 W_1^\top = \lambda I` (Dominé et al. 2024, arXiv:2409.14623).
    """

    widths: tuple[int, int, int]
    names = ("W1", "W2")

    def __post_init__(self) -> None:
        if not isinstance(self.widths, Sequence) or len(self.widths) != 3:
            raise InputError(f"widths is {self.widths!r}; pass (inputs, hidden, outputs).")
        widths = tuple(check_count(f"widths[{i}]", n) for i, n in enumerate(self.widths))
        object.__setattr__(self, "widths", widths)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(h, d) and (k, h)."""
        d, h, k = self.widths
        return (h, d), (k, h)

    @property
    def end_to_end_shape(self) -> Shape:
        """(k, d)."""
        return self.widths[2], self.widths[0]

    def __call__(self, factors: Sequence[Any]) -> Any:
        """W2 @ W1."""
        W1, W2 = factors
        return W2 @ W1

    def lambda_balanced(self, w0: ArrayLike, imbalance: float) -> tuple[np.ndarray, np.ndarray]:
        r"""Factors with product ``w0`` and :math:`W_2^\top W_2 - W_1 W_1^\top = \lambda I`.

        With the singular values s of w0, the h singular values of the factors are
        :math:`a_2^2 = \frac\lambda2 + \sqrt{\frac{\lambda^2}4 + s^2}` and
        :math:`a_1^2 = a_2^2 - \lambda`.

        Parameters
        ----------
        w0
            The end-to-end value, shape (k, d).
        imbalance
            The number λ, of either sign.

        Raises
        ------
        InputError
            If h hidden units cannot carry it: the rank of w0 needs h at least, λ > 0 needs
            h <= k and λ < 0 needs h <= d.
        """
        d, h, k = self.widths
        lam = check_real("imbalance", imbalance)
        w0 = check_array("w0", w0, ndim=2)
        if w0.shape != (k, d):
            raise InputError(f"w0 has shape {w0.shape}, where {(k, d)} is needed.")
        U, s, Vt = np.linalg.svd(w0)
        s = np.where(s > np.finfo(s.dtype).eps * max(k, d) * max(s[0], 0.0), s, 0.0)
        rank = int(np.count_nonzero(s))
        room = h if lam == 0 else k if lam > 0 else d
        if rank > h or h > room:
            raise InputError(
                f"imbalance is {lam:g} and w0 has rank {rank}, but there are {h} hidden units: h "
                f"must be at least {rank} and, for an imbalance of this sign, at most {room}."
            )
        singular = np.zeros(h)
        singular[: min(h, len(s))] = s[: min(h, len(s))]
        root = np.sqrt(lam**2 / 4 + singular**2)
        # The smaller of the two squares from the product s^2, not by a difference that cancels.
        large = abs(lam) / 2 + root
        with np.errstate(invalid="ignore"):
            small = np.where(large > 0, singular**2 / np.where(large > 0, large, 1.0), 0.0)
        two, one = (large, small) if lam >= 0 else (small, large)
        W2, W1 = np.zeros((k, h)), np.zeros((h, d))
        m2, m1 = min(h, k), min(h, d)
        W2[:, :m2] = U[:, :m2] * np.sqrt(two[:m2])
        W1[:m1] = np.sqrt(one[:m1])[:, None] * Vt[:m1]
        return W1, W2


@dataclasses.dataclass(frozen=True)
class CP(Parametrization):
    r"""The tensor :math:`\mathcal W = \sum_{r=1}^R w_r^1 \otimes \cdots \otimes w_r^N`.

    One matrix of shape (D_n, R) for each mode holds the vectors :math:`w_r^n` as columns.
    Razin, Maman and Cohen (2021, arXiv:2102.09972).
    """

    dims: tuple[int, ...]
    rank: int

    def __post_init__(self) -> None:
        if not isinstance(self.dims, Sequence) or len(self.dims) < 2:
            raise InputError(f"dims is {self.dims!r}; pass at least two sizes, such as (3, 4, 2).")
        dims = tuple(check_count(f"dims[{i}]", n) for i, n in enumerate(self.dims))
        if len(dims) > 20:
            raise InputError(f"dims has {len(dims)} modes; at most 20 can be written out.")
        object.__setattr__(self, "dims", dims)
        object.__setattr__(self, "rank", check_count("rank", self.rank))

    @property
    def names(self) -> tuple[str, ...]:
        """A1, ..., AN, a matrix for each mode."""
        return tuple(f"A{n}" for n in range(1, len(self.dims) + 1))

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(D_n, R) for each mode."""
        return tuple((n, self.rank) for n in self.dims)

    @property
    def end_to_end_shape(self) -> Shape:
        """The dimensions of the modes."""
        return self.dims

    def __call__(self, factors: Sequence[Any]) -> Any:
        """The sum over r of the outer products of the r-th columns."""
        modes = string.ascii_lowercase[: len(self.dims)]
        subscripts = ",".join(f"{mode}z" for mode in modes)
        return fn.einsum(f"{subscripts}->{modes}", *factors)


@dataclasses.dataclass(frozen=True)
class HierarchicalTucker(Parametrization):
    r"""The hierarchical factorization of a tensor along a tree of modes.

    A leaf is a mode with a matrix of shape (D_n, R) and stands for R vectors, its columns. A node
    above it has a matrix of shape (R_node, R_above) and stands for R_above tensors: the r-th is the
    sum over s of its entry (s, r) times the outer product of its children's s-th tensors. At the
    root R_above = 1. Razin, Maman and Cohen (2022, arXiv:2201.11729).

    Parameters
    ----------
    tree
        Nested tuples whose leaves are the dimensions of the modes, such as ``((2, 3), (2, 2))``.
    rank
        R_node, the same at every inner node.

    Examples
    --------
    >>> import flowsim as fs
    >>> net = fs.HierarchicalTucker(((2, 3), (2, 2)), rank=2)
    >>> dict(zip(net.names, net.shapes))["U2"], net.end_to_end_shape
    ((3, 2), (2, 3, 2, 2))
    """

    tree: Any
    rank: int
    _nodes: tuple[tuple[str, Shape, str], ...] = dataclasses.field(init=False, repr=False)
    _output: str = dataclasses.field(init=False, repr=False)
    dims: tuple[int, ...] = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        rank = check_count("rank", self.rank)
        leaves: list[tuple[str, Shape, str]] = []
        inner: list[tuple[str, Shape, str]] = []
        letters = iter(string.ascii_letters)
        modes: list[str] = []

        def visit(node: Any, above: str, above_rank: int) -> None:
            letter = next(letters, None)
            if letter is None:
                raise InputError("tree has more than 52 nodes; fewer can be written out.")
            if isinstance(node, Sequence) and not isinstance(node, str) and len(node) >= 2:
                for child in node:
                    visit(child, letter, rank)
                name = f"B{len(inner) + 1}"
                inner.append((name, (rank, above_rank), letter + above))
            else:
                size = check_count("a leaf of tree", node)
                modes.append(letter)
                leaves.append((f"U{len(leaves) + 1}", (size, above_rank), letter + above))

        if not isinstance(self.tree, Sequence) or len(self.tree) < 2:
            raise InputError(f"tree is {self.tree!r}; pass nested tuples such as ((2, 3), (2, 2)).")
        visit(self.tree, next(letters), 1)
        object.__setattr__(self, "rank", rank)
        object.__setattr__(self, "_nodes", (*leaves, *inner))
        object.__setattr__(self, "dims", tuple(shape[0] for _, shape, _ in leaves))
        object.__setattr__(self, "_output", "".join(modes))

    @property
    def names(self) -> tuple[str, ...]:
        """U1, U2, ... at the leaves, then B1, B2, ... at the inner nodes, the root last."""
        return tuple(name for name, _, _ in self._nodes)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(D_n, R) at the leaves, (R, R) at inner nodes, (R, 1) at the root."""
        return tuple(shape for _, shape, _ in self._nodes)

    @property
    def end_to_end_shape(self) -> Shape:
        """The dimensions of the modes."""
        return self.dims

    def __call__(self, factors: Sequence[Any]) -> Any:
        """The tensor, contracted from the leaves to the root."""
        subscripts = ",".join(subscript for _, _, subscript in self._nodes)
        return fn.einsum(f"{subscripts}->{self._output}", *factors)


@dataclasses.dataclass(frozen=True)
class ReLUPaths(Parametrization):
    r"""The path products of a ReLU network: what its output is locally a linear function of.

    With the weights :math:`W_j` (and biases :math:`b_j`), the value is the vector of the products
    of weights along every path from an input, or from a bias, to an output. Wherever the pattern of
    active units is fixed, the network's output is linear in it, so that what every path product
    conserves is conserved by training on any loss and any data (Marcotte, Gribonval and Peyré 2023,
    arXiv:2307.00144).

    Parameters
    ----------
    widths
        Sizes of the layers of neurons, input first.
    bias
        Whether the hidden layers have biases.
    """

    widths: tuple[int, ...]
    bias: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.widths, Sequence) or len(self.widths) < 2:
            raise InputError(f"widths is {self.widths!r}; pass sizes of layers, such as (2, 3, 1).")
        widths = tuple(check_count(f"widths[{i}]", n) for i, n in enumerate(self.widths))
        object.__setattr__(self, "widths", widths)

    @property
    def names(self) -> tuple[str, ...]:
        """W1, ..., WN, then b1, ..., b(N-1) where there are biases."""
        depth = len(self.widths) - 1
        biases = tuple(f"b{j}" for j in range(1, depth)) if self.bias else ()
        return (*(f"W{j}" for j in range(1, depth + 1)), *biases)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(n_j, n_{j-1}) for each layer, then (n_j,) for each bias."""
        n = self.widths
        weights = tuple((n[j], n[j - 1]) for j in range(1, len(n)))
        return weights + (tuple((m,) for m in n[1:-1]) if self.bias else ())

    @property
    def end_to_end_shape(self) -> Shape:
        """The number of paths."""
        n = self.widths
        starts = range(len(n) - 1) if self.bias else range(1)
        return (sum(int(np.prod(n[j:])) for j in starts),)

    def __call__(self, factors: Sequence[Any]) -> Any:
        """The products along the paths: from the inputs first, then from each layer's biases."""
        depth = len(self.widths) - 1
        weights, biases = factors[:depth], factors[depth:]
        products = [_paths(weights)]
        for j, b in enumerate(biases, 1):
            products.append(_paths([*weights[j:]], start=b))
        return products[0] if len(products) == 1 else fn.concatenate(*products)


def _paths(weights: Sequence[Any], start: Any = None) -> Any:
    """Products along all paths through the layers, flattened."""
    letters = string.ascii_letters[: len(weights) + 1]
    inner = [letters[j + 1] + letters[j] for j in range(len(weights))]
    subscripts = inner if start is None else [letters[0], *inner]
    operands = [*weights] if start is None else [start, *weights]
    return fn.ravel(fn.einsum(f"{','.join(subscripts)}->{letters}", *operands))
