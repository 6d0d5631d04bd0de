"""The proof of the loop integrals refuses what is not so."""

from dataclasses import replace

import pytest

from derivations import loop_integrals as proof
from flowsim.symbolic import CertificationError, integrability
from flowsim.symbolic.columns import Inner
from flowsim.symbolic.integrability import G, W
from flowsim.symbolic.nodes import FrobeniusNorm
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.no_regularizer import DEGREE, INNER, LEFT, OUTER, RIGHT, sector_loop


def statement(N, *, factor=0, degree=0, below=0, power=0, sign=1, radii=-1):
    """The record, one thing changed."""
    m, exponent = DEGREE + degree, DEGREE + 2 - 2 / N + power
    scale = (N - 1 + factor) * (m - 2 / N) / (DEGREE + 2 - 2 / N + below)
    return scale * (LEFT - sign * RIGHT) * (OUTER**exponent + radii * INNER**exponent)


CHANGES = {
    "depth": {"factor": 1},
    "degree": {"degree": 1},
    "denominator": {"below": -1},
    "exponent": {"power": -1},
    "sum of heights": {"sign": -1},
    "sum of radii": {"radii": 1},
}


def test_the_unchanged_record_is_proved():
    page = proof.prove(replace(sector_loop, statement=statement))
    assert len(page.steps) >= 6


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_record_is_refused(change):
    mutant = replace(sector_loop, statement=lambda N: statement(N, **change))
    with pytest.raises(CertificationError, match="residual"):
        proof.prove(mutant)


def test_the_direction_of_the_curve_is_part_of_the_theorem():
    turned = replace(sector_loop, statement=lambda N: -statement(N))
    with pytest.raises(CertificationError, match="residual"):
        proof.prove(turned)


def test_a_field_without_its_projection(monkeypatch):
    def wrong(law):
        return MatrixPolynomial.of(G) * FrobeniusNorm(W) ** (2 - 2 / law.depth)

    monkeypatch.setattr(integrability, "column_field", wrong)
    with pytest.raises(CertificationError, match="residual"):
        proof.prove()


def test_a_field_with_another_power_of_the_norm(monkeypatch):
    right = integrability.column_field
    monkeypatch.setattr(integrability, "column_field", lambda law: right(law) * FrobeniusNorm(W))
    with pytest.raises(CertificationError, match="residual"):
        proof.prove()


def test_a_contraction_that_loses_a_factor(monkeypatch):
    right = proof.contract
    monkeypatch.setattr(proof, "contract", lambda x, F: 2 * right(x, F) - Inner(x, G))
    with pytest.raises(CertificationError, match="residual"):
        proof.prove()
