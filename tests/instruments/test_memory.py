"""Memory coefficients: numbers, identities, and what is refused."""

import dataclasses
from functools import cache
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim._errors import FlowsimError, InputError
from flowsim.instruments import memory_coefficients

X = np.array(
    [[0.9, -0.4, 0.3], [-0.2, 0.8, 0.5], [0.6, 0.7, -0.9], [-1.1, 0.2, 0.4], [0.3, -0.6, 1.0]]
)
Y = np.array([0.5, 1.2, -0.7, -0.3, 0.8])
START = (np.array([0.1, -0.05, 0.2]), 0.3)
ETA = 0.01


def problem(p=2, **keywords):
    return fs.Problem(fs.LpLoss(X, Y, p=p), fs.ScaledVector(3), **keywords)


def gradient(w, p):
    r = X @ w - Y
    return X.T @ r ** (p - 1) / len(Y)


def descent(p=2, steps=200, start=START, **keywords):
    keywords = {"learning_rate": ETA, "record": np.arange(steps + 1)} | keywords
    return fs.descend(problem(p), start, steps=steps, **keywords)


@cache
def flow(p=2, w1=(0.1, -0.05, 0.2), w2=0.3):
    start = (np.array(w1), w2)
    return fs.integrate(problem(p), start, t1=3.0, rtol=1e-13, ts=np.linspace(0, 3, 241))


# -- reference numbers: independent Gragg-Bulirsch-Stoer integration of order 16 in extended
# -- precision for the flows, independent iteration in extended precision for descent


@pytest.mark.parametrize(
    ("p", "w", "rho", "paper", "exact"),
    [
        (
            2,
            (0.08010650461508, -0.03326067525484, 0.2609132606678),
            0.001636023157267,
            4.281371931471e-06,
            4.29429835671e-06,
        ),
        (4, (0.02908009585236, 0.02986025543522, 0.1729642060818), None, None, None),
    ],
)
def test_descent_against_reference_numbers(p, w, rho, paper, exact):
    run = descent(p)
    assert run.end_to_end[-1] == pytest.approx(w, abs=1e-13)
    if rho is None:
        return
    printed, kept = memory_coefficients(run, form="paper"), memory_coefficients(run)
    assert printed.rho[100] == pytest.approx(rho, rel=1e-12)
    assert printed.mu[100, 50] == pytest.approx(paper, rel=1e-11)
    assert kept.mu[100, 50] == pytest.approx(exact, rel=1e-11)
    # gamma^100, from rho~ = (1 - gamma) rho.
    assert 1 - kept.rho[100] / printed.rho[100] == pytest.approx(-0.003056483897031, rel=1e-10)


@pytest.mark.parametrize(
    ("p", "w", "mu"),
    [
        (2, (0.1250168953975, -0.03002989540482, 0.4418516132215), 0.06320701481363),
        (4, (0.02748387495878, 0.07102372230212, 0.2621677350543), 0.03658527708068),
    ],
)
def test_flows_against_reference_numbers(p, w, mu):
    run = flow(p)
    if p == 4:
        assert run.states[1][-1] == pytest.approx(0.5407383644857, abs=1e-12)
        assert run.end_to_end[-1] == pytest.approx(w, abs=1e-12)
    for form in ("exact", "exponential"):
        memory = memory_coefficients(run, form=form)
        assert memory.ts[100] == 1.25
        assert memory.mu[-1, 100] == pytest.approx(mu, abs=1e-13)


def test_a_flow_through_a_zero_of_w2():
    run = flow(w1=(0.2, -0.1, 0.4), w2=-0.05)
    assert run.end_to_end[-1] == pytest.approx(
        (0.1145673845191, -0.05041983334382, 0.3045648479642), abs=1e-12
    )
    memory = memory_coefficients(run)
    assert memory.residual < 1e-13
    with pytest.raises(InputError, match=r"is 0 at t = 0.26847[12]; the exact form"):
        memory_coefficients(run, form="exponential")


# -- identities ------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [2, 4])
@pytest.mark.parametrize("form", ["exact", "paper"])
def test_descent_is_reproduced_to_rounding(p, form):
    run = descent(p)
    memory = memory_coefficients(run, form=form)
    w = run.end_to_end
    for t in (0, 1, 57, 199):
        step = -memory.rho[t] * gradient(w[t], p) + memory.w0_coefficient[t] * memory.origin
        for tau in range(t):
            step = step - memory.mu[t, tau] * gradient(w[tau], p)
        if form == "paper":
            step = step + memory.dropped[t]
        assert w[t + 1] - w[t] == pytest.approx(step, abs=1e-14)
    assert memory.residual < 1e-12
    assert memory.origin == pytest.approx(START[0] if form == "exact" else w[0])


def test_what_the_paper_drops_in_one_step():
    run = descent(steps=100)
    memory = memory_coefficients(run, form="paper")
    w, w1, w2 = run.end_to_end[0], run.states[0][0], run.states[1][0]
    g = gradient(w, 2)
    assert memory.dropped[0] == pytest.approx(ETA**2 * w2 * (w1 @ g) * g, rel=1e-12)
    # It is of second order in the step.
    fine = descent(steps=200, learning_rate=ETA / 2)
    ratios = [np.max(np.abs(memory_coefficients(r, form="paper").dropped)) for r in (run, fine)]
    assert ratios[0] / ratios[1] == pytest.approx(4, rel=0.1)


def test_the_paper_s_product_telescopes():
    run = descent(steps=30)
    memory = memory_coefficients(run, form="paper")
    w2 = run.states[1]
    for t, tau in ((20, 3), (20, 19), (29, 0)):
        closed = ETA * (w2[t + 1] - w2[t]) * w2[tau] ** 2 / w2[tau + 1]
        assert memory.mu[t, tau] == pytest.approx(closed, rel=1e-11)
    assert not np.triu(memory.mu).any()


def test_the_residual_of_a_flow_is_that_of_its_grid_and_falls_to_rounding():
    run = flow()
    residuals = [memory_coefficients(run[::step]).residual for step in (80, 40, 20, 10, 1)]
    assert residuals[0] > 1e-5
    assert all(b < a / 4 for a, b in pairwise(residuals[:4]))
    assert residuals[-1] < 1e-13
    # On uneven times as well.
    uneven = np.unique(np.round(240 * np.linspace(0, 1, 60) ** 1.5).astype(int))
    picked = dataclasses.replace(
        run, ts=run.ts[uneven], states=tuple(part[uneven] for part in run.states)
    )
    assert memory_coefficients(picked).residual < 1e-10


def test_a_wrong_memory_would_show_in_the_residual():
    run = flow()
    w1, w2 = run.states
    shifted = dataclasses.replace(run, states=(w1 * 1.001, w2))
    assert memory_coefficients(shifted).residual > 1e-5


def test_the_memory_begins_at_the_first_record():
    run = descent()
    late = memory_coefficients(run[50:])
    assert late.residual < 1e-12
    assert late.origin == pytest.approx(run.states[0][50])
    assert memory_coefficients(flow()[40:]).residual < 1e-13


def test_descent_tends_to_the_flow():
    memory = memory_coefficients(flow())
    fine = memory_coefficients(descent(steps=300))
    # rho carries eta, mu eta^2.
    assert fine.rho[125] / ETA == pytest.approx(memory.rho[100], rel=1e-2)
    assert fine.mu[299, 125] / ETA**2 == pytest.approx(memory.mu[-1, 100], rel=2e-2)


def test_momentum_where_w2_grows_and_damping_where_it_shrinks():
    assert memory_coefficients(flow()).mu[-1, 0] > 0
    shrinking = memory_coefficients(descent(steps=10, start=(np.full(3, 2.0), 1.0)))
    assert (shrinking.mu[5, :5] < 0).all()


def test_two_layers_with_one_hidden_unit_are_the_same_model():
    net = fs.Problem(fs.LpLoss(X, Y, p=2), fs.DeepLinear((3, 1, 1)))
    start = (START[0][None, :], np.array([[START[1]]]))
    run = fs.descend(net, start, learning_rate=ETA, steps=50, record=np.arange(51))
    there = memory_coefficients(run)
    here = memory_coefficients(descent(steps=50))
    assert there.mu == pytest.approx(here.mu, abs=1e-16)
    assert there.gradients == pytest.approx(here.gradients, abs=1e-14)


def test_a_loss_of_the_user_s_own():
    prob = fs.Problem(lambda w: jnp.sum(jnp.cos(w) + w**2), fs.ScaledVector(2))
    start = (np.array([0.4, 0.7]), 0.9)
    run = fs.descend(prob, start, learning_rate=0.05, steps=40, record=np.arange(41))
    assert memory_coefficients(run).residual < 1e-12
    assert memory_coefficients(run, form="paper").residual < 1e-12


def test_one_record_has_no_memory():
    memory = memory_coefficients(descent()[:1])
    assert memory.mu.tolist() == [[0.0]]
    assert memory.residual < 1e-14


# -- refusals --------------------------------------------------------------------------------------


def test_a_record_that_is_not_of_its_problem_is_found_out():
    run = descent()
    with pytest.raises(FlowsimError, match="does not reproduce it"):
        memory_coefficients(dataclasses.replace(run, parent=problem(4)))
    w1, w2 = run.states
    w1 = w1.copy()
    w1[120, 1] += 1e-9
    with pytest.raises(FlowsimError, match="does not reproduce it"):
        memory_coefficients(dataclasses.replace(run, states=(w1, w2)))


def test_a_zero_of_w2_has_no_form_of_the_paper():
    run = descent(start=(np.array([0.1, -0.05, 0.2]), 0.0))
    assert memory_coefficients(run).residual < 1e-12
    with pytest.raises(InputError, match="divides by w2, which is 0 at t = 0; the exact form"):
        memory_coefficients(run, form="paper")


@pytest.mark.parametrize(
    ("trajectory", "form", "complaint"),
    [
        (lambda: 3, "exact", "trajectory is int"),
        (lambda: flow(), "discrete", "form is 'discrete'"),
        (lambda: flow(), "paper", "form is 'paper', which is of descent"),
        (lambda: descent(), "exponential", "form is 'exponential', which is of a flow"),
        (lambda: descent(record=None), "exact", r"record=numpy.arange\(steps \+ 1\)"),
        (lambda: descent(learning_rate=lambda k: 0.01), "exact", "a constant step"),
        (lambda: dataclasses.replace(flow(), parent=None), "exact", "has no parent"),
        (
            lambda: dataclasses.replace(flow(), parent=problem(weight_decay=0.1)),
            "exact",
            "weight decay 0.1",
        ),
        (
            lambda: dataclasses.replace(flow(), parent=problem(rates={"w2": 2.0})),
            "exact",
            "at one rate",
        ),
        (
            lambda: dataclasses.replace(
                flow(), parent=fs.Problem(fs.LpLoss(X, Y, p=2), fs.Identity(3))
            ),
            "exact",
            "memory is known of",
        ),
    ],
)
def test_wrong_input_is_named(trajectory, form, complaint):
    with pytest.raises(InputError, match=complaint):
        memory_coefficients(trajectory(), form=form)


def test_too_many_pairs_are_refused():
    run = flow()
    long = dataclasses.replace(
        run,
        ts=np.linspace(0, 3, 5001),
        states=tuple(np.repeat(part[:1], 5001, axis=0) for part in run.states),
    )
    with pytest.raises(InputError, match=r"pass trajectory\[:n\]"):
        memory_coefficients(long)
