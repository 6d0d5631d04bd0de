"""How laws are written: plain text computes what it says, LaTeX is whole, names are told apart."""

import re

import numpy as np
import pytest

import flowsim as fs
from flowsim.lowering.contraction import compile_tensors
from flowsim.problems import functions as fn
from flowsim.symbolic.indexed import SymbolicArray, Tensor, as_array, latex, text
from tests.symbolic.maps import MAPS, point

FORMS = ("map", "factor_flow", "rhs", "preconditioner")
FUNCTIONS = {name: function.call for name, function in fn.FUNCTIONS.items()}

#: Maps whose text needs indices, for want of a name for what is between their factors.
INDEXED = {
    "kron of matrices",
    "kron of vectors",
    "kron times a vector",
    "kron with sizes 1",
    "trace of a kron",
    "ravel",
    "ravel against a vector",
    "canonical polyadic",
    "one matrix for all modes",
    "column plus row",
    "column times vector",
    "column times matrix",
    "sums of rows",
    "numbers inside",
    "a diagonal of a cube",
    "sum of a function",
    "outer products",
}

LAWS = {
    name: fs.derive(fs.Parametrization.from_function(f, shapes), weight_decay=0.123456789)
    for name, (f, shapes) in MAPS.items()
}


def symbolic(f, shapes):
    return as_array(f(*(SymbolicArray(Tensor.variable(n, s)) for n, s in shapes.items()))).tensor


def has_indices(line):
    return "sum_{" in line or "[" in line


@pytest.mark.parametrize("name", MAPS)
def test_text_computes_what_it_says(name):
    law, (_, shapes) = LAWS[name], MAPS[name]
    theta = point(shapes)
    G = np.random.default_rng(8).normal(size=law.parent.end_to_end_shape)
    tensors = [law.map, *law.factor_flow.values(), law.rhs]
    lines = "\n".join(law.text(form) for form in FORMS[:3]).split("\n")
    values = compile_tensors(tensors, tuple(shapes)).function(theta, G)
    scope = {**FUNCTIONS, **dict(zip(shapes, theta, strict=True)), **law.constants}
    scope |= {"G": G, "I": np.eye(3)}
    for line, value in zip(lines, values, strict=True):
        if has_indices(line):
            assert name in INDEXED, line
            continue
        shown = eval(line.split(" = ", 1)[1], scope)
        np.testing.assert_allclose(
            np.broadcast_to(shown, np.shape(value)), value, rtol=1e-10, atol=1e-10, err_msg=line
        )


def test_indices_are_written_only_where_they_must_be():
    indexed = {
        name for name, law in LAWS.items() if any(has_indices(law.text(form)) for form in FORMS[:3])
    }
    assert indexed == INDEXED


def test_indices_are_written_as_einsum_has_them():
    law = LAWS["canonical polyadic"]
    assert law.text("map") == "w[i,j,k] = sum_{l} A[i,l] * B[j,l] * C[k,l]"
    kron = fs.derive(fs.Parametrization.from_function(fn.kron, {"u": 2, "v": 3}))
    assert kron.text("map") == "w[(ij)] = u[i] * v[j]"
    assert kron.text("factor_flow").split("\n")[0] == "du[i]/dt = -sum_{j} v[j] * G[(ij)]"


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("form", FORMS)
def test_latex_is_whole(name, form):
    for line in LAWS[name].latex(form).split(" \\\\\n"):
        bare = line.replace(r"\{", "").replace(r"\}", "")
        level = 0
        for character in bare:
            level += (character == "{") - (character == "}")
            assert level >= 0, line
        assert level == 0, line
        assert len(re.findall(r"\\left\b", bare)) == len(re.findall(r"\\right\b", bare)), line
        assert bare.count("(") == bare.count(")"), line
        assert bare.count(r"\langle") == bare.count(r"\rangle"), line
        assert bare.count(r"\lVert") == bare.count(r"\rVert"), line
        # One superscript on one base: TeX stops at a second.
        assert not re.search(r"\^\{[^{}]*\}\^", bare), line
    assert LAWS[name]._repr_latex_().startswith("$$\\begin{aligned}\n& w")


@pytest.mark.parametrize(
    ("f", "shapes", "plain", "typeset"),
    [
        (lambda U: U @ U.T, {"U": (3, 2)}, "U @ U.T", r"U \, U^{\top}"),
        (
            lambda U, s, V: U @ fn.diag(s) @ V.T,
            {"U": (3, 2), "s": (2,), "V": (4, 2)},
            "U @ diag(s) @ V.T",
            r"U \, \operatorname{diag}\left(s\right) \, V^{\top}",
        ),
        (
            lambda g, v: g * v / fn.norm(v),
            {"g": (), "v": (3,)},
            "g * norm(v)**(-1) * v",
            r"g \, \lVert v \rVert^{-1} \, v",
        ),
        (
            lambda u, v: u**3 - v**3,
            {"u": (3,), "v": (3,)},
            "u**3 - v**3",
            r"u^{\odot 3} - v^{\odot 3}",
        ),
        (lambda A: fn.trace(A @ A), {"A": (3, 3)}, "trace(A @ A)", None),
        (lambda A: fn.sum(A), {"A": (2, 3)}, "sum(A)", r"\operatorname{sum}\left(A\right)"),
        (lambda A: fn.sum(A * A), {"A": (2, 3)}, "norm(A)**2", r"\lVert A \rVert^{2}"),
        (lambda A: fn.diag(A), {"A": (3, 3)}, "diag(A)", None),
        (lambda u, v: fn.outer(u, v), {"u": (3,), "v": (2,)}, "outer(u, v)", r"u \, v^{\top}"),
        (lambda A, B: A * B.T, {"A": (2, 3), "B": (3, 2)}, "A * B.T", r"A \odot B^{\top}"),
        (lambda W, V: np.eye(3) + W @ V, {"W": (3, 3), "V": (3, 3)}, "I + W @ V", None),
        (lambda u: 0 * u, {"u": (3,)}, "0", "0"),
        (lambda u: 0.123456789 * u, {"u": (3,)}, "0.123456789 * u", r"0.123456789 \, u"),
        (lambda u: u / 3 - 0.1, {"u": (3,)}, "1/3 * u - 1/10", None),
        (
            lambda alpha, w_1: alpha * w_1,
            {"alpha": (), "w_1": (2,)},
            "alpha * w_1",
            r"\alpha \, w_{1}",
        ),
        (lambda bias: 2 * bias, {"bias": (2,)}, "2 * bias", r"2 \, \mathrm{bias}"),
    ],
)
def test_what_papers_would_write(f, shapes, plain, typeset):
    tensor = symbolic(f, shapes)
    assert text(tensor) == plain
    assert repr(tensor) == plain
    if typeset is not None:
        assert latex(tensor) == typeset
        assert tensor._repr_latex_() == rf"$\displaystyle {typeset}$"


def test_arrays_of_numbers_are_told_apart_and_shown():
    C, D = np.arange(3.0), np.arange(1.0, 4.0)
    par = fs.Parametrization.from_function(
        lambda u, C1: C * u + D * u**2 + C * C1 + fn.tanh(D[:, None] * C1) @ u,
        {"u": 3, "C1": 3},
    )
    law = fs.derive(par)
    # C1 is a factor already.
    assert law.text("map").startswith("w = u * C2 + u**2 * C3 + C1 * C2 + ")
    assert list(law.constants) == ["C2", "C3", "C4"]
    np.testing.assert_array_equal(law.constants["C2"], C)
    np.testing.assert_array_equal(law.constants["C3"], D)
    assert "where C2 is an array (3,)" in str(law)


def test_brackets_are_put_around_sums():
    u = Tensor.variable("u", (3,))
    v = Tensor.variable("v", (3,))
    assert text(u - v, bracket=True) == "(u - v)"
    assert text(u, bracket=True) == "u"
    assert latex(-u, bracket=True) == r"\left(-u\right)"
