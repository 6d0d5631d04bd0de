"""The proof of the time-warped mirror flow refuses what is changed."""

from dataclasses import replace

import pytest
from sympy import MatMul

from derivations import time_warped_mirror as page
from flowsim.symbolic import CertificationError, integrability
from flowsim.symbolic.columns import Calculus
from flowsim.symbolic.integrability import G, W
from flowsim.symbolic.mirror import columns
from flowsim.symbolic.nodes import FrobeniusNorm

norm = FrobeniusNorm(W)


def statement(N, *, what="velocity", power=None, factor=None, warp=None, sign=-1):
    if what == "potential":
        exponent = (N + 1) / N if power is None else power(N)
        return (N / (N + 1) if factor is None else factor(N)) * norm**exponent
    return MatMul(sign * norm ** ((N - 1) / N if warp is None else warp(N)), G)


def test_the_unchanged_theorem_is_proved():
    steps = page.prove(replace(page.THEOREM, statement=statement)).steps
    assert len(steps) >= 6


@pytest.mark.parametrize(
    "change",
    [
        {"power": lambda N: (N + 2) / N},
        {"power": lambda N: N / (N + 1)},
        {"factor": lambda N: N},
        {"factor": lambda N: (N + 1) / N},
        {"warp": lambda N: N / (N - 1)},
        {"warp": lambda N: (N - 2) / N},
        {"warp": lambda N: 1 / N},
        {"sign": 1},
        {"sign": -2},
    ],
)
def test_a_changed_theorem_is_refused(change):
    mutant = replace(page.THEOREM, statement=lambda N, **kw: statement(N, **kw, **change))
    with pytest.raises(CertificationError, match="residual"):
        page.prove(mutant)


def test_a_law_of_the_wrong_sign(monkeypatch):
    right = integrability.column_field
    monkeypatch.setattr(integrability, "column_field", lambda law: right(law) * -1)
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_a_gradient_that_forgets_norms(monkeypatch):
    right = Calculus.gradient
    monkeypatch.setattr(Calculus, "gradient", lambda self, c, n: right(self, c, n) * 2)
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_inner_products_that_are_dropped(monkeypatch):
    right = columns.folded
    monkeypatch.setattr(columns, "folded", lambda x: right(x) * 2)
    with pytest.raises(CertificationError, match="residual"):
        page.prove()
