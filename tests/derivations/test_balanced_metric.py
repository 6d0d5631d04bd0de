"""The proof that a balanced metric is no Hessian refuses what is changed."""

from dataclasses import replace

import pytest
from sympy import MatAdd, MatMul

from derivations import balanced_metric as page
from flowsim.symbolic import CertificationError, integrability
from flowsim.symbolic.columns import Calculus, Inner
from flowsim.symbolic.integrability import W
from flowsim.symbolic.mirror import columns
from flowsim.symbolic.nodes import FrobeniusNorm
from flowsim.theory.mirror import E_I, E_J


def statement(N, *, factor=None, power=None, first=E_I, sign=-1):
    scale = N - 1 if factor is None else factor(N)
    scale = scale * FrobeniusNorm(W) ** (2 - 4 / N if power is None else power(N))
    other = E_J if first is E_I else E_I
    return MatAdd(
        MatMul(scale * Inner(W, first), other), MatMul(sign * scale * Inner(W, other), first)
    )


def test_the_unchanged_theorem_is_proved():
    assert len(page.prove(replace(page.THEOREM, statement=statement)).steps) >= 6


@pytest.mark.parametrize(
    "change",
    [
        {"factor": lambda N: N},
        {"factor": lambda N: N - 2},
        {"factor": lambda N: 2 * (N - 1)},
        {"power": lambda N: 2 - 2 / N},
        {"power": lambda N: 1 - 4 / N},
        {"first": E_J},
        {"sign": 1},
    ],
)
def test_a_changed_theorem_is_refused(change):
    mutant = replace(page.THEOREM, statement=lambda N: statement(N, **change))
    with pytest.raises(CertificationError, match="residual"):
        page.prove(mutant)


def fails():
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_a_bracket_of_the_wrong_sign(monkeypatch):
    right = columns.bracket
    monkeypatch.setattr(columns, "bracket", lambda X, Y, rules: right(Y, X, rules))
    fails()


def test_a_jacobian_without_its_scalars(monkeypatch):
    right = Calculus.gradient
    monkeypatch.setattr(Calculus, "gradient", lambda self, c, n: right(self, c, n) * 0)
    fails()


def test_a_law_without_its_projection(monkeypatch):
    right = integrability.column_field

    def wrong(law):
        field = right(law)
        return field.substitute(lambda x: field * 0 if x == W else None)

    monkeypatch.setattr(integrability, "column_field", wrong)
    fails()


def test_an_inverse_that_is_differentiated_with_the_wrong_sign(monkeypatch):
    right = page.differential
    monkeypatch.setattr(page, "differential", lambda x, rule: right(x, rule) * -1)
    fails()
