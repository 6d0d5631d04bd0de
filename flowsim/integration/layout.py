"""Pytrees of NumPy arrays as flat vectors, for solvers that know only vectors."""

from __future__ import annotations

import jax
import numpy as np

from flowsim._types import FloatArray, PyTree


class Layout:
    """How a pytree of arrays is laid out in one vector, in JAX's order of leaves."""

    def __init__(self, tree: PyTree) -> None:
        leaves, self.structure = jax.tree.flatten(tree)
        self.shapes = [np.shape(leaf) for leaf in leaves]
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        self.ends = np.cumsum([0, *sizes])
        self.size = int(self.ends[-1])

    def flatten(self, tree: PyTree) -> FloatArray:
        """The leaves, raveled and joined."""
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])

    def unflatten(self, vector: FloatArray) -> PyTree:
        """The pytree of a vector (size,), or of a stack of vectors (T, size)."""
        lead = vector.shape[:-1]
        parts = [
            vector[..., start:end].reshape(lead + shape)
            for start, end, shape in zip(self.ends, self.ends[1:], self.shapes, strict=False)
        ]
        return jax.tree.unflatten(self.structure, parts)
