"""RKC2: order, stability, damping, delivered error, transformations and honest counts."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowsim import InputError, float64
from flowsim.integration.stabilized import RKC2

T0, T1 = 0.5, 3.5
DAMPING = 2 / 13


@pytest.fixture(autouse=True)
def _double():
    with float64():
        yield


class Three(eqx.Module):
    """Three problems in one: a cubic decay, a field of time, a limit cycle; k scales the first."""

    k: np.ndarray

    def __call__(self, t, y, args):
        u, v = y["cycle"]
        pull = 1 - u * u - v * v
        return {
            "cube": -self.k * y["cube"] ** 3,
            "timed": -t * y["timed"] ** 2,
            "cycle": jnp.stack([-v + u * pull, u + v * pull]),
        }


def exact(t, k=1.0):
    t = np.asarray(t, float)
    radius = 1 / np.sqrt(1 + 3 * np.exp(-2 * t))
    return {
        "cube": 2 / np.sqrt(1 + 8 * k * t),
        "timed": 1.5 / (1 + 0.75 * t**2),
        "cycle": np.stack([radius * np.cos(t), radius * np.sin(t)], axis=-1),
    }


def start(k=1.0):
    return jax.tree.map(jnp.asarray, exact(T0, k))


INSIDE = T0 + (T1 - T0) * (np.arange(40) + 0.37) / 40


@eqx.filter_jit
def fixed_steps(field, count, radius, y0):
    """Values at the end and inside, with equal steps, and the solver's last state."""
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        RKC2(radius=radius),
        T0,
        T1,
        (T1 - T0) / count,
        y0,
        saveat=diffrax.SaveAt(t1=True, dense=True, solver_state=True),
        max_steps=512,
    )
    end = jax.tree.map(lambda leaf: leaf[-1], solution.ys)
    return end, jax.vmap(solution.evaluate)(INSIDE), solution.solver_state


@pytest.mark.parametrize("stages", [2, 3, 10, 100])
def test_the_order_is_two_at_every_number_of_stages_at_the_end_and_inside(stages):
    counts = np.array([48, 96, 192, 384])
    length = RKC2()._intervals()[1][stages - 2]
    ends, insides = [], []
    for count in counts:
        # A radius is given that takes the wanted number of stages at this step.
        radius = np.asarray(0.99 * length / 1.05 * count / (T1 - T0))
        end, inside, state = fixed_steps(Three(np.array(1.0)), np.asarray(count), radius, start())
        assert int(state.stages) == stages
        ends.append({n: np.max(np.abs(v - exact(T1)[n])) for n, v in end.items()})
        insides.append({n: np.max(np.abs(v - exact(INSIDE)[n])) for n, v in inside.items()})
    for errors in (ends, insides):
        for name in ("cube", "timed", "cycle"):
            logs = np.log([e[name] for e in errors])
            slope = -np.polyfit(np.log(counts), logs, 1)[0]
            assert slope == pytest.approx(2.0, abs=0.1), (name, slope)


@eqx.filter_jit
def growth(z, index):
    """R(-z) and the error estimate, by the very code of the stages."""
    solver = RKC2(scan_kind="lax")
    return solver._stages(lambda t, y: -z * y, 0.0, 1.0, jnp.ones_like(z), -z, index)[::2]


def true_length(s):
    """Where |R| = 1 first, from hyperbolic functions instead of recurrences."""
    w0 = 1 + DAMPING / s**2
    root, angle = np.sqrt(w0**2 - 1), s * np.arccosh(w0)
    T, dT = np.cosh(angle), s * np.sinh(angle) / root
    ddT = (s**2 * T - w0 * dT) / root**2
    b = ddT / dT**2
    # R = 1 at T_s = T_s(w0) for even s; R = -1 at a + b T_s = -1 for odd s.
    x = -w0 if s % 2 == 0 else -np.cosh(np.arccosh((2 - b * T) / b) / s)
    return (w0 - x) * ddT / dT


def test_the_stability_interval_is_what_theory_says_at_every_number_of_stages():
    stages, lengths = RKC2()._intervals()
    assert stages[0] == 2
    assert stages[-1] == 500
    grid = np.linspace(0, 1.05, 1051)[1:]
    for index, s in enumerate(stages):
        theory = true_length(s)
        z = grid * theory
        R = np.abs(np.asarray(growth(z, np.asarray(index))[0]))
        last = z[np.argmax(R > 1 + 1e-9) - 1]
        assert last == pytest.approx(theory, rel=0.002), s
        assert lengths[index] <= theory, s
        # The part that is used is damped by its share everywhere but near zero.
        assert np.all(R[z <= lengths[index]] < 1), s
        if s > 2:
            assert R[(z >= 2) & (z <= lengths[index])].max() < 1 - DAMPING / 4, s


def test_the_error_estimate_sees_stiff_modes_in_the_whole_interval():
    _, lengths = RKC2()._intervals()
    for index in (1, 2, 8, 9, 98, 498):
        z = np.linspace(1, lengths[index], 801)
        assert np.asarray(growth(z, np.asarray(index))[1]).min() > 0.02


@eqx.filter_jit
def adaptive(field, rtol, y0):
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        RKC2(),
        T0,
        T1,
        None,
        y0,
        stepsize_controller=diffrax.PIDController(
            rtol=rtol, atol=1e-3 * rtol, pcoeff=0.2, icoeff=0.4
        ),
        max_steps=None,
    )
    return jax.tree.map(lambda leaf: leaf[-1], solution.ys)


@pytest.mark.parametrize("k", [1.0, 1e3])
def test_the_error_delivered_is_the_error_asked(k):
    for rtol in 10.0 ** -np.arange(3, 10):
        got = adaptive(Three(np.array(k)), np.asarray(rtol), start(k))
        want = exact(T1, k)
        ratios = [np.max(np.abs(got[n] - want[n])) / np.max(np.abs(want[n])) / rtol for n in want]
        assert 0.1 < max(ratios) < 10, (rtol, ratios)


def test_lanes_of_different_stiffness_come_out_as_alone():
    ks = np.array([1.0, 30.0, 1e3])
    starts = [start(k) for k in ks]
    rtol = np.asarray(1e-4)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    lanes = eqx.filter_jit(eqx.filter_vmap(adaptive, in_axes=(0, None, 0)))
    together = lanes(Three(ks), rtol, stacked)
    for i, k in enumerate(ks):
        alone = adaptive(Three(ks[i]), rtol, starts[i])
        for name, value in exact(T1, k).items():
            np.testing.assert_allclose(together[name][i], alone[name], rtol=1e-10)
            np.testing.assert_allclose(alone[name], value, atol=2e-3)


@pytest.mark.parametrize("kind", ["reverse", "forward"])
def test_derivatives_match_finite_differences(kind):
    forward = kind == "forward"

    def end(k):
        solution = diffrax.diffeqsolve(
            # Closed over on purpose: the estimate of the radius must not be differentiated either.
            diffrax.ODETerm(lambda t, y, args: -k * args * y**3),
            RKC2(scan_kind="lax" if forward else None),
            0.0,
            1.0,
            0.05,
            jnp.array([1.0, 1.5]),
            args=jnp.array([1.0, 30.0]),
            adjoint=diffrax.ForwardMode() if forward else diffrax.RecursiveCheckpointAdjoint(),
            max_steps=256,
        )
        return jnp.sum(solution.ys[-1])

    k = jnp.asarray(1.3)
    got = jax.jit(jax.jacfwd(end) if forward else jax.grad(end))(k)
    value = jax.jit(end)
    difference = (value(k + 1e-5) - value(k - 1e-5)) / 2e-5
    assert got == pytest.approx(float(difference), rel=1e-6)


def test_the_work_is_counted_as_it_is_done():
    calls = []

    def field(t, y, args):
        jax.debug.callback(lambda: calls.append(1))
        return -100.0 * y

    def called():
        jax.effects_barrier()
        count = len(calls)
        calls.clear()
        return count

    solver, terms = RKC2(most_stages=30), diffrax.ODETerm(field)
    step = jax.jit(lambda t0, t1, y, s, jump: solver.step(terms, t0, t1, y, None, s, jump)[::3])
    y = jnp.array([1.0, 0.5])
    state = jax.jit(lambda y: solver.init(terms, 0.0, 1.0, y, None))(y)
    # Linearizing evaluates the field once; the products it serves are counted by themselves.
    assert called() == int(state.debt.gradients) + 2
    assert int(state.debt.hessian_products) >= 2
    total = 0
    longest = float(solver.longest_step(state))
    assert longest == pytest.approx(solver._intervals()[1][-1] / 105, rel=0.05)
    # Length of the step, whether y jumped, whether an estimate is due.
    for share, jump, due in ((1, False, True), (0.01, False, False), (0.5, True, True)):
        y, after = step(0.0, share * longest, y, state, jump)
        cost = solver.cost(state, after)
        total += int(cost.gradients)
        first = int(state.debt.gradients)
        assert int(after.work.gradients) == int(after.stages) + jump
        assert called() == int(cost.gradients) - first + due
        state = after
    assert int(after.debt.gradients) == 0
    # A step that is too long is refused at the least cost, and charged.
    y1, error, _, after, _ = solver.step(terms, 0.0, 1e3, y, None, state, jnp.asarray(False))
    assert int(solver.cost(state, after).gradients) == 2
    np.testing.assert_array_equal(y1, y)
    assert np.all(np.asarray(error) > 1e20)
    going_on = solver.learned(state, after)
    assert float(going_on.radius) == float(state.radius)
    np.testing.assert_array_equal(going_on.velocity, state.velocity)


def test_states_keep_their_dtype():
    solver, terms = RKC2(), diffrax.ODETerm(lambda t, y, args: jax.tree.map(jnp.negative, y))
    y = {"a": jnp.ones(3, jnp.float32), "b": (jnp.ones((), jnp.float32),)}
    state = solver.init(terms, 0.0, 1.0, y, None)
    out = solver.step(terms, jnp.asarray(0.0), jnp.asarray(0.1), y, None, state, False)
    assert {leaf.dtype for leaf in jax.tree.leaves((out[0], out[1]))} == {np.dtype(np.float32)}
    same = jax.tree.map(lambda a, b: a.dtype == b.dtype and a.shape == b.shape, state, out[3])
    assert all(jax.tree.leaves(same))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"most_stages": 1}, "most_stages is 1"),
        ({"safety": 0.5}, "safety is 0.5"),
        ({"radius": -1.0}, "radius is -1.0"),
        ({"scan_kind": "fast"}, "scan_kind is 'fast'"),
    ],
)
def test_wrong_arguments_are_named(arguments, said):
    with pytest.raises(InputError, match=said):
        RKC2(**arguments)
