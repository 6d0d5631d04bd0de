"""The page on times proves the record at every depth, and nothing that differs from it."""

from dataclasses import replace

import pytest
from sympy import Integer, hyper, oo

from derivations import mode_times as page
from flowsim.symbolic import CertificationError
from flowsim.theory.modes import STRENGTH, TARGET, mode_times

u, s = STRENGTH, TARGET


def at(depth, change):
    """The record with its formula at one depth changed."""

    def statement(N):
        time = mode_times.statement(N)
        if depth == "N":
            return change(time) if time.has(hyper) else time
        return change(time) if depth == N else time

    return replace(mode_times, statement=statement)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, "N", oo])
@pytest.mark.parametrize(
    "change",
    [lambda t: -t, lambda t: 2 * t, lambda t: t + u, lambda t: t.subs(s, 2 * s)],
    ids=["sign", "factor", "summand", "target"],
)
def test_a_changed_record_is_refused(depth, change):
    with pytest.raises(CertificationError, match="residual"):
        page.prove(at(depth, change))


@pytest.mark.parametrize(
    "series",
    [
        lambda b: hyper([1, b], [2 + b], u / s),
        lambda b: hyper([2, b], [1 + b], u / s),
        lambda b: hyper([1, 1 + b], [1 + b], u / s),
        lambda b: hyper([1, b], [1 + b], u),
    ],
)
def test_a_changed_series_is_refused(series):
    def change(time):
        (old,) = time.atoms(hyper)
        return time.subs(old, series(2 / page.N - 1))

    with pytest.raises(CertificationError, match="residual"):
        page.prove(at("N", change))


def test_a_velocity_that_is_not_the_network_s(monkeypatch):
    right = page.modes_page.mode_velocity
    monkeypatch.setattr(page.modes_page, "mode_velocity", lambda p: right(p) * u)
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_a_constant_of_integration_is_free():
    page.prove(at(2, lambda t: t + Integer(5)))
