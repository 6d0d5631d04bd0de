"""Every argument of integrate that is refused: by name, before work starts, with a remedy."""

import diffrax
import numpy as np
import pytest

import flowsim as fs

ONE = np.array([1.0])


def decay(t, y, args):
    return -y


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"t1": 0.0}, r"t1 is 0, which is not after t0 = 0"),
        ({"t1": 1.0, "t0": 2.0}, r"t1 is 1, which is not after t0 = 2"),
        ({"t1": np.nan}, r"t1 is nan, where a finite number"),
        ({"t1": np.inf}, r"t1 is inf, where a finite number"),
        ({"t1": "5"}, r"t1 is '5'"),
        ({"t0": np.nan}, r"t0 is nan"),
        ({"ts": [0.5, 0.2]}, r"ts is not strictly increasing: ts\[0\] = 0\.5.*numpy\.unique"),
        ({"ts": [0.5, 0.5]}, r"ts is not strictly increasing"),
        ({"ts": [0.5, np.nan]}, r"ts holds nan at index \(1,\)"),
        ({"ts": [0.5, 1.5]}, r"ts runs from 0\.5 to 1\.5, outside \[t0, t1\] = \[0, 1\].*Clip"),
        ({"ts": [-0.5]}, r"ts runs from -0\.5"),
        ({"ts": []}, r"ts is empty.*or None"),
        ({"ts": 0.5}, r"ts has shape \(\)"),
        ({"ts": [[0.5]]}, r"ts has shape \(1, 1\)"),
        ({"ts": ["a"]}, r"ts has dtype <U1"),
        ({"rtol": 0.0}, r"rtol is 0\.0, where a finite number above 0 and below 1"),
        ({"rtol": -1e-3}, r"rtol is -0\.001"),
        ({"rtol": 1.0}, r"rtol is 1\.0"),
        ({"rtol": np.nan}, r"rtol is nan"),
        ({"rtol": 1e-17}, r"rtol is 1e-17, finer than float64 can resolve.*at least 1e-14"),
        ({"atol": -1.0}, r"atol is -1\.0, where a finite number at least 0"),
        ({"atol": np.nan}, r"atol is nan"),
        ({"atol": "small"}, r"atol is 'small'"),
        ({"solver": "dopri7"}, r"solver is 'dopri7'.*Did you mean 'dopri[58]'"),
        ({"solver": "lsoda"}, r"solver is 'lsoda'.*Did you mean 'LSODA'"),
        ({"solver": "dop853"}, r"solver is 'dop853'.*Did you mean 'DOP853'"),
        ({"solver": None}, r"solver is None; pass a diffrax solver object"),
        ({"solver": diffrax.Tsit5}, r"solver is .*pass a diffrax solver object"),
        ({"solver": diffrax.Euler()}, r"solver is Euler, which has no error estimate.*descend"),
        ({"solver": diffrax.ShARK()}, r"solver is ShARK"),
        ({"solver": diffrax.KenCarp4()}, r"solver is KenCarp4"),
        ({"backend": "difrax"}, r"backend is 'difrax'.*Did you mean 'diffrax'"),
        ({"backend": "jax"}, r"backend is 'jax', which is none of 'diffrax', 'scipy'"),
        ({"backend": "scipy", "solver": "tsit5"}, r"runs on diffrax, but backend is 'scipy'"),
        ({"backend": "diffrax", "solver": "RK45"}, r"runs on scipy, but backend is 'diffrax'"),
        ({"clock": "steps"}, r"clock is 'steps'; pass 'time', 'log', 'loss'"),
        ({"stop": 1.0}, r"stop is 1, a value of the loss, but this field has no loss"),
        ({"progress": "bar"}, r"progress is 'bar'; pass a function, or None"),
        ({"max_steps": 0}, r"max_steps is 0.*at least 1"),
        ({"max_steps": 10.5}, r"max_steps is 10\.5"),
        ({"max_seconds": 0.0}, r"max_seconds is 0\.0.*above 0"),
        ({"max_seconds": np.nan}, r"max_seconds is nan"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(fs.InputError, match=match):
        fs.integrate(decay, ONE, **{"t1": 1.0, **options})


@pytest.mark.parametrize(
    ("y0", "match"),
    [
        (np.array([np.nan]), r"y0 holds nan at index \(0,\)"),
        (np.array([1j]), r"y0 has dtype complex128"),
        (np.ma.masked_array([1.0, 2.0], [0, 1]), r"y0 is a masked array"),
        (np.array(["x"]), r"y0 has dtype <U1"),
        (np.zeros(0), r"y0 is empty"),
        ({"a": np.array([np.inf])}, r"y0\['a'\] holds inf"),
    ],
)
def test_bad_starts_are_refused(y0, match):
    with pytest.raises(fs.InputError, match=match):
        fs.integrate(decay, y0, 1.0)


def test_misspelt_keywords_are_answered():
    with pytest.raises(TypeError, match=r"no argument 'rtoll'\. Did you mean 'rtol'"):
        fs.integrate(decay, ONE, 1.0, rtoll=1e-3)
    with pytest.raises(TypeError, match=r"no argument 'maxsteps'\. Did you mean 'max_steps'"):
        fs.integrate(decay, ONE, 1.0, maxsteps=5)


def test_something_else_than_a_field_is_refused():
    with pytest.raises(fs.InputError, match=r"field_or_problem is int; pass a Problem"):
        fs.integrate(3, ONE, 1.0)


def test_a_numpy_field_is_not_for_diffrax():
    net = fs.DeepLinear((2, 1))
    field = fs.derive(net).lower(fs.LpLoss(np.eye(2), np.ones(2), p=2), backend="numpy")
    with pytest.raises(fs.InputError, match=r"lowered to NumPy.*backend='jax'.*backend='scipy'"):
        fs.integrate(field, np.ones(2), 1.0, solver="tsit5")
