"""The proofs on norms of tensor components hold, and fail with any one thing changed."""

import numpy as np
import pytest
from sympy import Integer, Sum

from derivations import _components, cp_components, hierarchical_components
from flowsim.symbolic import CertificationError
from flowsim.symbolic.certify import Derivation
from flowsim.theory.tensors import COMPONENT, FORCE, INDEX, NORMS, cp_component_norms
from tests.derivations.mutations import fails, proves, refused

PROOFS = [cp_components, hierarchical_components]


@pytest.mark.parametrize("proof", PROOFS, ids=lambda p: p.__name__)
def test_proofs_hold(proof):
    proves(proof)


def rate(N, balanced=False, *, power=2, inverse=-2, first=1, sign=1, count=0, equal=2):
    if balanced:
        return N * COMPONENT ** (2 - Integer(equal) / N) * FORCE
    if N.is_Integer if hasattr(N, "is_Integer") else True:
        return cp_component_norms.statement(N)
    total = Sum(NORMS[INDEX] ** inverse, (INDEX, first, N + count))
    return sign * FORCE * COMPONENT**power * total


MUTATIONS = {
    "sigma for sigma^2": {"power": 1},
    "inverse norms": {"inverse": -1},
    "one vector too few": {"first": 2},
    "one vector too many": {"count": 1},
    "ascent": {"sign": -1},
    "exponent 2 - 1/N for equal norms": {"equal": 1},
}


@pytest.mark.parametrize("proof", PROOFS, ids=lambda p: p.__name__)
@pytest.mark.parametrize("change", MUTATIONS)
def test_changed_rates(proof, change):
    refused(proof, lambda N, balanced=False: rate(N, balanced, **MUTATIONS[change]))


def test_a_changed_order_that_is_a_number():
    def stated(N, balanced=False):
        right = cp_component_norms.statement(N, balanced=balanced)
        return 2 * right if N == 5 else right

    refused(cp_components, stated)


@pytest.mark.parametrize("name", ["read_gradient", "product_rule"])
def test_a_changed_engine(monkeypatch, name):
    right = getattr(_components, name)
    monkeypatch.setattr(_components, name, lambda *args: -right(*args))
    fails(cp_components)


def squared(given):
    U, V = given["U"], given["V"]
    return (U**2) @ V.T


def matrices():
    from sympy import Symbol

    return {
        name: np.array([[Symbol(f"{name}{i}{j}") for j in range(2)] for i in range(2)])
        for name in "UV"
    }


def test_components_that_are_not_linear_are_refused():
    vectors = [("U", (slice(None), 0)), ("V", (slice(None), 0))]
    with pytest.raises(CertificationError):
        _components.enters_once(Derivation(), squared, matrices(), vectors, "squares")


def test_vectors_of_different_components_are_refused():
    vectors = [("U", (slice(None), 0)), ("V", (slice(None), 1))]
    with pytest.raises(CertificationError):
        _components.enters_once(
            Derivation(), lambda given: given["U"] @ given["V"].T, matrices(), vectors, "mixed"
        )
