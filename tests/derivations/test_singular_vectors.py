"""The page on singular vectors proves the record, and nothing that differs from it."""

from dataclasses import replace

import pytest

from derivations import singular_vectors as page
from flowsim.symbolic import CertificationError
from flowsim.theory.factorization import COLUMN, CROSSED, DIRECT, ROW, singular_vectors

r, q, g, h = ROW, COLUMN, DIRECT, CROSSED


def only(side, change):
    """The record with what it states of one side changed."""

    def statement(N, *, side_asked="left", **kwargs):
        asked = kwargs.get("side", side_asked)
        stated = singular_vectors.statement(N, side=asked)
        return change(N, stated) if asked == side else stated

    return replace(singular_vectors, statement=statement)


MUTANTS = {
    "left: row minus column": ("left", lambda N, x: -x),
    "left: gap without the root": ("left", lambda N, x: -(g * q + h * r) / (q**2 - r**2)),
    "left: power 1/N": ("left", lambda N, x: -(g * q + h * r) / (q ** (1 / N) - r ** (1 / N))),
    "left: antisymmetric": ("left", lambda N, x: -(g * q - h * r) / (q ** (2 / N) - r ** (2 / N))),
    "left: as the right": ("left", lambda N, x: -(g * r + h * q) / (q ** (2 / N) - r ** (2 / N))),
    "right: as the left": ("right", lambda N, x: -(g * q + h * r) / (q ** (2 / N) - r ** (2 / N))),
    "right: sign": ("right", lambda N, x: -x),
    "leaving: exponent": ("leaving", lambda N, x: -(q ** (2 - 2 / N))),
    "leaving: half the exponent": ("leaving", lambda N, x: -(q ** (1 - 1 / N))),
    "leaving: sign": ("leaving", lambda N, x: -x),
}


@pytest.mark.parametrize(("side", "change"), MUTANTS.values(), ids=MUTANTS)
def test_a_changed_record_is_refused(side, change):
    with pytest.raises(CertificationError, match="residual"):
        page.prove(only(side, change))


def test_the_unchanged_record_is_proved():
    page.prove(only("left", lambda N, x: x))


def test_powers_that_act_by_the_wrong_power(monkeypatch):
    right = page.power_rules
    monkeypatch.setattr(page, "power_rules", lambda a, s, b, t: right(a, s**2, b, t))
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_a_product_rule_that_counts_twice(monkeypatch):
    right = page.differential
    monkeypatch.setattr(page, "differential", lambda p, f: right(p, f) * 2)
    with pytest.raises(CertificationError, match="residual"):
        page.prove()
