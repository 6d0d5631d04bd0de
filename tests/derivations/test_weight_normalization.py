"""The proofs on weight normalization hold, and fail with any one thing changed."""

import pytest
from sympy import MatAdd, MatMul, exp

from derivations import (
    _weight_norm,
    weight_normalization,
    weight_normalization_descent,
    weight_normalization_limit,
    weight_normalization_null_space,
)
from flowsim.symbolic.nodes import FrobeniusNorm, Projection
from flowsim.theory import weight_norm as law
from tests.derivations.mutations import fails, proves, refused

PROOFS = [
    weight_normalization,
    weight_normalization_descent,
    weight_normalization_limit,
    weight_normalization_null_space,
]
FLOWS = [p for p in PROOFS if p is not weight_normalization_limit]


@pytest.mark.parametrize("proof", PROOFS, ids=lambda p: p.__name__)
def test_proofs_hold(proof):
    proves(proof)


def velocity(*, norm=2, fixed=2, rates=(law.RATE_G, law.RATE_V), sign=-1):
    along = Projection(law.VECTOR, law.GRADIENT)
    across = MatAdd(law.GRADIENT, MatMul(sign, along))
    weight = rates[1] * FrobeniusNorm(law.VECTOR) ** norm / law.NORM**fixed
    return MatAdd(MatMul(-rates[0], along), MatMul(-weight, across))


LAWS = {
    "|w| for |w|^2": {"norm": 1},
    "|v| for |v|^2": {"fixed": 1},
    "rates exchanged": {"rates": (law.RATE_V, law.RATE_G)},
    "the projection twice": {"sign": 1},
}


@pytest.mark.parametrize("change", LAWS)
def test_changed_laws(change):
    refused(weight_normalization, lambda N: velocity(**LAWS[change]))


def share(*, half=2, power=1, kappa=law.KAPPA):
    damping = exp(-kappa * (law.SCALE**2 - law.SCALE_0**2) / (half * law.NORM**2))
    return (law.SCALE / law.SCALE_0) ** power * damping


@pytest.mark.parametrize(
    "change",
    [{"half": 1}, {"power": 0}, {"power": 2}, {"kappa": -law.KAPPA}, {"kappa": 1 / law.KAPPA}],
    ids=str,
)
def test_changed_null_space(change):
    refused(weight_normalization_null_space, lambda N: share(**change))


@pytest.mark.parametrize(
    "change",
    [
        lambda: law.LEAST**2 + law.HIDDEN**2 * share(),
        lambda: law.LEAST**2 - law.HIDDEN**2 * share() ** 2,
        lambda: law.LEAST**2 + law.HIDDEN * share() ** 2,
        lambda: law.LEAST + law.HIDDEN**2 * share() ** 2,
        lambda: law.LEAST**2 + law.HIDDEN**2 * share(half=1) ** 2,
    ],
)
def test_changed_limits(change):
    refused(weight_normalization_limit, lambda N: change())


@pytest.mark.parametrize(
    "change",
    [
        lambda: law.NORM**2 - law.STEP**2 * law.STEEPNESS**2,
        lambda: law.NORM**2 + law.STEP * law.STEEPNESS**2,
        lambda: law.NORM**2 + 2 * law.STEP**2 * law.STEEPNESS**2,
        lambda: law.NORM**2,
    ],
)
def test_changed_growth(change):
    refused(weight_normalization_descent, lambda N: change())


@pytest.mark.parametrize("proof", FLOWS, ids=lambda p: p.__name__)
@pytest.mark.parametrize("power", [-2, 1])
def test_another_parametrization(monkeypatch, proof, power):
    """Divided by |v|^2, or multiplied by |v|."""
    of = _weight_norm.of
    factors = [
        of(_weight_norm.v),
        _weight_norm.ONE * _weight_norm.NORM_V**power,
        of(_weight_norm.g),
    ]
    monkeypatch.setattr(_weight_norm, "factors", lambda: factors)
    fails(proof)


@pytest.mark.parametrize("proof", FLOWS, ids=lambda p: p.__name__)
@pytest.mark.parametrize("name", ["read_gradient", "product_rule"])
def test_a_changed_engine(monkeypatch, proof, name):
    right = getattr(_weight_norm, name)
    monkeypatch.setattr(_weight_norm, name, lambda *args: -right(*args))
    fails(proof)


def test_a_null_space_formula_that_is_not_the_one_proved(monkeypatch):
    from dataclasses import replace

    false = replace(law.weight_normalization_null_space, statement=lambda N: share(half=1))
    monkeypatch.setattr(weight_normalization_limit, "weight_normalization_null_space", false)
    fails(weight_normalization_limit)
