"""Every theorem says what it says, names a proof, and agrees with factors that move."""

from pathlib import Path

import numpy as np
import pytest

from flowsim.symbolic import derive
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory import THEOREMS, balanced_law, conservation
from flowsim.theory.deep_linear import DECAY, INDEX
from tests.symbolic.oracles import (
    Network,
    balanced,
    chain,
    evaluate,
    factor_velocities,
    gradient_by_differences,
    product_velocity,
    quadratic,
    random_factors,
)

ROOT = Path(__file__).parents[2]
WIDTHS = [(4, 3), (3, 3, 4), (4, 2, 3, 3), (3, 2, 2, 3, 1)]


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda t: t.name)
def test_records_are_complete(theorem):
    assert "arXiv:" in theorem.citation
    assert theorem.hypotheses
    assert theorem.title.endswith(".")
    assert (ROOT / theorem.proof).is_file()


@pytest.mark.parametrize("widths", WIDTHS)
def test_balanced_law_against_moving_factors(widths):
    rng, decay = np.random.default_rng(7), 0.2
    theta, loss = balanced(widths, rng), quadratic(widths, rng)
    G = gradient_by_differences(loss, chain(theta, len(theta), 1))
    dW = product_velocity(theta, factor_velocities(loss, theta, decay))
    stated = evaluate(balanced_law.statement(len(theta)), theta, G, {DECAY: decay})
    assert np.linalg.norm(stated - dW) <= 1e-7 * np.linalg.norm(dW)


@pytest.mark.parametrize("widths", WIDTHS[1:])
def test_conservation_against_moving_factors(widths):
    rng, decay = np.random.default_rng(8), 0.2
    theta, loss = random_factors(widths, rng), quadratic(widths, rng)
    V = factor_velocities(loss, theta, decay)
    scale = np.linalg.norm(V[0]) * np.linalg.norm(theta[0])
    for j in range(1, len(theta)):
        lower, upper, down, up = theta[j - 1], theta[j], V[j - 1], V[j]
        moved = up.T @ upper + upper.T @ up - down @ lower.T - lower @ down.T
        statement = conservation.statement(len(theta)).subs(INDEX, j)
        stated = evaluate(statement, theta, np.zeros((widths[-1], widths[0])), {DECAY: decay})
        assert np.linalg.norm(stated - moved) <= 1e-7 * scale


@pytest.mark.parametrize("N", [1, 2, 3, 8, "N"])
def test_records_are_what_the_engine_derives(N):
    law = derive(Network(N), weight_decay=DECAY)
    stated = MatrixPolynomial.of(balanced_law.statement(law.depth))
    # The paper's index order runs the other way; a sum of numbers of layers does not care.
    assert stated.reflected() == MatrixPolynomial.of(law.balanced)
    for quantity in law.conserved:
        D = MatrixPolynomial.of(quantity.expression) * quantity.rate
        assert MatrixPolynomial.of(conservation.statement(law.depth)) == D
