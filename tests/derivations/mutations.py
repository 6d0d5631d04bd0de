"""What tests of proofs share: a record changed in one place, which its proof must refuse."""

from dataclasses import replace

import pytest

from flowsim.symbolic import CertificationError


def refused(proof, statement):
    """The proof refuses its record with another statement."""
    with pytest.raises(CertificationError, match="residual"):
        proof.prove(replace(proof.THEOREM, statement=statement))


def fails(proof):
    """The proof fails as it stands, its engine having been changed."""
    with pytest.raises(CertificationError, match="residual"):
        proof.prove()


def proves(proof, at_least=6):
    """The proof holds, and has so many lines."""
    assert len(proof.prove().steps) >= at_least
