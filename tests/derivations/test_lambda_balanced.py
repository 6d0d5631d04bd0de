"""The proof of the lambda-balanced law holds, and fails with any one thing changed."""

from dataclasses import replace

import pytest
from sympy import Identity, MatAdd, MatMul, Rational, Transpose

from derivations import lambda_balanced as proof
from flowsim.symbolic.nodes import PSDPower, end_to_end, gradient
from flowsim.theory.two_layer import IMBALANCE
from tests.derivations.mutations import fails, proves, refused


def test_proof_holds():
    proves(proof)


def law(*, square=4, root=2, shift=1, sides=(1, -1), sign=-1):
    W, G = end_to_end(2), gradient(2)
    roots = []
    for A, side in zip((MatMul(W, Transpose(W)), MatMul(Transpose(W), W)), sides, strict=True):
        one = Identity(A.rows)
        inside = MatAdd(MatMul(shift * IMBALANCE**2 / square, one), A)
        roots.append(MatAdd(MatMul(side * IMBALANCE / 2, one), PSDPower(inside, Rational(1, root))))
    Q, R = roots
    return MatAdd(MatMul(sign, Q, G), MatMul(sign, G, R))


MUTATIONS = {
    "lambda^2/2": {"square": 2},
    "no root": {"root": 1},
    "minus lambda^2/4": {"shift": -1},
    "the same sign twice": {"sides": (1, 1)},
    "ascent": {"sign": 1},
}


def test_the_law_as_it_is():
    assert law() == proof.THEOREM.statement(2)


@pytest.mark.parametrize("change", MUTATIONS)
def test_changed_laws(change):
    refused(proof, lambda N: law(**MUTATIONS[change]))


def test_the_shifts_cancel():
    """lambda/2 G - lambda/2 G: exchanging the signs of lambda states the same law."""
    proof.prove(replace(proof.THEOREM, statement=lambda N: law(sides=(-1, 1))))


def test_another_imbalance(monkeypatch):
    monkeypatch.setattr(proof, "IMBALANCE", 2 * IMBALANCE)
    fails(proof)


@pytest.mark.parametrize("name", ["read_gradient", "product_rule"])
def test_a_changed_engine(monkeypatch, name):
    right = getattr(proof, name)
    monkeypatch.setattr(proof, name, lambda *args: -right(*args))
    fails(proof)
