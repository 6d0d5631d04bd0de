"""The proof of the potential of homogeneous parametrizations refuses what is changed."""

from dataclasses import replace

import pytest
from sympy import MatMul, MatrixSymbol, Transpose

from derivations import homogeneous_potential as page
from flowsim.symbolic import CertificationError, differential
from flowsim.theory.mirror import FACTORS, STATE


def statement(N, *, factor=None, state=STATE):
    return MatMul(1 / (2 * N) if factor is None else factor(N), Transpose(state), state)


def test_the_unchanged_theorem_is_proved():
    assert len(page.prove(replace(page.THEOREM, statement=statement)).steps) >= 6


@pytest.mark.parametrize(
    "change",
    [
        {"factor": lambda N: 1 / N},
        {"factor": lambda N: -1 / (2 * N)},
        {"factor": lambda N: 1 / (2 * N + 2)},
        {"factor": lambda N: N / 2},
        {"state": MatrixSymbol("x", FACTORS, 1)},
    ],
)
def test_a_changed_theorem_is_refused(change):
    mutant = replace(page.THEOREM, statement=lambda N: statement(N, **change))
    with pytest.raises(CertificationError, match="residual"):
        page.prove(mutant)


def test_a_gradient_of_the_wrong_sign(monkeypatch):
    right = differential.read_gradient
    monkeypatch.setattr(differential, "read_gradient", lambda d, X, G: -right(d, X, G))
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_a_product_rule_that_forgets_the_last_factor(monkeypatch):
    right = differential.product_rule
    monkeypatch.setattr(differential, "product_rule", lambda f, d: right(f, [*d[:-1], d[-1] * 0]))
    with pytest.raises(CertificationError, match="residual"):
        page.prove()
