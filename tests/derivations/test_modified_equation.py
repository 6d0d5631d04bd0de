"""The proof of the modified equation refuses what is not so."""

from dataclasses import replace

import pytest
from sympy import Rational, S

from derivations import modified_equation as proof
from flowsim.symbolic import CertificationError, modified, trees
from flowsim.symbolic.modified import STEP
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.modified import modified_equation

TERMS = [(), ((),), (((),),), ((), ()), ((((),),),), (((), ()),), ((), ((),))]


def changed(tree, factor, momentum_too=False):
    """The record with one coefficient multiplied."""

    def statement(N=None, *, momentum=None):
        right = modified_equation.statement(N, momentum=momentum)
        if (momentum is not None) != momentum_too:
            return right
        total = MatrixPolynomial.of(right)
        terms = [
            (c * (factor if word[0].node.tree == tree else 1), word, over)
            for (word, over), c in total.terms.items()
        ]
        return MatrixPolynomial(total.shape, terms).expr()

    return replace(modified_equation, statement=statement)


def test_the_unchanged_record_is_proved():
    assert len(proof.prove(changed((), 1)).steps) >= 6


@pytest.mark.parametrize("factor", [-1, 2, Rational(1, 2), STEP], ids=str)
@pytest.mark.parametrize("tree", TERMS, ids=trees.text)
def test_a_changed_coefficient_is_refused(tree, factor):
    with pytest.raises(CertificationError, match="residual"):
        proof.prove(changed(tree, factor))


@pytest.mark.parametrize("tree", TERMS[:2], ids=trees.text)
def test_a_changed_coefficient_of_the_heavy_ball_is_refused(tree):
    with pytest.raises(CertificationError, match="residual"):
        proof.prove(changed(tree, 2, momentum_too=True))


def fails():
    modified._solve.cache_clear()
    try:
        with pytest.raises(CertificationError, match="residual"):
            proof.prove()
    finally:
        modified._solve.cache_clear()


def test_a_chain_rule_that_forgets_the_branches(monkeypatch):
    monkeypatch.setattr(trees, "grafts", lambda tree, scion: (trees.make([*tree, scion]),))
    fails()


def test_a_chain_rule_that_forgets_the_root(monkeypatch):
    right = trees.grafts
    monkeypatch.setattr(trees, "grafts", lambda tree, scion: right(tree, scion)[1:])
    fails()


def test_a_series_without_its_factorials(monkeypatch):
    monkeypatch.setattr(modified, "_weight", lambda j, momentum: 1 + momentum * (-1) ** j)
    fails()


def test_a_step_back_with_the_wrong_sign(monkeypatch):
    right = modified._weight
    monkeypatch.setattr(modified, "_weight", lambda j, momentum: right(j, -momentum))
    fails()


def test_a_scalar_with_a_vertex_missing(monkeypatch):
    monkeypatch.setattr(trees, "rootings", lambda tree: {tree: S.One})
    fails()


def test_entries_that_are_contracted_with_the_wrong_gradient(monkeypatch):
    right = trees.entries
    monkeypatch.setattr(
        trees, "entries", lambda tree, loss, xs: right(tree, loss, xs) if tree != ((),) else
        right((), loss, xs)
    )  # fmt: skip
    fails()
