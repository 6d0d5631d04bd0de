"""What is compiled, how often, and where it is kept."""

import os
import subprocess
import sys
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim.lowering import as_field
from tests.integration.fields import Polynomial

_COMPILED = "/jax/core/compile/backend_compile_duration"
_events = []
jax.monitoring.register_event_duration_secs_listener(lambda name, _, **__: _events.append(name))


@contextmanager
def compilations():
    """Count the programs that are compiled inside."""
    before, counted = len(_events), []
    yield counted
    counted.extend(name for name in _events[before:] if name == _COMPILED)


def run(k, solver, **options):
    """A run whose numbers all depend on k."""
    field = Polynomial(1.0 + k / 10, -1.0, 0.0)
    y0 = np.array([0.01, 0.3]) * (1 + k / 7)
    ts = np.linspace(0.5, 3.0 + k, 4)
    return fs.integrate(field, y0, ts[-1], ts=ts, solver=solver, rtol=10.0 ** (-5 - k), **options)


@pytest.mark.parametrize(
    ("solver", "clock"),
    [("auto", "time"), ("dopri8", "log"), ("extrapolation", "time"), ("DOP853", "time")],
)
def test_nothing_is_compiled_again_when_only_numbers_change(solver, clock):
    options = {"clock": clock} | ({"backend": "diffrax"} if solver == "auto" else {})
    with compilations() as first:
        run(0, solver, **options)
    with compilations() as later:
        for k in (1, 2, 3):
            run(k, solver, **options)
    assert later == []
    assert len(first) <= 60


def test_problems_with_other_data_share_their_program():
    rng = np.random.default_rng(0)
    net = fs.DeepLinear((3, 2, 1))

    def go():
        loss = fs.LpLoss(rng.normal(size=(6, 3)), rng.normal(size=6), p=4)
        theta = [rng.normal(size=(2, 3)), rng.normal(size=(1, 2))]
        fs.integrate(fs.Problem(loss, net), theta, 0.3, ts=[0.1, 0.3], solver="dopri8")

    go()
    with compilations() as later:
        go()
    assert later == []


def test_loss_and_gradient_come_from_one_evaluation():
    """Inside one program the loss costs next to nothing beside the gradient."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 50))

    def loss(p):
        return jnp.mean(jnp.tanh(X @ p["W"]) @ p["v"]) ** 2

    start = {"W": rng.normal(size=(50, 40)), "v": rng.normal(size=40)}
    field = as_field(fs.Problem.from_function(loss, start))

    def flops(function):
        with fs.float64():
            return jax.jit(function).lower(start).compile().cost_analysis()["flops"]

    gradient = flops(lambda y: field(0.0, y))
    both = flops(lambda y: (field(0.0, y), field.value(y)))
    assert both < 1.01 * gradient


def test_compiled_programs_are_kept_where_asked(tmp_path):
    script = (
        "import sys, numpy as np, flowsim as fs\n"
        "fs.cache_compilations(sys.argv[1])\n"
        "fs.integrate(lambda t, y, args: -y, np.ones(2), 1.0, solver='tsit5')\n"
    )

    def go():
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "kept")],
            check=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        return sorted(
            p.name for p in (tmp_path / "kept").iterdir() if not p.name.endswith("-atime")
        )

    kept = go()
    assert kept
    assert go() == kept  # the second process compiled nothing that the first had not


@pytest.mark.parametrize("directory", [None, 3, "/dev/null/inside"])
def test_a_wrong_directory_is_refused(directory):
    with pytest.raises(fs.InputError, match="directory is"):
        fs.cache_compilations(directory)
