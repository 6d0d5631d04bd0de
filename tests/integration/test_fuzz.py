"""Five hundred random fields, starts, tolerances and times: each run ends, says why, and is honest.

The seeds are the test's parameters. All fields are one Equinox module with other numbers, so that a
few compiled programs serve all of them.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim._result import Reason

SOLVERS = ("auto", "rkc2", "rock4", "extrapolation", "dopri8", "LSODA", "BDF")
SIZE = 3
GROUPS, RUNS = 20, 25


class Anything(eqx.Module):
    """A sum of terms, most of them absent: stiff, explosive, singular, broken or rough."""

    linear: np.ndarray  # (3, 3), symmetric or not
    powers: np.ndarray  # of y^2, y^3
    rough: np.ndarray  # of sqrt(y), 1/(y - 1), sign(y), sin(50 t), NaN above 2

    def __call__(self, t, y, args):
        def term(coefficient, value):
            return jnp.where(coefficient != 0, coefficient * value, 0.0)

        out = self.linear @ y + term(self.powers[0], y**2) + term(self.powers[1], y**3)
        out += term(self.rough[0], jnp.sqrt(y)) + term(self.rough[1], 1 / (y - 1))
        out += term(self.rough[2], jnp.sign(y)) + term(self.rough[3], jnp.sin(50 * t))
        return out + jnp.where((self.rough[4] != 0) & (y > 2), jnp.nan, 0.0)


def random_run(rng):
    """A field, a start, a final time and options."""
    A = rng.normal(size=(SIZE, SIZE))
    if rng.random() < 0.7:
        Q = np.linalg.qr(A)[0]
        sign = -1.0 if rng.random() < 0.8 else 1.0
        A = sign * (Q * 10 ** rng.uniform(-3, rng.choice([0, 3, 7]), SIZE)) @ Q.T
    powers = rng.normal(size=2) * (rng.random(2) < 0.3)
    rough = rng.normal(size=5) * (rng.random(5) < 0.12)
    y0 = rng.normal(size=SIZE) * 10 ** rng.uniform(-12, 4)
    t1 = 10 ** rng.uniform(-4, 4)
    options = {
        "ts": None if rng.random() < 0.5 else np.linspace(0, t1, 4)[1:],
        "rtol": 10 ** rng.uniform(-10, -2),
        "solver": str(rng.choice(SOLVERS)),
        "backend": None,
    }
    return Anything(A * (rng.random() < 0.9), powers, rough), y0, t1, options


@pytest.mark.parametrize("group", range(GROUPS))
@pytest.mark.filterwarnings("ignore::flowsim.ToleranceWarning")
def test_runs_end_and_say_why(group):
    for seed in range(group * RUNS, (group + 1) * RUNS):
        field, y0, t1, options = random_run(np.random.default_rng(seed))
        run = fs.integrate(field, y0, t1, **options, max_steps=3000, max_seconds=20.0, throw=False)
        assert run.result.reason is not Reason.wall_clock, (seed, run.result)
        assert np.isfinite(run.states).all(), seed
        assert (np.diff(run.ts) > 0).all(), seed
        if run.result.success:
            assert run.ts[-1] == t1, seed
        else:
            assert str(run.result), seed
            assert run.ts.size == 0 or run.ts[-1] < t1, seed
        if run.result.reason is Reason.blow_up:
            assert np.isfinite(run.result.blow_up_time), seed


def test_no_problem_of_a_batch_is_lost():
    runs = [random_run(np.random.default_rng(seed)) for seed in range(GROUPS * RUNS)]
    fields, starts, times, _ = zip(*runs, strict=True)
    batch = fs.integrate(
        list(fields), list(starts), np.array(times), rtol=1e-6, max_steps=3000, throw=False
    )
    assert len(batch) == len(runs)
    for seed, (run, t1) in enumerate(zip(batch, times, strict=True)):
        assert np.isfinite(run.states).all(), seed
        np.testing.assert_array_equal(run.states[0], starts[seed])
        if run.result.success:
            assert run.ts[-1] == t1, seed
    # A problem alone comes to the same end, where both come to one.
    compared = 0
    for seed in range(0, len(runs), 10):
        alone = fs.integrate(
            fields[seed], starts[seed], times[seed], ts=[times[seed]], solver="dopri8",
            rtol=1e-6, max_steps=3000, throw=False,
        )  # fmt: skip
        if alone.result.success and batch[seed].result.success:
            compared += 1
            scale = np.abs(alone.states[-1]).max() + np.abs(starts[seed]).max()
            assert np.abs(batch[seed].states[-1] - alone.states[-1]).max() < 1e-3 * scale, seed
    assert compared > 10
