"""ROCK4: order, stability interval, damping, error control, dense output, derivatives."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ellipj

import flowsim as fs
from flowsim._errors import InputError
from flowsim.integration.stabilized import coefficients
from flowsim.integration.stabilized.rock4 import ROCK4

ALL = ROCK4(most_stages=145)
STAGES, LENGTHS = ALL._intervals()


@pytest.fixture(autouse=True)
def _float64():
    with fs.float64():
        yield


class Mixed(eqx.Module):
    """Five problems with known solutions, side by side in one state of seven numbers."""

    stiffness: np.ndarray

    def __call__(self, t, y, args):
        return jnp.stack(
            [
                -(y[0] ** 3),  # 1 / sqrt(1 + 2t)
                y[1] - y[1] ** 2,  # logistic
                y[3] * y[4],  # a rigid body: sn, cn, dn
                -y[2] * y[4],
                -0.51 * y[2] * y[3],
                -2 * t * y[5] ** 2,  # 1 / (1 + t^2)
                -self.stiffness * (y[6] - jnp.cos(t)) - jnp.sin(t),  # cos t, forced and stiff
            ]
        )


START = np.array([1.0, 0.1, 0.0, 1.0, 1.0, 1.0, 1.0])


def exact(t):
    return np.stack(
        [
            1 / np.sqrt(1 + 2 * t),
            1 / (1 + 9 * np.exp(-t)),
            *ellipj(t, 0.51)[:3],
            1 / (1 + t**2),
            np.cos(t),
        ],
        axis=-1,
    )


@eqx.filter_jit
def constant_steps(field, solver, y0, t1, count, ts):
    return diffrax.diffeqsolve(
        diffrax.ODETerm(field), solver, 0.0, t1, t1 / count, y0,
        stepsize_controller=diffrax.ConstantStepSize(),
        saveat=diffrax.SaveAt(ts=ts), max_steps=None,
    ).ys  # fmt: skip


@eqx.filter_jit
def adaptive(field, solver, y0, t1, tolerance, adjoint):
    controller = diffrax.PIDController(rtol=tolerance, atol=tolerance, pcoeff=0.2, icoeff=0.4)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field), solver, 0.0, t1, None, y0,
        stepsize_controller=controller, adjoint=adjoint, max_steps=4096,
    )  # fmt: skip
    return jax.tree.map(lambda leaf: leaf[0], solution.ys)


def with_stages(stages, h):
    """The solver, and a radius on which it takes so many stages in steps of length h."""
    length = LENGTHS[list(STAGES).index(stages)]
    return ROCK4(radius=np.array(0.999 * length / h / 1.05), most_stages=145)


def slopes(errors):
    return np.log2(errors[:-1] / errors[1:])


@pytest.mark.parametrize("stages", [5, 9, 40, 145])
def test_order_is_four(stages):
    counts, t1 = np.array([32, 64, 128]), 3.0
    ends = [
        constant_steps(
            Mixed(np.array(1.0)),
            with_stages(stages, t1 / n),
            START,
            t1,
            np.array(n),
            np.array([t1]),
        )[0]
        for n in counts
    ]
    errors = np.abs(np.array(ends) - exact(t1))
    # The rigid body as one.
    errors[:, 2] = errors[:, 2:5].max(axis=1)
    for problem in (0, 1, 2, 5):
        assert abs(slopes(errors[:, problem])[-1] - 4) < 0.12, problem


def test_dense_output_is_of_order_four():
    ts, t1 = np.linspace(0.1, 3.0, 1999), 3.0  # close enough to see the worst of every step
    values = [
        constant_steps(Mixed(np.array(1.0)), with_stages(9, t1 / n), START, t1, np.array(n), ts)
        for n in (128, 256)
    ]
    errors = np.abs(np.array(values) - exact(ts)).max(axis=1)
    assert np.abs(slopes(errors) - 4).max() < 0.1


def one_step(field, y0, index):
    """The step of length 1 from t = 0, by index into the stage numbers."""
    y1, velocity, error, count = ALL._stages(field, 0.0, 1.0, y0, field(0.0, y0), index)
    return y1, velocity, error, count


def test_elementary_weights_of_the_step_itself():
    # This system's derivatives at zero are the rooted trees: a step from zero returns its weights.
    def field(t, y):
        return jnp.stack(
            [jnp.prod(y[np.array(tree, int)]) + 0 * y[0] for tree in coefficients.TREES]
            + [t, t**2, t**3]
        )

    step = jax.jit(jax.vmap(lambda i: one_step(field, jnp.zeros(11), i)))
    y1, velocity, error, count = step(np.arange(STAGES.size))
    np.testing.assert_array_equal(count, STAGES)
    weights = 1 / np.array([*coefficients.DENSITIES, 2, 3, 4], float)
    assert np.abs(y1 - weights).max() < 1e-14
    # The estimate is of order three, in time too.
    assert np.abs(error[:, [0, 1, 2, 3, 8, 9]]).max() < 2e-14
    assert np.abs(error[:, 7] - 0.01).max() < 1e-13
    np.testing.assert_array_equal(velocity[:, 8:], 1.0)


def test_stability_interval_and_damping_at_every_stage_number():
    fractions = np.concatenate(
        [(1 - np.cos(np.linspace(0, np.pi, 6000))) / 2, np.linspace(1, 1.03, 600)]
    )

    @jax.jit
    def amplify(index, length):
        z = length * fractions
        y1, _, error, _ = one_step(lambda t, y: -z * y, jnp.ones_like(z), index)
        return y1, error

    with np.load(coefficients.FILE) as file:
        stored = dict(file)
    for i, stages in enumerate(STAGES):
        grown, error = map(np.abs, amplify(i, LENGTHS[i]))
        z = LENGTHS[i] * fractions
        inside = (z > 0.1) & (fractions <= 1)
        assert grown[inside].max() < 0.951
        # The polynomial's own interval, in extended precision and by other code.
        method = coefficients.Coefficients(
            stored["mu"][i, : stages - 4], stored["kappa"][i, : stages - 4],
            stored["a"][i], stored["b"][i], stored["e"][i], stored["beta"][i],
        )  # fmt: skip
        edge = theory_edge(method)
        measured = z[np.argmax(grown > 1 + 1e-12)]
        assert abs(measured / edge - 1) < 0.02
        assert abs(LENGTHS[i] / edge - 1) < 0.02
        assert error[fractions <= 1].max() < 2.2


def theory_edge(method):
    """The first z at which the polynomial leaves [-1, 1], by bisection in long double."""
    low, high = np.longdouble(method.beta), np.longdouble(1.1 * method.beta)
    for _ in range(40):
        middle = (low + high) / 2
        outside = abs(coefficients.amplification(method, np.array([-middle]))[0][0]) > 1
        low, high = (low, middle) if outside else (middle, high)
    return float(low)


@pytest.mark.parametrize(("stages", "bound"), [(10, 1e-10), (20, 1e-8), (40, 1e-5)])
def test_amplified_rounding_is_bounded_and_seen_by_the_estimate(stages, bound):
    rng = np.random.default_rng(0)
    index = int(np.argmax(stages == STAGES))
    basis = np.linalg.qr(rng.normal(size=(100, 100)))[0]
    matrix = (basis * np.linspace(0, LENGTHS[index], 100)) @ basis.T
    rest = 1 + rng.uniform(size=100)
    noisy = rest + 1e-15 * rng.normal(size=100)  # a unit in the last place or several
    y1, _, error, _ = one_step(lambda t, y: matrix @ (rest - y), jnp.asarray(noisy), index)
    noise = np.sqrt(np.mean((y1 - rest) ** 2))
    assert 0 < noise < bound
    assert noise < 10 * np.sqrt(np.mean(error**2))


@pytest.mark.parametrize("stiffness", [1.0, 100.0])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-7, 1e-9])
def test_error_delivered_is_near_the_error_asked(stiffness, tolerance):
    end = adaptive(
        Mixed(np.array(stiffness)), ROCK4(), START, 3.0, np.array(tolerance),
        diffrax.RecursiveCheckpointAdjoint(),
    )  # fmt: skip
    error = np.sqrt(np.mean(((end - exact(3.0)) / (1 + np.abs(exact(3.0)))) ** 2))
    assert error < 10 * tolerance
    assert error > tolerance / 200


class Well(eqx.Module):
    """Gradient flow of a quartic in two leaves; of one or of two trees of parameters alike."""

    matrix: jax.Array

    def __call__(self, t, y, args):
        u, v = y["u"], y["v"]
        return {"u": -self.matrix @ u - u * v**2, "v": v - v**3 - v * jnp.sum(u**2)}


WELL = Well(np.diag([300.0, 2.0]) + 0.5)
WELL_START = {"u": np.array([1.0, -0.5]), "v": np.array(0.3)}


def loss(field, y0, solver, adjoint):
    y = adaptive(field, solver, y0, 2.0, np.array(1e-10), adjoint)
    return jnp.sum(y["u"] ** 2) + y["v"] ** 3


def test_derivatives_in_reverse_and_forward_mode_match_differences():
    adjoint = diffrax.RecursiveCheckpointAdjoint()
    reverse = jax.grad(lambda y: loss(WELL, y, ROCK4(), adjoint))(
        jax.tree.map(jnp.asarray, WELL_START)
    )
    direction = {"u": np.array([0.3, 1.0]), "v": np.array(-0.7)}
    along = sum(float(np.sum(reverse[k] * direction[k])) for k in direction)
    _, forward = jax.jvp(
        lambda y: loss(WELL, y, ROCK4(scan_kind="lax"), diffrax.ForwardMode()),
        (jax.tree.map(jnp.asarray, WELL_START),),
        (jax.tree.map(jnp.asarray, direction),),
    )
    h = 1e-3
    f = [
        float(
            loss(
                WELL, {k: WELL_START[k] + n * h * direction[k] for k in direction}, ROCK4(), adjoint
            )
        )
        for n in (-2, -1, 1, 2)
    ]
    differences = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h)
    assert abs(along / differences - 1) < 1e-6
    assert abs(float(forward) / differences - 1) < 1e-6


def test_a_batch_gives_what_each_lane_gives():
    starts = {"u": np.array([[1.0, -0.5], [0.1, 0.2]]), "v": np.array([0.3, -1.5])}
    adjoint = diffrax.RecursiveCheckpointAdjoint()
    batch = jax.vmap(lambda y: loss(WELL, y, ROCK4(), adjoint))(starts)
    for i in range(2):
        alone = loss(WELL, jax.tree.map(lambda x, i=i: x[i], starts), ROCK4(), adjoint)
        assert abs(float(batch[i]) - float(alone)) < 1e-8


def test_arguments_are_checked():
    with pytest.raises(InputError, match="most_stages"):
        ROCK4(most_stages=4)
    with pytest.raises(InputError, match="safety"):
        ROCK4(safety=0.5)
    assert ROCK4(most_stages=43)._intervals()[0][-1] == 42
    assert ROCK4().order(None) == 4
