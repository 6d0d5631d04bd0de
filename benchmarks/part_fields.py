"""A factor field against a spectral one: cost of one evaluation of the balanced law.

Square networks of d inputs and outputs, full-rank start, quadratic loss given as a function; both
fields are lowered to JAX and compiled. A ratio below 1 says that the factors are the cheaper.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import flowsim as fs
from benchmarks.measure import ratio_of_medians
from benchmarks.section import Section

TITLE = "A factor field against a spectral one"
_EVALUATIONS = 200


@eqx.filter_jit
def _repeat(field, y):
    """Evaluate often inside one program: single calls would time the dispatch."""

    def body(_, v):
        velocity = field(0.0, v)
        return jax.tree.map(lambda a, b: a + 1e-12 * b, v, velocity)

    return jax.lax.fori_loop(0, _EVALUATIONS, body, y)


def measure(everything: bool = False) -> Section:
    """One row for each size and depth."""
    rows = []
    for d in (4, 32, 128):
        for depth in (2, 3, 8):
            rng = np.random.default_rng(0)
            W, target = rng.normal(size=(2, d, d)) / np.sqrt(d)
            law = fs.derive(fs.DeepLinear((d,) * (depth + 1)))
            with fs.float64():
                goal = jnp.asarray(target)
                fields = [
                    law.lower(_Quadratic(goal), strategy=strategy)
                    for strategy in ("factors", "spectral")
                ]
                starts = [jax.tree.map(jnp.asarray, field.start(W)) for field in fields]

                def run(i, fields=fields, starts=starts):
                    jax.block_until_ready(_repeat(fields[i], starts[i]))

                seconds = ratio_of_medians(lambda: run(0), lambda: run(1), rounds=5)
            rows.append(
                {
                    "d": d,
                    "N": depth,
                    "factors us": 1e6 * seconds[0] / _EVALUATIONS,
                    "spectral us": 1e6 * seconds[1] / _EVALUATIONS,
                    "factors / spectral": seconds[2],
                }
            )
    return Section(tables=[("", rows)])


class _Quadratic:
    def __init__(self, goal):
        self.goal = goal

    def __call__(self, W):
        return 0.5 * jnp.sum((W - self.goal) ** 2)
