"""Runs kept on the level set of their conservation laws, and what the laws say of the error."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim.instruments import LevelSet, error_from_laws
from flowsim.integration.projection import Projected, Projector
from flowsim.lowering import as_field

RNG = np.random.default_rng(3)
SQUARES = fs.Parametrization.from_text("u**2 - v**2", {"u": 3, "v": 3})
X, Y = RNG.normal(size=(20, 3)), RNG.normal(size=(20, 3))


def network(N):
    start = tuple(0.5 * RNG.normal(size=(3, 3)) for _ in range(N))
    return fs.Problem(fs.LpLoss(X, Y, p=2), fs.DeepLinear((3,) * (N + 1))), start


CASES = {
    "N = 2": network(2),
    "N = 3": network(3),
    "u^2 - v^2": (
        fs.Problem(fs.LpLoss(X[:5], Y[:5, 0], p=2), SQUARES),
        (np.array([0.5, 0.7, 0.2]), np.array([0.4, 0.3, 0.6])),
    ),
}
END = 5.0


@eqx.filter_jit
def solve(field, solver, y0, rtol):
    ts = jnp.linspace(0.0, END, 6)[1:]
    pid = diffrax.PIDController(rtol=rtol, atol=rtol)
    return diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        solver,
        0.0,
        END,
        None,
        y0,
        saveat=diffrax.SaveAt(ts=ts),
        stepsize_controller=diffrax.ClipStepSizeController(pid, step_ts=ts),
        max_steps=None,
        adjoint=diffrax.ForwardMode(),
    )


def run(field, solver, y0, rtol):
    with fs.float64():
        solution = solve(field, solver, jax.tree.map(jnp.asarray, y0), np.float64(rtol))
        return np.asarray(solution.ts), tuple(np.asarray(leaf) for leaf in solution.ys)


def distance(a, b):
    flat = [np.concatenate([x.reshape(len(x), -1) for x in ys], axis=1) for ys in (a, b)]
    return np.linalg.norm(flat[0] - flat[1], axis=1)


@pytest.fixture(scope="module", params=list(CASES))
def case(request):
    problem, start = CASES[request.param]
    laws = fs.conservation_laws(problem.parametrization)
    field = as_field(problem)
    exact = run(field, diffrax.Tsit5(), start, 1e-12)[1]
    return laws, field, start, exact


@pytest.mark.parametrize("rtol", [1e-4, 1e-6])
def test_drift_falls_to_rounding_and_the_error_does_not_grow(case, rtol):
    laws, field, start, exact = case
    projector = Projector.of(laws, start, field=field)
    plain = run(field, diffrax.Tsit5(), start, rtol)[1]
    kept = run(field, Projected(diffrax.Tsit5(), projector), start, rtol)[1]
    drifts = [
        max(np.abs(law.value(ys) - law.value(start)).max() for law in laws) for ys in (plain, kept)
    ]
    assert drifts[0] > 0.1 * rtol
    assert drifts[1] < (1e-12 if rtol == 1e-4 else 1e-14)
    assert distance(kept, exact).max() < 1.1 * distance(plain, exact).max()


@pytest.mark.parametrize("rtol", [1e-4, 1e-6])
def test_the_laws_give_a_lower_estimate_of_the_error(case, rtol):
    laws, field, start, exact = case
    ts, states = run(field, diffrax.Tsit5(), start, rtol)
    level = LevelSet.of(laws, start)
    estimate = error_from_laws(laws, ts, states, level=level)
    error = distance(states, exact)
    assert (estimate < 1.01 * error).all()
    assert estimate.max() > 0.1 * error.max()


def test_dense_output_of_a_projected_step_ends_on_the_level_set():
    problem, start = CASES["u^2 - v^2"]
    field = as_field(problem)
    projector = Projector.of(fs.conservation_laws(problem.parametrization), start)
    solver = Projected(diffrax.Tsit5(), projector)
    term = diffrax.ODETerm(field)
    with fs.float64():
        y0 = jax.tree.map(jnp.asarray, start)
        state = solver.init(term, 0.0, 0.1, y0, None)
        y1, _, dense, *_ = solver.step(term, 0.0, 0.1, y0, None, state, False)
        path = solver.interpolation_cls(t0=0.0, t1=0.1, **dense)
        ends = [path.evaluate(0.1), jax.tree.map(jnp.add, path.evaluate(0.0, 0.1), y0)]
        for end in ends:
            for a, b in zip(end, y1, strict=True):
                assert np.allclose(a, b, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("par", "low"),
    [
        (fs.DeepLinear((2, 3, 2)), -1.0),
        (fs.Diagonal(2, depth=3), 0.5),  # 1/u + 1/v: quotients
        (fs.Parametrization.from_text("exp(u) * v", {"u": 2, "v": 2}), 0.3),
        (fs.Parametrization.from_text("u**3 * v**2", {"u": 1, "v": 1}), 0.3),
    ],
    ids=["network", "quotients", "exponential", "powers"],
)
def test_values_are_the_laws_own_and_corrections_converge(par, low):
    rng = np.random.default_rng(0)
    laws = fs.conservation_laws(par)
    start = tuple(rng.uniform(low, 1.5, size=shape) for shape in par.shapes)
    level = LevelSet.of(laws, start)
    moved = tuple(x + 1e-5 * rng.normal(size=x.shape) for x in start)
    with fs.float64():
        assert np.allclose(level.values(moved), [law.value(moved) for law in laws], rtol=1e-14)
    back, length = level.project(0.0, moved)
    assert 0 < length < 1e-4
    for law in laws:
        assert law.value(back) == pytest.approx(law.value(start), abs=1e-13)


def test_dependent_laws_move_nothing_that_they_do_not_determine():
    # Rank one: of the ten balances of two 4 x 4 factors only some determine anything here.
    rng = np.random.default_rng(1)
    net = fs.DeepLinear((4, 4, 4))
    start = net.balanced(np.outer(rng.normal(size=4), rng.normal(size=4)))
    level = LevelSet.of(fs.conservation_laws(net), start)
    _, nothing = level.project(0.0, start)
    assert nothing < 1e-13
    off = tuple(x + 1e-7 * rng.normal(size=x.shape) for x in start)
    back, length = level.project(0.0, off)
    assert length < 1e-6
    with fs.float64():
        assert np.abs(level.values(back) - level.initial).max() < 1e-13


def test_names_single_factors_and_decay_are_followed():
    laws = fs.conservation_laws(SQUARES, weight_decay=0.5)
    start = {"v": np.array([0.1, 0.2, 0.3]), "u": np.array([1.0, 2.0, 3.0])}
    level = LevelSet.of(laws, start, 1.0)
    later = jax.tree.map(lambda x: np.exp(-0.5) * x, start)  # of degree k: exp(-k decay (t - t0))
    back, length = level.project(2.0, later)
    if laws[0].degree == 2:
        assert length < 1e-14
    assert list(back) == ["u", "v"]
    shifted, _ = level.project(2.0, start)
    for law in laws:
        expected = law.value(start) * np.exp(law.rate)
        assert law.value((shifted["u"], shifted["v"])) == pytest.approx(expected, rel=1e-3)


def test_what_does_not_fit_is_refused():
    problem, start = CASES["N = 2"]
    laws = fs.conservation_laws(problem.parametrization)
    with pytest.raises(fs.InputError, match="no conservation law"):
        Projector.of((), start)
    with pytest.raises(fs.InputError, match="shape"):
        Projector.of(laws, CASES["u^2 - v^2"][1])
    with pytest.raises(fs.InputError, match="factors"):
        Projector.of([*laws, *fs.conservation_laws(fs.DeepLinear((3, 3, 3, 3)))], start)
    with pytest.raises(fs.InputError, match="does not conserve"):
        Projector.of(laws, start, field=lambda t, y, args: jax.tree.map(jnp.ones_like, y))
    with pytest.raises(fs.InputError, match="ts is empty"):
        error_from_laws(laws, [], tuple(np.ones((0, 3, 3)) for _ in range(2)))
    with pytest.raises(fs.InputError, match="leading axis"):
        error_from_laws(laws, [0.0, 1.0], tuple(np.ones((3, 3, 3)) for _ in range(2)))


def test_a_run_is_projected_and_its_error_estimated_on_request():
    problem, start = CASES["N = 2"]
    laws = fs.conservation_laws(problem.parametrization)
    common = {"solver": "tsit5", "rtol": 1e-5, "ts": [1.0, 3.0], "monitor": laws}
    plain = fs.integrate(problem, start, 3.0, **common)
    kept = fs.integrate(problem, start, 3.0, project=laws, **common)
    largest = [max(np.abs(d).max() for d in r.drift.values()) for r in (plain, kept)]
    assert largest[0] > 1e-7
    assert largest[1] < 1e-14
    assert kept.stats["error_from_laws"] < 1e-14 < 1e-7 < plain.stats["error_from_laws"]
