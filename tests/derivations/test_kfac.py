"""The page on K-FAC flow proves the record, and nothing that differs from it."""

from dataclasses import replace

import pytest

from derivations import kfac as page
from flowsim.symbolic import CertificationError
from flowsim.theory.rates import kfac
from tests.derivations.test_natural_gradient import towards


def test_the_unchanged_record_is_proved():
    page.prove(replace(kfac, statement=lambda N: towards(N, N)))


@pytest.mark.parametrize(
    "statement",
    [
        lambda N: towards(N, 1),
        lambda N: towards(N, N - 1),
        lambda N: towards(N, 2 * N),
        lambda N: towards(N, -N),
        lambda N: towards(N, N, sign=1),
    ],
    ids=["rate 1", "one layer less", "twice", "growth", "sign"],
)
def test_a_changed_record_is_refused(statement):
    with pytest.raises(CertificationError, match="residual"):
        page.prove(replace(kfac, statement=statement))


def test_a_loss_without_the_half(monkeypatch):
    right = page.read_gradient
    monkeypatch.setattr(page, "read_gradient", lambda d, X, G: right(d, X, G) * 2)
    with pytest.raises(CertificationError, match="residual"):
        page.prove()


@pytest.mark.parametrize("missing", range(len(page.RULES)))
def test_every_inverse_is_needed(monkeypatch, missing):
    """A layer above that is not onto, or one below that is not injective, stops the proof."""
    kept = [rule for i, rule in enumerate(page.RULES) if i != missing]
    monkeypatch.setattr(page, "RULES", kept)
    with pytest.raises(CertificationError, match="residual"):
        page.prove()
