"""The proof that depth is no regularizer refuses what is not so."""

from dataclasses import replace

import pytest
from sympy import MatAdd, MatMul, Transpose

from derivations import no_regularizer as proof
from flowsim.symbolic import CertificationError, columns, integrability
from flowsim.symbolic.integrability import G, H, W
from flowsim.symbolic.nodes import FrobeniusNorm
from flowsim.theory.no_regularizer import antisymmetric_part


def statement(N, *, scale=None, power=None, weight=None, hessian=1, sign=-1):
    """The record, one thing changed."""
    scale = -(N - 1) if scale is None else scale(N)
    power = -2 / N if power is None else power(N)
    weight = (N - 2) / N if weight is None else weight(N)
    q = MatAdd(MatMul(weight, G), MatMul(hessian, H, W))
    q_row = MatAdd(MatMul(weight, Transpose(G)), MatMul(hessian, Transpose(W), H))
    both = MatAdd(MatMul(q, Transpose(W)), MatMul(sign, W, q_row))
    return MatMul(scale * FrobeniusNorm(W) ** power, both)


CHANGES = {
    "sign": {"scale": lambda N: N - 1},
    "factor": {"scale": lambda N: -N},
    "power": {"power": lambda N: -1 / N},
    "power of N": {"power": lambda N: 2 - 2 / N},
    "degree": {"weight": lambda N: (N - 1) / N},
    "degree turned": {"weight": lambda N: (2 - N) / N},
    "Hessian": {"hessian": 2},
    "symmetric": {"sign": 1},
}


def test_the_unchanged_record_is_proved():
    page = proof.prove(replace(antisymmetric_part, statement=statement))
    assert len(page.steps) >= 6


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_record_is_refused(change):
    mutant = replace(antisymmetric_part, statement=lambda N: statement(N, **change))
    with pytest.raises(CertificationError, match="residual"):
        proof.prove(mutant)


def fails():
    with pytest.raises(CertificationError, match="residual"):
        proof.prove()


def test_a_field_with_the_wrong_number_of_projections(monkeypatch):
    right = integrability.column_field
    monkeypatch.setattr(integrability, "column_field", lambda law: right(law) * 2)
    fails()


def test_a_product_rule_that_forgets_the_scalars(monkeypatch):
    right = columns.Calculus.gradient
    monkeypatch.setattr(columns.Calculus, "gradient", lambda self, c, n: right(self, c, n) * 0)
    fails()


def test_a_gradient_of_the_wrong_criterion(monkeypatch):
    right = integrability.regularity_gradient
    monkeypatch.setattr(integrability, "regularity_gradient", lambda N: right(N + 1))
    fails()


def test_an_antisymmetric_part_that_is_the_symmetric_one(monkeypatch):
    def wrong(field):
        J = integrability.CALCULUS.jacobian(field)
        return integrability.CALCULUS.normal(J + J.T)

    monkeypatch.setattr(integrability, "antisymmetric_part_of", wrong)
    fails()
