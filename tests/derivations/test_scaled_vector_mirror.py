"""The proof of the mirror flow of a scaled vector refuses what is changed."""

from dataclasses import replace

import pytest
from sympy import sqrt

from derivations import scaled_vector_mirror as page
from flowsim.symbolic import CertificationError, differential
from flowsim.theory.mirror import IMBALANCE, NORM


def statement(N=2, *, what="slope", sign=-1, four=4, half=2, warp_sign=1):
    c = IMBALANCE * (sign if what == "slope" else warp_sign)
    return sqrt((sqrt(IMBALANCE**2 + four * NORM**2) + c) / half)


def test_the_unchanged_theorem_is_proved():
    assert len(page.prove(replace(page.THEOREM, statement=statement)).steps) >= 6


@pytest.mark.parametrize(
    "change", [{"sign": 1}, {"four": 2}, {"four": 1}, {"half": 1}, {"half": 4}, {"warp_sign": -1}]
)
def test_a_changed_theorem_is_refused(change):
    mutant = replace(page.THEOREM, statement=lambda N=2, **kw: statement(N, **kw, **change))
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
