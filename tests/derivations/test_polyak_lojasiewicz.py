"""The page on the rate of gradient flow proves the record, and nothing that differs from it."""

from dataclasses import replace

import pytest
from sympy import exp

from derivations import polyak_lojasiewicz as page
from flowsim.symbolic import CertificationError
from flowsim.theory.rates import EXCESS, MU, TIME, polyak_lojasiewicz

MUTANTS = {
    "half the rate": exp(-MU * TIME) * EXCESS,
    "twice the rate": exp(-4 * MU * TIME) * EXCESS,
    "growth": exp(2 * MU * TIME) * EXCESS,
    "half the excess": exp(-2 * MU * TIME) * EXCESS / 2,
    "no start": exp(-2 * MU * TIME),
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_a_changed_record_is_refused(mutant):
    with pytest.raises(CertificationError, match="residual"):
        page.prove(replace(polyak_lojasiewicz, statement=lambda N: mutant))


def test_ascent(monkeypatch):
    right = page.rewrite
    monkeypatch.setattr(page, "rewrite", lambda p, rule: -right(p, rule))
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_a_wrong_derivative(monkeypatch):
    right = page.diff
    monkeypatch.setattr(page, "diff", lambda f, x: right(f, x) + f)
    with pytest.raises(CertificationError, match="residual"):
        page.prove()
