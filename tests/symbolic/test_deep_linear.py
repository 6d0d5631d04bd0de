"""The derived laws against factors that move by finite differences, and against oracle numbers."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from sympy import Float, Rational, Symbol, exp

from flowsim._errors import InputError
from flowsim.problems import DeepLinear, Identity
from flowsim.symbolic import (
    CertificationError,
    FrobeniusNorm,
    MatrixSum,
    balance,
    deep_linear,
    derive,
)
from flowsim.symbolic.preconditioner import sigma
from flowsim.symbolic.rewriting import Rule
from flowsim.symbolic.words import MatrixPolynomial
from tests.symbolic.oracles import (
    Network,
    balanced,
    chain,
    evaluate,
    factor_velocities,
    gradient_by_differences,
    product_velocity,
    quadratic,
    random_factors,
)

WIDTHS = [(3, 3), (4, 3, 3), (3, 3, 3, 3), (4, 2, 3, 3), (2, 3, 2, 4, 3), (4, 1, 1), (5, 2, 3, 1)]
LAMBDA = Symbol("lambda", nonnegative=True)


@pytest.fixture
def rng():
    return np.random.default_rng(20180214)


def close(a, b, tolerance=1e-8):
    assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b)


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("decay", [0, 0.15])
class TestAgainstDifferences:
    def test_factors_follow_the_negative_gradient(self, widths, decay, rng):
        law = derive(Network(len(widths) - 1, widths), weight_decay=decay)
        theta, loss = random_factors(widths, rng), quadratic(widths, rng)
        G = gradient_by_differences(loss, chain(theta, len(theta), 1))
        for i, V in enumerate(factor_velocities(loss, theta, decay), start=1):
            close(evaluate(law.factor_flow.subs(law.index, i), theta, G), V, 1e-7)

    def test_general_law_from_any_start(self, widths, decay, rng):
        law = derive(Network(len(widths) - 1, widths), weight_decay=decay)
        theta, loss = random_factors(widths, rng), quadratic(widths, rng)
        G = gradient_by_differences(loss, chain(theta, len(theta), 1))
        dW = product_velocity(theta, factor_velocities(loss, theta, decay))
        close(evaluate(law.general, theta, G), dW, 1e-7)
        close(evaluate(law.general_sum, theta, G), dW, 1e-7)

    def test_closed_law_from_a_balanced_start(self, widths, decay, rng):
        law = derive(Network(len(widths) - 1, widths), weight_decay=decay)
        theta, loss = balanced(widths, rng), quadratic(widths, rng)
        G = gradient_by_differences(loss, chain(theta, len(theta), 1))
        dW = product_velocity(theta, factor_velocities(loss, theta, decay))
        for form in (law.rhs, law.balanced, law.balanced_sum):
            close(evaluate(form, theta, G), dW, 1e-7)

    def test_balance_defects_decay(self, widths, decay, rng):
        law = derive(Network(len(widths) - 1, widths), weight_decay=decay)
        theta, loss = random_factors(widths, rng), quadratic(widths, rng)
        V = factor_velocities(loss, theta, decay)
        h = 1e-4 / max(np.linalg.norm(v) for v in V)
        ahead = [W + h * v for W, v in zip(theta, V, strict=True)]
        behind = [W - h * v for W, v in zip(theta, V, strict=True)]
        G = np.zeros((widths[-1], widths[0]))
        for quantity in law.conserved:
            for D in quantity.instances():
                rate = (evaluate(D, ahead, G) - evaluate(D, behind, G)) / (2 * h)
                expected = float(quantity.rate) * evaluate(D, theta, G)
                scale = np.linalg.norm(theta[0]) * np.linalg.norm(V[0])
                assert np.linalg.norm(rate - expected) <= 1e-6 * scale


def test_preconditioner_is_the_law_on_stacked_columns(rng):
    widths = (4, 3, 3, 3)
    law = derive(Network(3, widths))
    theta, G = balanced(widths, rng), rng.standard_normal((3, 4))
    P = evaluate(law.preconditioner.matrix, theta, G)
    dW = evaluate(law.balanced, theta, G)
    close(-P @ G.flatten(order="F"), dW.flatten(order="F"), 1e-12)


# The numbers below come from an independent Gragg-Bulirsch-Stoer integration of order 16 in
# extended precision, or, where no time passes, from the same programs' evaluation of the formula.


def test_oracle_preconditioner_eigenvalues():
    P = derive(Network(3)).preconditioner
    s = [1.3, 0.7, 0.0]
    x, y = sigma[1], sigma[2]
    total = P.eigenvalue(1, 2, form="sum")
    found = sorted(float(total.subs({x: a, y: b})) for a in s for b in [*s, 0.0])
    expected = [
        *[0.0, 0.0],
        *[0.6215328012198] * 3,
        *[1.418810747979] * 3,
        1.864598403659,
        *[2.979405537884] * 2,
        4.256432243938,
    ]
    assert found == pytest.approx(expected, rel=1e-12)
    closed = P.eigenvalue(1, 2).subs({x: 1.3, y: 0.7})
    assert float(closed) == pytest.approx(2.979405537884, rel=1e-12)
    assert float(P.eigenvalue(1, 1).subs(x, 1.3)) == pytest.approx(4.256432243938, rel=1e-12)


def test_two_eigenvalues_with_one_output(rng):
    law = derive(Network(3, (4, 2, 2, 1)))
    theta = balanced((4, 2, 2, 1), rng)
    norm = np.linalg.norm(chain(theta, 3, 1))
    found = np.linalg.eigvalsh(evaluate(law.preconditioner.matrix, theta, np.zeros((1, 4))))
    (symbol,) = law.preconditioner.across.atoms(FrobeniusNorm)
    across = float(law.preconditioner.across.subs(symbol, norm))
    along = float(law.preconditioner.along.subs(symbol, norm))
    assert found == pytest.approx([across] * 3 + [along], rel=1e-12)


def test_oracle_single_output():
    w, g = np.array([[0.6, -0.3, 0.5, 0.2]]), np.array([[0.9, 0.4, -0.7, 0.3]])
    law = derive(Network(3, (4, 1, 1, 1)))
    theta = [w / np.linalg.norm(w) ** (2 / 3), *[np.array([[np.linalg.norm(w) ** (1 / 3)]])] * 2]
    expected = [[0.908785196996, 0.2410160254807, -0.4289643022317, 0.3029283989987]]
    assert evaluate(law.rhs, theta, g) == pytest.approx(-np.array(expected), rel=1e-12)
    assert evaluate(law.balanced, theta, g) == pytest.approx(-np.array(expected), rel=1e-12)


PHI = np.array([[1, -0.5, 0.3, 0.2], [0.4, 0.9, -0.6, -0.1], [-0.2, 0.3, 0.7, 0.8]])
SIGMA = np.array(
    [[1.2, 0.3, 0, -0.1], [0.3, 0.9, 0.2, 0.1], [0, 0.2, 1.1, -0.2], [-0.1, 0.1, -0.2, 0.8]]
)
W0 = np.array(
    [
        [0.2741496598639, -0.1687074829932, 0.0734693877551, -0.1278911564626],
        [0.6993197278912, 0.1278911564626, 0.6244897959184, -0.8108843537415],
        [0.1034013605442, 0.4034013605442, 0.5632653061224, 0.2258503401361],
    ]
)


@pytest.mark.parametrize(
    ("N", "singular_values"),
    [
        (3, [1.170531716646, 0.9089269481594, 0.6019897834678]),
        (2, [1.150139021728, 0.8668540770866, 0.6353786276055]),
    ],
)
def test_oracle_trajectories_of_the_balanced_law(N, singular_values):
    W = _integrate(derive(Network(N)).balanced, N, 1.0)
    assert np.linalg.svd(W, compute_uv=False) == pytest.approx(singular_values, rel=1e-11)


def test_oracle_trajectory_with_decay():
    W = _integrate(derive(Network(3), weight_decay=0.15).balanced, 3, 0.8)
    expected = [
        [0.6750673757339, -0.0585352041636, 0.008470716025416, -0.04317495814339],
        [0.4723870115505, 0.2703900571101, -0.04785402097633, -0.1853427707456],
        [-0.239041971457, 0.3267192732806, 0.5564387369352, 0.5434760782691],
    ]
    assert pytest.approx(np.array(expected), abs=1e-11) == W


def test_oracle_trajectory_of_a_quartic_loss():
    W = _integrate(derive(Network(4)).balanced, 4, 1.0, gradient=lambda W: (W - PHI) ** 3)
    expected = [0.9990537459017, 0.7389728323488, 0.4179446142296]
    assert np.linalg.svd(W, compute_uv=False) == pytest.approx(expected, rel=1e-11)


def _integrate(rhs, N, eta, t1=1.5, gradient=lambda W: (W - PHI) @ SIGMA):
    def field(t, y):
        W = y.reshape(W0.shape)
        theta = [W, *[np.eye(3)] * (N - 1)]  # the law sees the product only
        return eta * evaluate(rhs, theta, gradient(W)).ravel()

    run = solve_ivp(field, (0, t1), W0.ravel(), method="DOP853", rtol=1e-11, atol=1e-12)
    return run.y[:, -1].reshape(W0.shape)


X = np.array(
    [[0.9, -0.4, 0.3], [-0.2, 0.8, 0.5], [0.6, 0.7, -0.9], [-1.1, 0.2, 0.4], [0.3, -0.6, 1]]
)
Y = np.array([0.5, 1.2, -0.7, -0.3, 0.8])


def _scaled_vector_field(p):
    """The factor flow of w = w_1 w_2 on the mean of |x.w - y|^p / p, from the derived law."""
    law = derive(Network(2, (3, 1, 1)))
    flows = [law.factor_flow.subs(law.index, i) for i in (1, 2)]

    def field(t, y):
        theta = [y[None, :3], y[3:, None]]
        w = (theta[1] @ theta[0]).ravel()
        G = (np.sign(r := X @ w - Y) * np.abs(r) ** (p - 1)) @ X / len(Y)
        return np.concatenate([evaluate(f, theta, G[None, :]).ravel() for f in flows])

    return field


START = np.array([0.1, -0.05, 0.2, 0.3])


@pytest.mark.parametrize(
    ("p", "w"),
    [
        (2, [0.1250168953975, -0.03005989540482, 0.4418516132215]),
        (4, [0.02748387495878, 0.07102372230212, 0.2621677350543]),
    ],
)
def test_oracle_flow_of_a_scaled_vector(p, w):
    run = solve_ivp(_scaled_vector_field(p), (0, 3), START, method="DOP853", rtol=1e-12, atol=1e-13)
    assert run.y[:3, -1] * run.y[3, -1] == pytest.approx(w, rel=1e-10)


@pytest.mark.parametrize(
    ("p", "w"),
    [
        (2, [0.08010650461508, -0.03326067525484, 0.2609132606678]),
        (4, [0.02908009585236, 0.02986025543522, 0.1729642060818]),
    ],
)
def test_oracle_descent_of_a_scaled_vector(p, w):
    field, y = _scaled_vector_field(p), START
    for _ in range(200):
        y = y + 0.01 * field(0, y)
    assert y[:3] * y[3] == pytest.approx(w, rel=1e-11)


# -- symbolic depth, weight decay, and the shape of the result -------------------------------------


@pytest.mark.parametrize("N", [1, 2, 3, 5])
def test_symbolic_depth_becomes_the_law_of_each_depth(N):
    law, concrete = (
        derive(Network("N"), weight_decay=LAMBDA),
        derive(Network(N), weight_decay=LAMBDA),
    )
    at = law.at(N)
    assert at.depth == N
    for form in ("general", "balanced", "single_output", "descent_rule", "factor_flow"):
        assert MatrixPolynomial.of(getattr(at, form)) == MatrixPolynomial.of(
            getattr(concrete, form)
        )
    assert at.preconditioner.matrix == concrete.preconditioner.matrix


def test_exact_and_decimal_decay():
    third = derive(Network(3), weight_decay=Rational(1, 3))
    decimal = derive(Network("N"), weight_decay=0.1)
    assert third.conserved[0].decay == exp(-Rational(2, 3) * Symbol("t", real=True))
    assert decimal.weight_decay == Float(0.1)
    assert decimal.at(3).conserved[0].rate == Float(-0.2)
    assert derive(Network(2), weight_decay=0.0).weight_decay == 0


def test_descent_rule_is_euler_with_the_depth_on_the_decay():
    law = derive(Network(3), weight_decay=LAMBDA)
    eta = Symbol("eta", positive=True)
    number, _ = law.descent_rule.args[0].as_coeff_matrices()
    assert number == 1 - 3 * eta * LAMBDA


def test_one_layer_has_no_hypotheses_and_follows_the_gradient():
    law = derive(Network(1, (4, 3)), weight_decay=LAMBDA)
    assert law.hypotheses == law.conserved == ()
    assert law.text() == "dW/dt = -lambda*W - G"
    assert law.text("factor_flow") == "dW_1/dt = -G - lambda*W_1"


def test_the_parametrizations_of_the_package_are_derived():
    assert derive(DeepLinear((128, 1, 1))).text() == "dW/dt = -||W||*(G + Pr_W(G))"
    assert derive(DeepLinear.of_depth("N")).balanced == derive(Network("N")).balanced
    assert derive(DeepLinear.of_depth(3)).balanced == derive(Network(3)).balanced
    assert derive(Identity((5,))).text() == "dW/dt = -G"


def test_form_follows_the_number_of_outputs():
    one, many = derive(Network(3, (4, 2, 2, 1))), derive(Network(3, (4, 2, 2, 2)))
    assert one.rhs is one.single_output
    assert many.rhs is many.balanced
    assert [h.name for h in one.hypotheses] == ["balanced", "single output"]
    assert [h.name for h in many.hypotheses] == ["balanced"]
    assert many.hypotheses[0].expressions == (many.conserved[0].expression,)
    assert all(h.law is one for h in one.hypotheses)


def test_typeset_law():
    law = derive(Network("N"))
    assert law.latex() == (
        r"\dot{W} = -\sum_{j=1}^{N} \left(W W^{\top}\right)^{\frac{N - j}{N}} \, \nabla L(W) \, "
        r"\left(W^{\top} W\right)^{\frac{j - 1}{N}}"
    )
    assert isinstance(law.balanced.args[-1], MatrixSum)
    page = derive(Network(2, (4, 1, 1)))._repr_latex_()
    assert page.startswith("$$")
    assert page.endswith("$$")
    assert r"\mathrm{Pr}_{w} \nabla L(w)" in page


def test_terminal_page():
    page = str(derive(Network(2), weight_decay=LAMBDA))
    assert "dW/dt = -2*lambda*W - (W*W^T)^(1/2)*G - G*(W^T*W)^(1/2)" in page
    assert "W_(j+1)^T*W_(j+1) = W_j*W_j^T for 1 <= j < 2" in page
    assert "decays as exp(-2*lambda*t)" in page


def test_every_step_says_why_and_how_it_was_checked():
    steps = derive(Network("N"), weight_decay=LAMBDA).steps
    assert len(steps) >= 10
    for step in steps:
        assert step.justification.endswith(".")
        assert step.check
        assert " = " in step.latex()
        assert step.justification in str(step)


# -- what is refused -------------------------------------------------------------------------------


def test_a_map_that_is_not_the_product_is_found_out():
    class Longer(Network):
        def __call__(self, factors):
            W1, W2 = factors
            return W2 @ W2.T @ W2 @ W1

    with pytest.raises(CertificationError, match="multiplies its factors"):
        derive(Longer(2))


@pytest.mark.parametrize(
    ("net", "decay", "message"),
    [
        (object(), 0, "net: no law is known for a object"),
        (Network(0), 0, r"net.depth: expected an integer >= 1"),
        (Network(True), 0, r"net.depth"),
        (Network(2), -0.1, "weight_decay: expected a finite number >= 0"),
        (Network(2), float("nan"), "weight_decay"),
        (Network(2), float("inf"), "weight_decay"),
        (Network(2), "lambda", "weight_decay"),
        (Network(2), True, "weight_decay"),
    ],
)
def test_wrong_arguments(net, decay, message):
    with pytest.raises(InputError, match=message):
        derive(net, weight_decay=decay)


def test_a_map_whose_shapes_do_not_fit_is_refused():
    class Backwards(Network):
        def __call__(self, factors):
            W1, W2 = factors
            return W1 @ W2

    with pytest.raises(InputError, match="do not multiply"):
        derive(Backwards(2))


def test_a_map_without_symbolic_reading_is_refused():
    class Numeric(Network):
        def __call__(self, factors):
            return np.eye(2)

    with pytest.raises(InputError, match="written with @"):
        derive(Numeric(2))


def test_wrong_depths_and_forms():
    law = derive(Network("N"))
    with pytest.raises(InputError, match="N must be an integer >= 1"):
        law.at(0)
    with pytest.raises(InputError, match="this law has 2 layers"):
        derive(Network(2)).at(3)
    with pytest.raises(InputError, match="form must be one of rhs"):
        law.latex("balance")
    with pytest.raises(InputError, match="the depth is the symbol N"):
        law.conserved[0].instances()


def test_a_hypothesis_without_its_law_says_where_to_find_it():
    law = derive(Network(2))
    loose = replace(law.hypotheses[0], law=None)
    with pytest.raises(InputError, match=r"take it from law\.hypotheses"):
        loose.check(())


# -- what the engine refuses when one of its parts is wrong ----------------------------------------


@pytest.mark.parametrize("N", [3, "N"])
def test_a_wrong_single_output_form_is_not_derived(N, monkeypatch):
    right = deep_linear.single_output_flow
    monkeypatch.setattr(deep_linear, "single_output_flow", lambda W, G, N: right(W, G, N + 1))
    with pytest.raises(CertificationError, match="residual"):
        derive(Network(N))


@pytest.mark.parametrize("N", [3, "N"])
def test_a_wrong_balance_is_not_used(N, monkeypatch):
    right = balance.balance_rule

    def wrong(i, depth, *, towards):
        rule = right(i, depth, towards=towards)
        return Rule(rule.lhs, rule.rhs * 2)

    monkeypatch.setattr(balance, "balance_rule", wrong)
    with pytest.raises(CertificationError, match="residual"):
        derive(Network(N))


def test_balance_is_used_only_between_layers_that_exist():
    N = Symbol("N", integer=True, positive=True)
    for i, depth, towards in [
        (3, 3, "output"),
        (1, 3, "input"),
        (0, 3, "output"),
        (N, N, "output"),
    ]:
        with pytest.raises(ValueError, match="no balance between layers"):
            balance.balance_rule(i, depth, towards=towards)


def test_rewriting_and_induction_find_one_law(monkeypatch):
    by_rewriting = derive(DeepLinear.of_depth(5))
    monkeypatch.setattr("flowsim.symbolic.balance.REWRITTEN_UP_TO", 0)
    by_induction = derive(DeepLinear.of_depth(5))
    assert by_induction.balanced == by_rewriting.balanced
    assert "rewriting, at every layer" in {step.check for step in by_rewriting.steps}
    assert "rewriting, at every layer" not in {step.check for step in by_induction.steps}


def test_depth_beyond_rewriting_is_the_symbolic_law_there():
    deep = derive(DeepLinear.of_depth("N")).at(20)  # certified against the symbolic law
    assert deep.balanced == derive(DeepLinear.of_depth(20)).balanced
