"""The count of two-layer laws: proved for all sizes, refused when changed, true of random maps."""

from dataclasses import replace

import numpy as np
import pytest
from sympy import Integer

from derivations import conservation_counts as proof
from flowsim import DeepLinear, LpLoss, Parametrization, Problem, TwoLayer
from flowsim.symbolic import CertificationError
from flowsim.symbolic.conservation import conservation_laws
from flowsim.theory.conservation_counts import COLUMNS, RANK, ROWS, WIDTH, two_layer_count

n, m, r, rho = ROWS, COLUMNS, WIDTH, RANK
p = n + m


def refused(statement):
    with pytest.raises(CertificationError, match="residual"):
        proof.prove(replace(two_layer_count, statement=statement))


def test_the_proof_holds():
    assert len(proof.prove().steps) >= 16


MUTATIONS = {
    "one law too many": lambda N: two_layer_count.statement(N) + 1,
    "p + 1 for p - 1": lambda N: p * r - (p * (p + 1) - (p - rho) * (p - rho - 1)) / 2,
    "nothing fixes Z": lambda N: p * r - p * (p - 1) / 2,
    "symmetric stabilisers": lambda N: p * r - (p * (p - 1) - (p - rho) * (p - rho + 1)) / 2,
    "width for rank": lambda N: two_layer_count.statement(N, rank=r),
    "one size": lambda N: two_layer_count.statement(N, m=n),
    "twice": lambda N: 2 * two_layer_count.statement(N),
}


@pytest.mark.parametrize("statement", MUTATIONS.values(), ids=MUTATIONS)
def test_a_changed_record_is_refused(statement):
    refused(statement)


def test_a_changed_engine_is_refused(monkeypatch):
    true = proof.gradient_field
    for change in (
        lambda M: (true(M)[0], true(M)[1] * 2),
        lambda M: (true(M)[0], -true(M)[1]),
        lambda M: (-true(M)[0], true(M)[1]),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(proof, "gradient_field", change)
            with pytest.raises(CertificationError, match="residual"):
                proof.prove()


def test_symmetric_matrices_are_no_rotations(monkeypatch):
    monkeypatch.setattr(proof, "antisymmetric", lambda M: proof.of(M) + proof.of(M).T)
    with pytest.raises(CertificationError, match="residual"):
        proof.prove()


def test_pairs_counted_with_the_diagonal_are_refused(monkeypatch):
    true = proof.pairs
    monkeypatch.setattr(proof, "pairs", lambda size: true(size + 1))
    with pytest.raises(CertificationError, match="residual"):
        proof.prove()


def test_special_cases():
    count = two_layer_count.statement
    assert (count(rank=r) - r * (r + 1) / 2).expand() == 0
    assert (count(rank=p) - (p * r - p * (p - 1) / 2)).expand() == 0


@pytest.mark.parametrize(
    ("rows", "columns", "width"),
    [(2, 2, 1), (2, 2, 2), (3, 2, 2), (2, 2, 3), (2, 2, 5), (1, 1, 3), (2, 1, 4), (1, 3, 2)],
)
def test_the_record_against_brackets_of_the_map(rows, columns, width):
    par = Parametrization.from_function(
        lambda U, V: U @ V.T, {"U": (rows, width), "V": (columns, width)}
    )
    stated = two_layer_count.statement(
        n=Integer(rows), m=Integer(columns), r=Integer(width), rank=min(width, rows + columns)
    )
    assert conservation_laws(par).count == stated


def test_hypotheses_are_checked():
    (_, generic) = two_layer_count.conditions
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    problem = Problem(LpLoss(X, y, p=2), TwoLayer((3, 2, 2)))
    W1, W2 = rng.normal(size=(2, 3)), rng.normal(size=(2, 2))
    assert generic.failure(problem, (W1, W2)) is None
    flat = generic.failure(problem, (np.ones((2, 3)), np.ones((2, 2))))
    assert flat == "The factors stacked, of shape (5, 2), have rank 1 only."
    deep = Problem(LpLoss(X, y, p=2), DeepLinear((3, 2, 2, 2)))
    assert "a product of two matrices" in generic.failure(deep, None)
