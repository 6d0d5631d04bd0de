"""The proofs on diagonal networks hold, and fail with any one thing changed."""

import pytest
from sympy import Integer, Rational, Symbol, asinh, cosh, exp, sqrt

from derivations import (
    _coordinates,
    diagonal_conservation,
    diagonal_hitting_time,
    diagonal_law,
    diagonal_mirror,
    diagonal_network,
    diagonal_quadratic,
    hypentropy,
)
from flowsim.theory import diagonal, diagonal_riccati, diagonal_windows, mirror_potentials
from flowsim.theory.diagonal import INTEGRATED, SLOPE, U0, V0, U, V
from flowsim.theory.mirror_potentials import ALPHA, BETA, DUAL
from tests.derivations.mutations import fails, proves, refused

PROOFS = [
    diagonal_conservation,
    diagonal_hitting_time,
    diagonal_law,
    diagonal_mirror,
    diagonal_network,
    diagonal_quadratic,
    hypentropy,
]


@pytest.mark.parametrize("proof", PROOFS, ids=lambda p: p.__name__)
def test_proofs_hold(proof):
    proves(proof)


LAWS = {
    "N instead of N^2": lambda N: -N * (U ** (2 * N - 2) + V ** (2 * N - 2)) * SLOPE,
    "exponent N - 1": lambda N: -(N**2) * (U ** (N - 1) + V ** (N - 1)) * SLOPE,
    "difference": lambda N: -(N**2) * (U ** (2 * N - 2) - V ** (2 * N - 2)) * SLOPE,
    "ascent": lambda N: N**2 * (U ** (2 * N - 2) + V ** (2 * N - 2)) * SLOPE,
    "v for u": lambda N: -(N**2) * (U ** (2 * N - 2) + U ** (2 * N - 2)) * SLOPE,
}


@pytest.mark.parametrize("change", LAWS)
def test_changed_laws(change):
    refused(diagonal_law, LAWS[change])


CONSERVED = {
    "difference": lambda N: U * V if N == 2 else U ** (2 - N) - V ** (2 - N),
    "exponent 1 - N": lambda N: U * V if N == 2 else U ** (1 - N) + V ** (1 - N),
    "exponent N - 2": lambda N: U * V if N == 2 else U ** (N - 2) + V ** (N - 2),
    "ratio at depth 2": lambda N: U / V if N == 2 else U ** (2 - N) + V ** (2 - N),
}


@pytest.mark.parametrize("change", CONSERVED)
def test_changed_quantities(change):
    refused(diagonal_conservation, CONSERVED[change])


def network(N, *, rate=None, power=None, sign=-1, second=1):
    if N == 2:
        c = 4 if rate is None else rate(N)
        return U0**2 * exp(-c * INTEGRATED) + sign * V0**2 * exp(second * c * INTEGRATED)
    c = N * (N - 2) if rate is None else rate(N)
    p = N / (N - 2) if power is None else power(N)
    first = (U0 ** (2 - N) + c * INTEGRATED) ** -p
    return first + sign * (V0 ** (2 - N) - second * c * INTEGRATED) ** -p


NETWORKS = {
    "rate": {"rate": lambda N: 8 if N == 2 else N * (N - 1)},
    "rate of separate factors": {"rate": lambda N: 2 if N == 2 else N - 2},
    "power": {"power": lambda N: 1 / (N - 2)},
    "sum": {"sign": 1},
    "one sign of the gradient": {"second": -1},
}


def test_the_network_as_it_is():
    N = Symbol("N", integer=True, positive=True)
    assert network(N) == diagonal.diagonal_network.statement(N)
    assert network(2) == diagonal.diagonal_network.statement(2)


@pytest.mark.parametrize("change", NETWORKS)
def test_changed_networks(change):
    refused(diagonal_network, lambda N: network(N, **NETWORKS[change]))


QUADRATICS = {
    "half the rate": lambda x: x.subs(diagonal_riccati.TIME, diagonal_riccati.TIME / 2),
    "other sign of the target": lambda x: x.subs(diagonal_riccati.TARGET, -diagonal_riccati.TARGET),
    "twice u^2": lambda x: 2 * x,
    "beta for u^2": lambda x: x - V0**2,
}


@pytest.mark.parametrize("change", QUADRATICS)
def test_changed_quadratic(change):
    refused(
        diagonal_quadratic,
        lambda N: QUADRATICS[change](diagonal_riccati.diagonal_quadratic.statement(N)),
    )


def dual(N, *, share=1, root=2, factor=1, start=1):
    if N == 2:
        return factor * ALPHA**2 * (cosh(4 * share * DUAL) - start) / 2
    c, base = N * (N - 2) * share * DUAL, ALPHA ** (2 - N)
    powers = (base - c) ** (Integer(-root) / (N - 2)) + (base + c) ** (Integer(-root) / (N - 2))
    return factor * (powers - 2 * start * ALPHA**2) / (2 * N)


DUALS = {
    "scale of nu": {"share": 2},
    "power": {"root": 1},
    "factor": {"factor": 2},
    "no constant": {"start": 0},
}


def test_the_dual_as_it_is():
    for N in (2, 3, Symbol("N", integer=True, positive=True)):
        assert dual(N) == mirror_potentials.diagonal_mirror.statement(N)


@pytest.mark.parametrize("change", DUALS)
def test_changed_duals(change):
    refused(diagonal_mirror, lambda N: dual(N, **DUALS[change]))


def potential(*, quarter=1, c=2 * ALPHA**2, sign=-1, constant=1):
    return (
        quarter
        * Rational(1, 4)
        * (BETA * asinh(BETA / c) + sign * sqrt(BETA**2 + c**2) + constant * c)
    )


POTENTIALS = {
    "without the quarter": {"quarter": 4},
    "alpha^2 for 2 alpha^2": {"c": ALPHA**2},
    "sum": {"sign": 1},
    "no constant": {"constant": 0},
}


@pytest.mark.parametrize("change", POTENTIALS)
def test_changed_potentials(change):
    refused(hypentropy, lambda N: potential(**POTENTIALS[change]))


TIMES = {
    "N for N(N-2)": lambda N, t: t if N == 2 else t * (N - 2),
    "exponent": lambda N, t: t if N == 2 else t / diagonal_windows.ALPHA,
    "factor at depth 2": lambda N, t: 2 * t if N == 2 else t,
    "level at depth 2": lambda N, t: t.subs(diagonal_windows.LEVEL, 2 * diagonal_windows.LEVEL),
}


@pytest.mark.parametrize("change", TIMES)
def test_changed_times(change):
    stated = diagonal_windows.diagonal_hitting_time.statement
    refused(diagonal_hitting_time, lambda N: TIMES[change](N, stated(N)))


PARAMETRIZATIONS = {
    "u^N + v^N": lambda u, v, N: u**N + v**N,
    "u^(N+1) - v^N": lambda u, v, N: u ** (N + 1) - v**N,
    "2 u^N - v^N": lambda u, v, N: 2 * u**N - v**N,
}


@pytest.mark.parametrize("proof", PROOFS, ids=lambda p: p.__name__)
@pytest.mark.parametrize("change", PARAMETRIZATIONS)
def test_other_parametrizations(monkeypatch, proof, change):
    monkeypatch.setattr(_coordinates, "network", PARAMETRIZATIONS[change])
    fails(proof)


@pytest.mark.parametrize("proof", [diagonal_law, diagonal_conservation, diagonal_quadratic])
def test_a_chain_rule_that_forgets_a_factor(monkeypatch, proof):
    right = proof.along
    monkeypatch.setattr(
        proof, "along", lambda q, flow: right(q, {x: v for x, v in flow.items() if x == U})
    )
    fails(proof)


def test_a_gradient_of_another_loss(monkeypatch):
    """Twice the loss: time runs twice as fast."""
    monkeypatch.setattr(diagonal_quadratic, "CURVATURE", 2 * diagonal_riccati.CURVATURE)
    fails(diagonal_quadratic)
