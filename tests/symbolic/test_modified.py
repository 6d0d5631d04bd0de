"""Modified equations: the series, against another recursion, against papers, against descent."""

from collections import Counter
from functools import cache
from math import factorial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from sympy import Matrix, Rational, S, Symbol, hessian, symbols

from flowsim._errors import InputError
from flowsim.symbolic import trees
from flowsim.symbolic.modified import STEP, along, modified_equation, modified_loss

G, HG, HHG, TGG = (), ((),), (((),),), ((), ())
x, y = symbols("x y")


# -- trees -----------------------------------------------------------------------------------------


def test_trees_are_counted_as_they_should_be():
    # The numbers of rooted trees, OEIS A000081.
    assert [len(trees.trees(n)) for n in range(1, 11)] == [1, 1, 2, 4, 9, 20, 48, 115, 286, 719]
    assert all(trees.order(t) == 5 for t in trees.trees(5))


def test_grafts_are_derivatives_of_products():
    # D(T[g, g])[g] = D4L[g, g, g] + 2 T[H g, g].
    assert Counter(trees.grafts(TGG, G)) == Counter({(G, G, G): 1, (G, HG): 2})
    assert all(len(trees.grafts(t, HG)) == trees.order(t) for t in trees.trees(6))


def test_elementary_differentials_of_a_loss_are_its_derivatives_contracted():
    L = x**3 * y + 2 * x * y**2 - y**4 + x
    g = Matrix([L.diff(x), L.diff(y)])
    H = hessian(L, (x, y))
    T = Matrix([sum(L.diff(i, j, k) * g["xy".index(str(j))] * g["xy".index(str(k))]
                    for j in (x, y) for k in (x, y)) for i in (x, y)])  # fmt: skip
    assert trees.evaluate(HHG, L, [x, y]) == (H * H * g).expand()
    assert trees.evaluate(TGG, L, [x, y]) == T.expand()
    assert trees.evaluate((TGG,), L, [x, y]) == (H * T).expand()


def test_a_tree_rooted_elsewhere_counts_every_vertex():
    for tree in trees.trees(6):
        family = trees.rootings(tree)
        assert sum(family.values()) == 6
        assert all(trees.rootings(other) == family for other in family)


def test_a_description_says_what_to_contract():
    assert trees.elementary_differential((HG,)) == (
        "D^2 L contracted with (D^2 L contracted with (grad L))"
    )
    with pytest.raises(InputError, match="the tuple of its branches"):
        trees.elementary_differential((1,))


# -- the series ------------------------------------------------------------------------------------


def test_the_published_coefficients():
    f = modified_equation(4).terms
    assert f[0] == {G: -1}
    assert f[1] == {HG: -Rational(1, 2)}
    assert f[2] == {HHG: -Rational(1, 3), TGG: -Rational(1, 12)}
    assert f[3] == {
        (HHG,): -Rational(1, 4),
        (TGG,): -Rational(1, 12),
        (G, HG): -Rational(1, 12),
    }


def test_one_dimension_against_hairer_lubich_wanner():
    # Geometric Numerical Integration, section IX.1: Euler's method on y' = y^2.
    (field,) = modified_equation(6).field(-(y**3) / 3, [y])
    coefficients = [field.coeff(STEP, k).coeff(y, k + 2) for k in range(6)]
    wanted = [1, -1, Rational(3, 2), -Rational(8, 3), Rational(31, 6), -Rational(157, 15)]
    assert coefficients == wanted


@cache
def splittings(tree):
    """The ways to cut one edge: what keeps the root, and what is cut off."""
    found = []
    for i, branch in enumerate(tree):
        rest = [*tree[:i], *tree[i + 1 :]]
        found.append((trees.make(rest), branch))
        found += [(trees.make([*rest, kept]), cut) for kept, cut in splittings(branch)]
    return found


@cache
def symmetry(tree):
    total = 1
    for branch, times in Counter(tree).items():
        total *= factorial(times) * symmetry(branch) ** times
    return total


@cache
def lie(tree, power):
    """The coefficient of the power-th Lie derivative of b, by cutting edges."""
    if power == 0:
        return backward(tree)
    return sum(lie(kept, power - 1) * backward(cut) for kept, cut in splittings(tree))


@cache
def backward(tree):
    """Hairer, Lubich and Wanner's recursion, theorem IX.9.2, for Euler's method."""
    n = trees.order(tree)
    own = S.One if n == 1 else S.Zero
    return own - sum(
        (lie(tree, j - 1) * Rational(1, factorial(j)) for j in range(2, n + 1)), S.Zero
    )


def test_the_series_against_the_recursion_that_cuts_edges():
    # One grows trees from the chain rule, the other cuts them: they share no code.
    for f in modified_equation(7).terms:
        n = trees.order(next(iter(f)))
        for tree in trees.trees(n):
            assert f.get(tree, 0) == (-1) ** n * backward(tree) / symmetry(tree)


def test_quadratic_losses_resum_to_a_logarithm():
    # One step multiplies by 1 - h; log(1 - h)/h = -(1 + h/2 + h^2/3 + ...).
    (field,) = modified_equation(6).field(x**2 / 2, [x])
    assert field == (-x * sum(STEP**k / (k + 1) for k in range(6))).expand()


def test_momentum_of_zero_is_descent_and_the_numbers_of_the_heavy_ball():
    lam = Symbol("lambda", nonnegative=True)
    ball = modified_equation(3, momentum=lam).terms
    for with_momentum, plain in zip(ball, modified_equation(3).terms, strict=True):
        assert {t: c.subs(lam, 0) for t, c in with_momentum.items()} == plain
    # Kovachki and Stuart: -nu grad [f + (h/4) (1 + lambda)/(1 - lambda)^2 |grad f|^2].
    nu = 1 / (1 - lam)
    assert (ball[0][G] + nu).factor() == 0
    assert (ball[1][HG] + nu * (1 + lam) * nu**2 / 2).factor() == 0


def test_momentum_on_a_quadratic_is_the_logarithm_of_its_larger_multiplier():
    # z^2 - (1 + lambda - h) z + lambda = 0 for one step on x^2/2; log(z)/h is the rate.
    lam, h = 0.5, 1e-3
    z = (1 + lam - h + np.sqrt((1 + lam - h) ** 2 - 4 * lam)) / 2
    series = modified_equation(6, momentum=Rational(1, 2)).field(x**2 / 2, [x])[0]
    assert float(series.subs({x: 1, STEP: h})) == pytest.approx(np.log(z) / h, rel=1e-14)


# -- the modified loss -----------------------------------------------------------------------------


def test_only_the_first_two_terms_are_gradients():
    assert modified_loss(1).scalar == {G: 1}
    assert modified_loss(2).scalar == {HG: Rational(1, 4)}
    for n in range(3, 9):
        verdict = modified_loss(n)
        assert not verdict
        (a, c, p), (b, d, q) = verdict.witness
        assert b in trees.rootings(a)
        assert c * q != d * p


def test_the_curl_of_the_third_term_is_what_it_was_computed_to_be():
    L = (1 - x) ** 2 / 2 + 2 * (y - x**2) ** 2
    at = {x: Rational(3, 10), y: -Rational(4, 10)}
    curls = []
    for n in (2, 3):
        f = modified_equation(n).field(L, [x, y], S.One) - modified_equation(n - 1).field(
            L, [x, y], S.One
        )
        curls.append(float((f[1].diff(x) - f[0].diff(y)).subs(at)))
    assert curls[0] == 0
    # Independent evaluation in 30 digits; the sign is that of the orientation of the plane.
    assert abs(curls[1]) == pytest.approx(7.51594667, abs=1e-8)


def test_gradients_of_contractions_are_sums_over_rootings():
    L = x**4 + x**2 * y + x * y**3
    g = Matrix([L.diff(x), L.diff(y)])
    H = hessian(L, (x, y))
    for tree, scalar in ((HG, (g.T * g)[0]), (TGG, (g.T * H * g)[0])):
        total = Matrix([0, 0])
        for rooted, times in trees.rootings(tree).items():
            total += times * trees.evaluate(rooted, L, [x, y])
        assert total.expand() == Matrix([scalar.diff(x), scalar.diff(y)]).expand()


# -- against descent -------------------------------------------------------------------------------


def jax_field(equation, loss):
    """The field by nested directional derivatives, from the list of terms."""
    gradient = jax.grad(loss)

    def derived(function, directions, w):
        if not directions:
            return function(w)
        first, *others = directions
        return jax.jvp(lambda z: derived(function, others, z), (w,), (first,))[1]

    def elementary(tree, w):
        return derived(gradient, [elementary(branch, w) for branch in tree], w)

    def field(w, h):
        return sum(float(c) * h**k * elementary(tree, w) for k, c, tree in equation.flat())

    return jax.jit(field)


def solution(field, start, h, t):
    run = solve_ivp(
        lambda _, w: np.asarray(field(w, h)), (0, t), start, method="DOP853", rtol=3e-14, atol=1e-15
    )
    return run.y[:, -1]


def descent(loss, start, h, steps, momentum=0.0):
    gradient = jax.jit(jax.grad(loss))
    w, v = np.array(start), np.zeros(len(start))
    for _ in range(steps):
        v = momentum * v - h * np.asarray(gradient(w))
        w = w + v
    return w


def test_descent_follows_each_truncation_to_its_order():
    rng = np.random.default_rng(3)
    A, B, C = rng.normal(size=(3, 3)), rng.normal(size=(3, 3, 3)), rng.normal(size=(4, 3))

    def loss(w):
        cubic = jnp.einsum("ijk,i,j,k", B, w, w, w) / 10
        return w @ (A @ A.T) @ w / 4 + cubic + jnp.sum((C @ w) ** 4) / 20 - w[0]

    start = np.array([0.5, -0.4, 0.3])
    with jax.enable_x64(True):
        steps = np.array([40, 80, 160])
        for order in (1, 2, 3, 4):
            field = jax_field(modified_equation(order), loss)
            gaps = [
                np.linalg.norm(descent(loss, start, 1 / n, n) - solution(field, start, 1 / n, 1.0))
                for n in steps
            ]
            slopes = np.log2(np.array(gaps[:-1]) / gaps[1:])
            assert slopes[-1] == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        (2, (0.02643912975594, 0.07629697433070)),
        (3, (0.02656326241707, 0.07570422981002)),
        (4, (0.02671505671209, 0.07557437010614)),
    ],
)
def test_truncations_against_an_independent_integration(order, wanted):
    # Independent Gragg-Bulirsch-Stoer integration of order 16 in extended precision.
    def loss(w):
        return (1 - w[0]) ** 2 / 2 + 2 * (w[1] - w[0] ** 2) ** 2

    start, h = np.array([-0.6, 0.9]), 1 / 20
    with jax.enable_x64(True):
        field = jax_field(modified_equation(order), loss)
        assert solution(field, start, h, 1.0) == pytest.approx(wanted, abs=1e-12)
        gd = descent(loss, start, h, 20)
    assert gd == pytest.approx((0.02680794244165, 0.07552469640318), abs=1e-13)


def test_the_heavy_ball_keeps_order_two_if_the_flow_starts_on_the_slow_manifold():
    def loss(w):
        return w[0] ** 2 / 2 + 3 / 40 * w[0] ** 4 + 3 / 2 * (w[1] - w[0] ** 2 / 4) ** 2

    start, lam, nu = np.array([1.2, -0.5]), 0.6, 2.5
    with jax.enable_x64(True):
        # Independent iteration in extended precision.
        assert descent(loss, start, 0.0025, 400, lam) == pytest.approx(
            (0.06478415665407, 0.00271538942857), abs=1e-13
        )
        field = jax_field(modified_equation(2, momentum=Rational(3, 5)), loss)
        g = np.asarray(jax.grad(loss)(start))
        gaps = {"shifted": [], "at rest": []}
        for n in (800, 1600):
            run = descent(loss, start, 1 / n, n, lam)
            for name, shift in (("shifted", lam * nu**2 / n), ("at rest", 0.0)):
                gap = run - solution(field, start + shift * g, 1 / n, 1.0)
                gaps[name].append(np.linalg.norm(gap))
    orders = {name: np.log2(a / b) for name, (a, b) in gaps.items()}
    assert orders["shifted"] == pytest.approx(2, abs=0.1)
    assert orders["at rest"] == pytest.approx(1, abs=0.1)


# -- as it is shown --------------------------------------------------------------------------------


def test_it_shows_itself():
    equation = modified_equation(3)
    assert str(equation) == (
        "dtheta/dt = -g - (1/2)*h*H g - (1/12)*h^2*D3L[g, g] - (1/3)*h^2*H H g"
    )
    assert equation.latex() == (
        r"\dot\theta = -\nabla L - \frac{1}{2} h H \nabla L - \frac{1}{12} h^{2} \nabla^{3} "
        r"L\left[\nabla L, \nabla L\right] - \frac{1}{3} h^{2} H^{2} \nabla L"
    )


def test_combinations_differentiate_by_the_product_rule():
    assert along({G: S(2)}, {HG: S(3)}) == {TGG: 6, HHG: 6}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (({"order": 0}), "order is 0"),
        (({"order": 2.5}), "order is 2.5"),
        (({"order": 2, "momentum": 0.9}), "momentum is 0.9"),
        (({"order": 2, "momentum": Rational(3, 2)}), r"a number in \[0, 1\)"),
        (({"order": 2, "momentum": "x"}), "momentum is 'x'"),
    ],
)
def test_wrong_input_is_named(arguments, complaint):
    with pytest.raises(InputError, match=complaint):
        modified_equation(**arguments)


@pytest.mark.parametrize(
    ("order", "momentum", "message"),
    [
        (13, 0, "at most 12"),
        (100, Rational(1, 2), "at most 12"),
        (8, Symbol("lambda"), "at most 7"),
        (2, Symbol("h"), "h is the step size"),
        (2, S.NaN, r"momentum is nan, where a number in \[0, 1\)"),
    ],
)
def test_orders_that_never_end_and_letters_that_collide_are_refused(order, momentum, message):
    with pytest.raises(InputError, match=message):
        modified_equation(order, momentum=momentum)
