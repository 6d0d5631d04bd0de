"""The page on natural gradient flow proves the record, and nothing that differs from it."""

from dataclasses import replace

import pytest
from sympy import MatAdd, MatMul, MatrixSymbol, exp

from derivations import natural_gradient as page
from flowsim.symbolic import CertificationError
from flowsim.symbolic.nodes import width
from flowsim.theory.rates import TIME, natural_gradient, optimum


def towards(N, rate, sign=-1, goal=1):
    start = MatrixSymbol("W_0", width(N), width(0))
    gap = MatAdd(start, MatMul(sign, optimum(N)))
    return MatAdd(MatMul(goal, optimum(N)), MatMul(exp(-rate * TIME), gap))


def test_the_unchanged_record_is_proved():
    page.prove(replace(natural_gradient, statement=lambda N: towards(N, 1)))


@pytest.mark.parametrize(
    "statement",
    [
        lambda N: towards(N, 2),
        lambda N: towards(N, N),
        lambda N: towards(N, -1),
        lambda N: towards(N, 1, sign=1),
        lambda N: towards(N, 1, goal=2),
    ],
    ids=["rate 2", "rate N", "growth", "sign", "goal"],
)
def test_a_changed_record_is_refused(statement):
    with pytest.raises(CertificationError, match="residual"):
        page.prove(replace(natural_gradient, statement=statement))


def test_a_loss_without_the_half(monkeypatch):
    """It doubles the gradient, and the Fisher matrix is what it is: the velocity is another."""
    right = page.read_gradient
    monkeypatch.setattr(page, "read_gradient", lambda d, X, G: right(d, X, G) * 2)
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_a_jacobian_that_is_not_onto(monkeypatch):
    """Without an inverse of J J^T nothing cancels."""
    monkeypatch.setattr(page, "RULES", page.RULES[:2])
    with pytest.raises(CertificationError, match="residual"):
        page.prove()
