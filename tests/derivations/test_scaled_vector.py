"""The proofs on w = w_1 w_2 hold, and fail with any one thing changed."""

import pytest
from sympy import Integral, MatAdd, MatMul, Transpose, cosh, sinh, sqrt

from derivations import (
    _scaled_vector,
    scaled_vector,
    scaled_vector_descent,
    scaled_vector_line,
    scaled_vector_memory,
)
from flowsim.symbolic.nodes import FrobeniusNorm
from flowsim.theory import scaled_vector as law
from flowsim.theory.scaled_vector import GRADIENT, IMBALANCE, RATE, SCALE, VECTOR
from tests.derivations.mutations import fails, proves, refused

PROOFS = [scaled_vector, scaled_vector_descent, scaled_vector_line, scaled_vector_memory]


@pytest.mark.parametrize("proof", PROOFS, ids=lambda p: p.__name__)
def test_proofs_hold(proof):
    proves(proof)


def memoryless(*, c=IMBALANCE, root=1, four=4, back=-1, power=1):
    norm = FrobeniusNorm(VECTOR)
    rho = (c + root * sqrt(c**2 + four * norm**2)) / 2
    return MatAdd(
        MatMul(-rho, GRADIENT),
        MatMul(back / rho**power, VECTOR, Transpose(VECTOR), GRADIENT),
    )


LAWS = {
    "the other root": {"root": -1},
    "without the four": {"four": 1},
    "other sign of c": {"sign": -1},
    "other sign of the second term": {"back": 1},
    "rho^2 for rho": {"power": 2},
}


@pytest.mark.parametrize("change", LAWS)
def test_changed_laws(change):
    changed = dict(LAWS[change])
    sign = changed.pop("sign", 1)
    refused(scaled_vector, lambda N, c=IMBALANCE: memoryless(c=sign * c, **changed))


def memory(*, present=2, sign=-1, start=1, earlier=False):
    t, tau, w2, g = law.TIME, law.EARLIER, law.SCALE_AT, law.GRADIENT_AT
    growth = w2(t).diff(t)
    weight = growth * w2(tau) if not earlier else growth * w2(t)
    past = Integral(weight * g(tau), (tau, 0, t))
    return -(w2(t) ** present) * g(t) + sign * past + start * growth * law.FIRST


MEMORIES = {
    "w_2 for w_2^2": {"present": 1},
    "sign of the past": {"sign": 1},
    "the start dropped, as in the paper": {"start": 0},
    "w_2 now for w_2 then": {"earlier": True},
}


@pytest.mark.parametrize("change", MEMORIES)
def test_changed_memories(change):
    refused(scaled_vector_memory, lambda N, kernel="exact": memory(**MEMORIES[change]))


@pytest.mark.parametrize("power", [0, 2])
def test_changed_exponential_kernels(power):
    """exp(0) or exp(-2 int gamma) for exp(-int gamma)."""
    right = law.scaled_vector_memory.statement

    def stated(N, kernel="exact"):
        if kernel == "exact":
            return right(N)
        grown = law.growth_since(law.TIME, law.EARLIER)
        return right(N, kernel=kernel).xreplace({grown: grown**power})

    refused(scaled_vector_memory, stated)


LINES = {
    "trigonometric sign": lambda a, b: a * cosh(law.INTEGRATED) + b * sinh(law.INTEGRATED),
    "exchanged": lambda a, b: a * sinh(law.INTEGRATED) - b * cosh(law.INTEGRATED),
    "twice the speed": lambda a, b: a * cosh(2 * law.INTEGRATED) - b * sinh(2 * law.INTEGRATED),
}


@pytest.mark.parametrize("change", LINES)
@pytest.mark.parametrize("which", [1, 2])
def test_changed_lines(change, which):
    def stated(N, factor=2):
        if factor != which:
            return law.scaled_vector_line.statement(N, factor=factor)
        return LINES[change](*((law.SCALE_0, law.ALONG)[:: 1 if factor == 2 else -1]))

    refused(scaled_vector_line, stated)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("step", lambda x: x.subs(SCALE, 1)),
        ("step", lambda x: x.subs(RATE, 2 * RATE)),
        ("momentum", lambda x: -x),
        ("momentum", lambda x: x.subs(law.MOMENTS[1], law.MOMENTS[0])),
        ("drift", lambda x: x / RATE),
        ("drift", lambda x: x.subs(law.STEEPNESS, -law.STEEPNESS)),
    ],
)
def test_changed_descent(part, change):
    right = law.scaled_vector_descent.statement

    def stated(N, what="step"):
        return change(right(N, what=what)) if what == part else right(N, what=what)

    refused(scaled_vector_descent, stated)


def test_the_step_of_the_paper_is_not_exact():
    """Without gamma rho grad L, of second order in eta."""
    right = law.scaled_vector_descent.statement

    def paper(N, what="step"):
        if what != "step":
            return right(N, what=what)
        back = MatMul(-RATE / SCALE**2, VECTOR, Transpose(VECTOR), GRADIENT)
        return MatAdd(VECTOR, MatMul(-RATE * SCALE**2, GRADIENT), back)

    refused(scaled_vector_descent, paper)


def test_another_parametrization(monkeypatch):
    of = _scaled_vector.of
    wrong = of(_scaled_vector.FIRST) @ of(_scaled_vector.SECOND) @ of(_scaled_vector.SECOND)
    monkeypatch.setattr(_scaled_vector, "end_to_end", lambda: wrong)
    for proof in PROOFS:
        fails(proof)


def test_a_gradient_of_the_wrong_sign(monkeypatch):
    right = _scaled_vector.read_gradient
    monkeypatch.setattr(_scaled_vector, "read_gradient", lambda d, X, G: -right(d, X, G))
    for proof in PROOFS:
        fails(proof)


def test_numbers_whose_transpose_is_something_else(monkeypatch):
    monkeypatch.setattr(_scaled_vector, "gather", lambda polynomial: polynomial)
    fails(scaled_vector)
