"""The proof of the closure criterion holds, fails with any one thing changed, and fits numbers."""

import numpy as np
import pytest
from sympy import MatAdd, MatMul, Transpose, ZeroMatrix

from derivations import closure_criterion as proof
from flowsim.problems import DeepLinear
from flowsim.problems.families import ScaledVector, TwoLayer
from flowsim.symbolic.algebra.ring import entry_map
from flowsim.symbolic.closure.leaf import leaf_fields
from flowsim.symbolic.closure.states import NumericField, states_of
from flowsim.symbolic.differential import Differential
from flowsim.symbolic.rewriting import Rule
from flowsim.theory.closure import JACOBIAN, LEAF, PSEUDO_INVERSE
from tests.derivations.mutations import fails, proves, refused

J, dJ = JACOBIAN, Differential(JACOBIAN)


def test_proof_holds():
    proves(proof, at_least=10)


CHANGES = {
    "one term": MatMul(dJ, Transpose(J)),
    "a difference": MatAdd(MatMul(dJ, Transpose(J)), MatMul(-1, J, Transpose(dJ))),
    "half": MatMul(2, dJ, Transpose(J)),
    "J J^T itself": MatMul(J, Transpose(J)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_change_of_p(change):
    def statement(N, *, part="change"):
        return CHANGES[change] if part == "change" else proof.DIRECTIONS

    refused(proof, statement)


DIRECTIONS = {
    "a sum": MatAdd(LEAF, MatMul(PSEUDO_INVERSE, J)),
    "the leaf alone": LEAF,
    "half of it": MatAdd(LEAF, MatMul(-1, PSEUDO_INVERSE, J), MatMul(-1, LEAF)),
    "J^T for J^+": MatAdd(LEAF, MatMul(-1, Transpose(J), J)),
}


@pytest.mark.parametrize("change", DIRECTIONS)
def test_other_directions(change, monkeypatch):
    def statement(N, *, part="change"):
        return DIRECTIONS[change] if part == "directions" else proof.THEOREM.statement(N)

    refused(proof, statement)
    # The page does not hold for them either, whatever the record says.
    monkeypatch.setattr(proof, "DIRECTIONS", DIRECTIONS[change])
    fails(proof)


@pytest.mark.parametrize("name", ["PROJECTS", "ROWS", "COLUMNS", "INVERTS"])
def test_a_projector_without_one_of_its_properties(name, monkeypatch):
    left = tuple(r for r in proof.ON_THE_LEAF if r is not getattr(proof, name))
    monkeypatch.setattr(proof, "ON_THE_LEAF", left)
    fails(proof)


def test_conserved_quantities_that_change_on_the_leaf(monkeypatch):
    right = Rule.of(MatMul(proof.H, proof.Q), proof.H)
    assert proof.CONSTANT.rhs.expr() == ZeroMatrix(*proof.H.shape)
    monkeypatch.setattr(proof, "CONSTANT", right)
    fails(proof)


def test_ascent(monkeypatch):
    right = proof.read_gradient
    monkeypatch.setattr(proof, "read_gradient", lambda *args: -right(*args))
    fails(proof)


def test_a_product_rule_that_forgets_a_factor(monkeypatch):
    right = proof.differential
    monkeypatch.setattr(proof, "differential", lambda *args: right(*args) * 2)
    fails(proof)


def directions(par, seed):
    """A random state, P as a function of it, and Q - J^+ J, from floating-point brackets."""
    em = entry_map(par)
    rng = np.random.default_rng(seed)
    fields = [NumericField(em, f) for f in leaf_fields(em, em.random_point(rng))]
    states = states_of(em, ())
    x = rng.normal(size=em.size)
    B = np.linalg.qr(np.stack([f(x) for f in fields], axis=1))[0]
    jacobian = states(np, x)[1]
    return x, states, B @ B.T - np.linalg.pinv(jacobian) @ jacobian


@pytest.mark.parametrize(
    ("par", "fibre", "changes"),
    [
        (TwoLayer((2, 2, 2)), 1, True),
        (TwoLayer((2, 2, 1)), 1, True),
        (DeepLinear((2, 2, 2, 2)), None, True),
        (ScaledVector(3), 0, False),
    ],
    ids=str,
)
def test_the_criterion_in_numbers(par, fibre, changes):
    x, states, Pi = directions(par, seed=1)
    np.testing.assert_allclose(Pi @ Pi, Pi, atol=1e-10)
    if fibre is not None:
        assert round(np.trace(Pi)) == fibre
    u = np.random.default_rng(2).normal(size=len(x))
    v, e = Pi @ u, 1e-5
    v = v / max(np.linalg.norm(v), 1e-3)
    before, after = states(np, x - e * v)[1], states(np, x + e * v)[1]
    slope = (after - before) / (2 * e)
    jacobian = states(np, x)[1]
    stated = slope @ jacobian.T + jacobian @ slope.T
    np.testing.assert_allclose((after @ after.T - before @ before.T) / (2 * e), stated, atol=1e-6)
    np.testing.assert_allclose(jacobian @ v, 0, atol=1e-10)
    assert (np.abs(stated).max() > 1e-3) == changes


def test_a_part_that_the_record_does_not_have():
    with pytest.raises(ValueError, match="part"):
        proof.THEOREM.statement(1, part="both")
