"""The page on modes proves the record, and nothing that differs from it."""

from dataclasses import replace

import pytest
from sympy import Integer

from derivations import saxe_modes as page
from flowsim.symbolic import CertificationError
from flowsim.theory.modes import CURVATURE, STRENGTH, TARGET, saxe_modes

u, s, ell = STRENGTH, TARGET, CURVATURE

MUTANTS = {
    "exponent 2 - 1/N": lambda N: ell * N * u ** (2 - 1 / N) * (s - u),
    "exponent 1 - 2/N": lambda N: ell * N * u ** (1 - 2 / N) * (s - u),
    "layers of neurons": lambda N: ell * (N - 1) * u ** (2 - 2 / (N - 1)) * (s - u),
    "tied weights, N^2": lambda N: ell * N**2 * u ** (2 - 2 / N) * (s - u),
    "no factor N": lambda N: ell * u ** (2 - 2 / N) * (s - u),
    "ascent": lambda N: -ell * N * u ** (2 - 2 / N) * (s - u),
    "no curvature": lambda N: N * u ** (2 - 2 / N) * (s - u),
    "the sign of the target": lambda N: ell * N * u ** (2 - 2 / N) * (s + u),
    "curvature on u alone": lambda N: N * u ** (2 - 2 / N) * (s - ell * u),
}


@pytest.mark.parametrize("statement", MUTANTS.values(), ids=MUTANTS)
def test_a_changed_record_is_refused(statement):
    with pytest.raises(CertificationError, match="residual"):
        page.prove(replace(saxe_modes, statement=statement))


def test_a_gradient_of_the_wrong_sign(monkeypatch):
    right = page.read_gradient
    monkeypatch.setattr(page, "read_gradient", lambda d, X, G: -right(d, X, G))
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_a_rewriting_that_forgets_a_factor(monkeypatch):
    right = page.rewrite
    monkeypatch.setattr(page, "rewrite", lambda p, rule: right(p, rule) * 2)
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_the_derived_velocity_at_depths():
    """What the page hands to the pages that build on it is the mode equation at each depth."""
    derived = page.mode_velocity(page.Derivation())
    for N in (1, 2, 5):
        stated = saxe_modes.statement(Integer(N))
        assert (derived.subs(page.N, N) - stated).expand() == 0
