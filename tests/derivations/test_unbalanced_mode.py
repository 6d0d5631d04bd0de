"""The page on two weights proves the record, and nothing that differs from it."""

from dataclasses import replace

import pytest
from sympy import exp

from derivations import unbalanced_mode as page
from flowsim.symbolic import CertificationError
from flowsim.theory.modes import IMBALANCE, RATE, TARGET, TIME, Y_START, two_weights

c, s, gamma, t, y0 = IMBALANCE, TARGET, RATE, TIME, Y_START


def stated(factor=1, swap=1, rate=1, front=4, inverse=-1):
    above, below = (2 * s + swap * gamma) / c, (2 * s - swap * gamma) / c
    kappa = (y0 - above) / (y0 - below)
    decay = exp(-rate * gamma * t)
    y = (above - factor * kappa * below * decay) / (1 - kappa * decay)
    return c / front * (y + inverse / y)


def test_the_unchanged_record_is_proved():
    page.prove(replace(two_weights, statement=lambda N: stated()))


@pytest.mark.parametrize(
    "change",
    [{"factor": -1}, {"swap": -1}, {"rate": -1}, {"rate": 2}, {"front": 2}, {"inverse": 1}],
)
def test_a_changed_record_is_refused(change):
    with pytest.raises(CertificationError, match="residual"):
        page.prove(replace(two_weights, statement=lambda N: stated(**change)))


def test_points_of_rest_need_the_right_gamma(monkeypatch):
    monkeypatch.setattr(
        page, "without_square_of_gamma", lambda e: e.expand().subs(gamma**2, s**2 + c**2)
    )
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


def test_a_wrong_derivative(monkeypatch):
    right = page.diff
    monkeypatch.setattr(page, "diff", lambda f, x: 2 * right(f, x))
    with pytest.raises(CertificationError, match="residual"):
        page.prove()
