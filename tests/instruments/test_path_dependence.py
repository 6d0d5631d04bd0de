"""Two losses in both orders.

Reference values: independent Gragg-Bulirsch-Stoer integration of order 16 in extended precision.
"""

import numpy as np
import pytest

from flowsim._errors import InputError
from flowsim.instruments.path_dependence import path_dependence
from flowsim.problems import Diagonal, DiagonalProduct, ScaledVector, SymmetricFactorization
from flowsim.symbolic.mirror import mirror


def test_the_scaled_vector_depends_on_the_order():
    apart = path_dependence(ScaledVector(2), ([0.3, -0.2], 0.8), 0, 1, 0.7, 0.4)
    np.testing.assert_allclose(apart.forward, [-0.2122751559567, -0.4932660345072], atol=1e-12)
    np.testing.assert_allclose(apart.swapped, [-0.328530361018, -0.5236123198631], atol=1e-12)
    assert "order counts" in str(apart)


@pytest.mark.parametrize(
    "par",
    [
        Diagonal(2),
        Diagonal(2, 3),
        DiagonalProduct(2, 3),
        ScaledVector(2),
        ScaledVector(3),
        SymmetricFactorization(2, 2),
    ],
)
def test_order_counts_exactly_where_fields_do_not_commute(par):
    rng = np.random.default_rng(8)
    start = tuple(rng.uniform(0.2, 0.6, shape) for shape in par.shapes)
    apart = path_dependence(par, start, 0, 1, 0.3, 0.2)
    if mirror(par).commuting:
        assert apart.distance < 1e-13
        np.testing.assert_allclose(apart.forward, apart.swapped, atol=1e-13)
    else:
        assert apart.distance > 1e-3


def test_distance_is_the_bracket_times_both_times():
    # exp(tY) exp(sX) - exp(sX) exp(tY) = st [X, Y] + ..., with the fields -grad G.
    theta = np.array([0.3, -0.2, 0.8])
    apart = path_dependence(ScaledVector(2), (theta[:2], theta[2]), 0, 1, 1e-4, 1e-4)
    difference = [
        a - b
        for a, b in zip(np.ravel(apart.forward_factors[0]), apart.swapped_factors[0], strict=True)
    ]
    # [grad G_1, grad G_2] = (a_1 e_2 - a_2 e_1, 0)
    np.testing.assert_allclose(np.array(difference) / 1e-8, [0.2, 0.3], rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((0, 2, 0.1, 0.1), "2 entries"),
        ((-1, 1, 0.1, 0.1), "whole"),
        ((0, 1, np.inf, 0.1), "finite"),
    ],
)
def test_arguments(arguments, match):
    with pytest.raises(InputError, match=match):
        path_dependence(Diagonal(2), (np.ones(2),) * 2, *arguments)


def test_blow_up():
    with pytest.raises(InputError, match="beyond all bounds"):
        path_dependence(Diagonal(2, 4), (np.ones(2),) * 2, 0, 1, -0.5, 0.1)
