"""The proof of the mirror flow of commuting parametrizations refuses what is changed."""

from dataclasses import replace

import pytest
from sympy import MatMul, MatrixSymbol

from derivations import commuting as page
from flowsim.symbolic import CertificationError, differential
from flowsim.symbolic.rewriting import Rule
from flowsim.theory.mirror import ENTRIES, GRADIENT


def test_the_unchanged_theorem_is_proved():
    assert len(page.prove().steps) >= 6


@pytest.mark.parametrize(
    "wrong",
    [
        MatMul(1, GRADIENT),
        MatMul(-2, GRADIENT),
        MatMul(-1, MatrixSymbol("w", ENTRIES, 1)),
        MatMul(-1, MatrixSymbol("J", ENTRIES, ENTRIES), GRADIENT),
    ],
)
def test_a_changed_theorem_is_refused(wrong):
    with pytest.raises(CertificationError, match="residual"):
        page.prove(replace(page.THEOREM, statement=lambda N=2: wrong))


def test_a_gradient_of_the_wrong_sign(monkeypatch):
    right = differential.read_gradient
    monkeypatch.setattr(differential, "read_gradient", lambda d, X, G: -right(d, X, G))
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_fields_that_do_not_commute(monkeypatch):
    right = Rule.of

    def anticommute(lhs, rhs, index=None):
        wrong = lhs == MatMul(page.H_J, page.X_I)
        return right(lhs, MatMul(-1, rhs) if wrong else rhs, index)

    monkeypatch.setattr(page.Rule, "of", anticommute)
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_a_differential_of_the_wrong_field(monkeypatch):
    right = differential.differential
    monkeypatch.setattr(differential, "differential", lambda x, rule: right(x, rule) * 2)
    with pytest.raises(CertificationError, match="residual"):
        page.prove()
