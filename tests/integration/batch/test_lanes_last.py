"""The trailing-axis evaluation against jax.vmap, primitive by primitive."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim.integration.batch.lanes_last import lanes_last

RNG = np.random.default_rng(0)
A, B, V = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 2)), RNG.normal(size=4)

FUNCTIONS = {
    "matrix product": lambda a, b, v: a @ b,
    "product with a vector": lambda a, b, v: a @ v,
    "vector from the left": lambda a, b, v: v @ b,
    "batched product": lambda a, b, v: jnp.einsum("ij,jk,j->jik", a, b, v),
    "transposed product": lambda a, b, v: b.T @ a.T,
    "outer product": lambda a, b, v: jnp.outer(v, b[:, 0]),
    "empty contraction": lambda a, b, v: a[:, :0] @ b[:0],
    "long contraction": lambda a, b, v: jnp.tile(v, 8) @ jnp.tile(b, (8, 1)),
    "elementwise": lambda a, b, v: jnp.where(a > 0, jnp.tanh(a) ** 3, jnp.exp(a)) - 2.0 * v,
    "scalar operand": lambda a, b, v: a * v[0] + 1.0,
    "reductions": lambda a, b, v: (a.sum(0), a.max(), jnp.cumsum(b, 0), jnp.argmax(v)),
    "shapes": lambda a, b, v: jnp.concatenate([a.reshape(-1), b.ravel()[::2], v[None, 1:3][0]]),
    "stacked": lambda a, b, v: jnp.stack([v, a[1], jnp.flip(b[:, 0])]),
    "gather": lambda a, b, v: v[jnp.argsort(v)],
    "loop": lambda a, b, v: jax.lax.fori_loop(0, 3, lambda i, w: jnp.sin(w) + i * v, v),
    "loop of unknown length": lambda a, b, v: jax.lax.while_loop(
        lambda w: jnp.sum(w**2) > 0.1, lambda w: 0.5 * w, v
    ),
    "derivative": lambda a, b, v: jax.grad(lambda w: jnp.sum(jnp.tanh(a @ w) ** 4))(v),
    "decomposition": lambda a, b, v: jnp.linalg.svd(a, compute_uv=False),
    "softmax": lambda a, b, v: jax.nn.softmax(a, axis=1) @ jax.nn.relu(v),
    "constant": lambda a, b, v: (jnp.ones(2), jnp.asarray(3.0)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("batched", [(True, True, True), (True, False, True), (False, True, False)])
def test_trailing_axis_agrees_with_vmap(name, batched):
    lanes = 3
    one = (A, B, V)
    many = [
        x[..., None] * np.linspace(0.5, 1.5, lanes) if flag else x
        for x, flag in zip(one, batched, strict=True)
    ]
    with fs.float64():
        found = lanes_last(FUNCTIONS[name], *one)(batched, *many)
        axes = tuple(-1 if flag else None for flag in batched)
        wanted = jax.vmap(FUNCTIONS[name], in_axes=axes, out_axes=-1)(*many)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-14)
