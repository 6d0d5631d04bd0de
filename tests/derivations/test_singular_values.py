"""The page on singular values proves the record, and nothing that differs from it."""

from dataclasses import replace

import pytest

from derivations import singular_values as page
from flowsim.symbolic import CertificationError
from flowsim.symbolic.rewriting import Rule
from flowsim.theory.factorization import OWN, ROW, singular_values

MUTANTS = {
    "no factor N": lambda N: -(ROW ** (2 - 2 / N)) * OWN,
    "sign": lambda N: N * ROW ** (2 - 2 / N) * OWN,
    "exponent 1 - 1/N": lambda N: -N * ROW ** (1 - 1 / N) * OWN,
    "exponent 2 - 1/N": lambda N: -N * ROW ** (2 - 1 / N) * OWN,
    "one layer less": lambda N: -(N - 1) * ROW ** (2 - 2 / N) * OWN,
}


@pytest.mark.parametrize("statement", MUTANTS.values(), ids=MUTANTS)
def test_a_changed_record_is_refused(statement):
    with pytest.raises(CertificationError, match="residual"):
        page.prove(replace(singular_values, statement=statement))


def test_powers_that_act_by_the_wrong_power(monkeypatch):
    right = page.power_rules

    def wrong(left, s_left, vector, s_right):
        return right(left, s_left**2, vector, s_right)

    monkeypatch.setattr(page, "power_rules", wrong)
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_a_balanced_law_with_a_sign_changed(monkeypatch):
    right = page.balanced_law.statement
    wrong = replace(page.balanced_law, statement=lambda N: -1 * right(N))
    monkeypatch.setattr(page, "balanced_law", wrong)
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_vectors_that_do_not_keep_their_length(monkeypatch):
    right = page.transposed
    monkeypatch.setattr(page, "transposed", lambda rule: Rule(right(right(rule)).lhs, rule.rhs))
    with pytest.raises(CertificationError, match="residual"):
        page.prove()
