"""The page on two layers proves the record, and nothing that differs from it."""

from dataclasses import replace

import pytest
from sympy import MatAdd, MatMul, Transpose

from derivations import riccati as page
from flowsim.symbolic import CertificationError
from flowsim.symbolic.rewriting import Rule
from flowsim.theory.riccati import GROWTH, INVERSE, STACKED_START, matrix_riccati

E, Q, K = GROWTH, STACKED_START, INVERSE

MUTANTS = {
    "no inverse": MatMul(E, Q, Transpose(Q), E),
    "twice": MatMul(2, E, Q, K, Transpose(Q), E),
    "sign": MatMul(-1, E, Q, K, Transpose(Q), E),
    "inverse squared": MatMul(E, Q, K, K, Transpose(Q), E),
    "growth on one side": MatMul(E, Q, K, Transpose(Q)),
    "growth twice on one side": MatMul(E, E, Q, K, Transpose(Q), E),
    "a summand": MatAdd(MatMul(E, Q, K, Transpose(Q), E), MatMul(E, E)),
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_a_changed_record_is_refused(mutant):
    with pytest.raises(CertificationError, match="residual"):
        page.prove(replace(matrix_riccati, statement=lambda N: mutant))


def test_a_gradient_of_the_wrong_sign(monkeypatch):
    right = page.read_gradient
    monkeypatch.setattr(page, "read_gradient", lambda d, X, G: -right(d, X, G))
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_an_imbalance_of_the_wrong_sign(monkeypatch):
    right, sign = page.Rule.of, page.IMBALANCE

    def wrong(lhs, rhs, index=None):
        rule = right(lhs, rhs, index)
        return Rule(rule.lhs, rule.rhs.subs(sign, -sign), index)

    monkeypatch.setattr(page, "Rule", type("Wrong", (), {"of": staticmethod(wrong)}))
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_a_product_rule_that_counts_twice(monkeypatch):
    right = page.differential
    monkeypatch.setattr(page, "differential", lambda p, f: right(p, f) * 2)
    with pytest.raises(CertificationError, match="residual"):
        page.prove()
