"""Formulas in text: what is read, what it means, and everything that is refused."""

import copy
import io
import itertools
import pickle
import re
import tokenize
import unicodedata
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import flowsim as fs
from flowsim._errors import InputError
from flowsim.problems import functions as fn
from flowsim.problems import text as package
from flowsim.problems.text import Binary, Formula, Name, Number, Power, parse, parse_declarations

SHAPES = {"u": (3,), "v": (3,), "U": (3, 2), "V": (4, 2), "s": (2,), "g": (), "A": (3, 3)}
CALLED = {name: function.call for name, function in fn.FUNCTIONS.items()}


def used_shapes(text, shapes=SHAPES):
    """The shapes of the factors that a text names; of u where it names none."""
    words = set(re.findall(r"[A-Za-z_][A-Za-z_0-9]*", text))
    return {name: shape for name, shape in shapes.items() if name in words} or {"u": (3,)}


def factors(shapes, seed=0):
    """Positive factors, at which every root and logarithm of a factor is real."""
    rng = np.random.default_rng(seed)
    return {name: np.abs(rng.normal(size=shape)) + 0.5 for name, shape in shapes.items()}


def by_python(text, values):
    """Python's own value of a text that this file made; the reference for the parser's."""
    with np.errstate(all="ignore"):
        return eval(text, {"__builtins__": {}}, {**CALLED, **values})


def refusal(text, shapes=None):
    """The message with which a text is refused."""
    with pytest.raises(InputError) as caught:
        parse(text, used_shapes(text) if shapes is None else shapes)
    assert type(caught.value) is InputError
    return str(caught.value)


def caret(message):
    """The position of the caret in the excerpt, and the excerpt."""
    *_, shown, carets = message.splitlines()
    assert shown.startswith("    ")
    assert set(carets.strip()) == {"^"}
    return carets.index("^") - 4, shown[4:]


# --- what is read, and what it means --------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "u**2 - v**2",
        "U @ diag(s) @ V.T",
        "g*v/norm(v)",
        "-u**2",
        "(-u)**2",
        "u**-2",
        "u**-(2)",
        "u**(1/2)*v**(-1/3)",
        "u**0.5",
        "2**-1*u",
        "2**(1/2)*u",
        "1/2*u",
        "1/2/u",
        "u/v*u",
        "u - v - u",
        "u - (v - u)",
        "--u",
        "u*-v",
        "u - -v",
        "+u + +v",
        "-u @ v",
        "-(u @ v)",
        "2.*u + .5*v + 1.25e-3",
        "1e3*u",
        "U.T.T",
        "(U @ U.T).T",
        "U.T**2",
        "-U.T @ u",
        "kron(U, V)",
        "outer(u, v) @ A",
        "sum(u*v)*g",
        "trace(A) + g",
        "exp(u) + log(v) + sqrt(u) + tanh(v) + sin(u) + cos(v)",
        "transpose(U) @ u",
        "sqrt(2)*u",
        "exp(1/2)*u + log(3)",
        "outer(2, 3) * u",
        "u\n  * v\t+ 1",
        "((u))",
        "u**0*v",
        "diag(u) @ A @ diag(v)",
    ],
)
def test_a_formula_has_the_value_that_python_gives_it(text):
    shapes = used_shapes(text)
    values = factors(shapes)
    expected = by_python(" ".join(text.split()), values)
    formula = parse(text, shapes)
    assert formula.names == tuple(shapes)
    assert formula.shape == np.shape(expected)
    np.testing.assert_allclose(formula.evaluate(values), expected, rtol=1e-13)
    np.testing.assert_allclose(formula(*values.values()), expected, rtol=1e-13)
    with jax.enable_x64(True):
        traced = jax.jit(formula)(*(jnp.asarray(x) for x in values.values()))
    np.testing.assert_allclose(traced, expected, rtol=1e-13)
    assert parse(str(formula), shapes) == formula


def test_numbers_are_exact():
    formula = parse("1/2*u**2 + 0.1*u - 3", {"u": ()})
    assert formula.evaluate({"u": Fraction(1, 3)}) == Fraction(1, 18) + Fraction(1, 30) - 3
    assert isinstance(formula.evaluate({"u": 2}), Fraction)
    entries = np.array([Fraction(1, 3), Fraction(2, 7)], dtype=object)
    assert parse("u/3 + 1/3", {"u": (2,)})(entries).tolist() == [Fraction(4, 9), Fraction(3, 7)]


def test_exponents_are_exact_on_symbols_and_floats_on_arrays():
    x = sympy.Symbol("x", positive=True)
    for text in ("u**(1/3)", "u**(3/9)", "u**(1 - 2/3)", "u**(-(-1)/3)"):
        formula = parse(text, {"u": ()})
        assert formula.nodes[-1] == Power(0, Fraction(1, 3), (0, 0))
        assert formula(x) == x ** sympy.Rational(1, 3)
    value = parse("u**(1/2)/2", {"u": (2,)})(np.array([4.0, 9.0]))
    assert value.dtype == np.float64
    assert value.tolist() == [1.0, 1.5]


def test_a_ring_element_takes_part():
    _, x, y = sympy.ring("x, y", sympy.QQ)
    u = np.array([x, y], dtype=object)
    value = parse("(u + 1/2)**2 - u*u", {"u": (2,)})(u)
    assert value.tolist() == [x + sympy.QQ(1, 4), y + sympy.QQ(1, 4)]


def test_nodes_know_their_places():
    formula = parse("2 * (u + v)", {"u": (3,), "v": (3,)})
    assert formula.nodes == (
        Number(2, (0, 0)),
        Name("u", (0, 0)),
        Name("v", (0, 0)),
        Binary("+", 1, 2, (0, 0)),
        Binary("*", 0, 3, (0, 0)),
    )
    assert [formula.text[slice(*node.span)] for node in formula.nodes] == [
        "2", "u", "v", "u + v", "2 * (u + v)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("((u))*( v )", "u*v"),
        ("(u*v)*u", "u*v*u"),
        ("u*(v*u)", "u*(v*u)"),
        ("u-(v-u)", "u - (v - u)"),
        ("(-u)**2", "(-u)**2"),
        ("-(u**2)", "-u**2"),
        ("(-u)*v", "-u*v"),
        ("-(u*v)", "-(u*v)"),
        ("u**0.50", "u**(1/2)"),
        ("u**(-2)", "u**-2"),
        ("(u**2)**3", "(u**2)**3"),
        ("1.500*u+1e-3", "1.5*u + 0.001"),
        ("1e2*u", "100*u"),
        ("(A@A).T@u", "(A @ A).T @ u"),
        ("kron(u,v)", "kron(u, v)"),
    ],
)
def test_the_canonical_text(text, canonical):
    formula = parse(text, used_shapes(text))
    assert str(formula) == canonical
    assert parse(canonical, used_shapes(text)) == formula
    assert hash(parse(canonical, used_shapes(text))) == hash(formula)


def test_formulas_differ_by_nodes_names_and_shapes():
    formula = parse("u*v", {"u": (3,), "v": (3,)})
    assert formula != parse("v*u", {"u": (3,), "v": (3,)})
    assert formula != parse("u*v", {"v": (3,), "u": (3,)})
    assert formula != parse("u*v", {"u": (2,), "v": (2,)})


def test_a_call_takes_the_factors_in_the_order_of_the_shapes():
    formula = parse("u - v", {"v": (), "u": ()})
    assert formula.names == ("v", "u")
    assert formula(1.0, 5.0) == 4.0
    with pytest.raises(InputError, match=r"1 factors were passed .* takes 2, v, u"):
        formula(1.0)
    with pytest.raises(InputError, match=r"names u; the formula takes v, u"):
        formula.evaluate({"u": 1.0})


def test_a_new_named_function_is_read_from_the_table(monkeypatch):
    monkeypatch.setitem(fn.FUNCTIONS, "cube", fn.Function(lambda x: x**3, 1, "third power"))
    assert parse("cube(u) + 1", {"u": ()})(2.0) == 9.0
    monkeypatch.setitem(fn.FUNCTIONS, "abs", fn.Function(lambda x: abs(x), 1, "size", "at 0"))
    assert parse("abs(u)", {"u": ()}).kinks == ("abs(u) has no derivative at u = 0 (character 1)",)
    monkeypatch.setitem(fn.FUNCTIONS, "pair", fn.Function(lambda x: (x, x), 1, "two of them"))
    assert "pair of u of shape () is not one array of real numbers" in refusal("pair(u)", {"u": ()})
    monkeypatch.setitem(fn.FUNCTIONS, "turn", fn.Function(lambda x: 1j * x, 1, "a turn"))
    assert "is not one array of real numbers" in refusal("turn(u)", {"u": ()})


def test_a_parametrization_is_made_from_text():
    par = fs.Parametrization.from_text("g*v/norm(v)", {"g": (), "v": 2})
    assert par.end_to_end_shape == (2,)
    np.testing.assert_allclose(par((2.0, np.array([3.0, 4.0]))), [1.2, 1.6])
    assert par.kinks[0] == "norm(v) has no derivative at v = 0 (character 5)"


# --- what is refused: the position and the remedy -------------------------------------------------

REFUSED = [
    # brackets
    ("(u", 0, "never closed. Add the missing ')'"),
    ("u*(v + (u)", 2, "never closed"),
    ("u)", 1, "never opened. Delete it"),
    ("norm(u))", 7, "never opened"),
    ("norm(u", 0, "never closed"),
    ("()", 1, "brackets are empty"),
    ("u*()", 3, "brackets are empty"),
    ("(u, v)", 2, "a comma parts the arguments of a function only"),
    ("u, v", 1, "a comma parts"),
    ("{u}", 0, "Use round brackets"),
    # dots and dunders
    ("u.real", 1, "nothing dotted is but .T"),
    ("u.__class__", 1, "nothing dotted is but .T"),
    ("u.T.__class__.__mro__", 3, "nothing dotted is but .T"),
    ("u.t", 1, "Did you mean '.T'?"),
    ("u.norm", 1, "Write norm(...)"),
    ("np.sqrt(u)", 0, "Write functions by their names alone"),
    ("u.", 1, "nothing dotted is but .T"),
    (".T", 0, "'.' stands where a value is missing"),
    ("u.[0]", 2, "there is no indexing"),
    ("__import__", 0, "none begins with '_'"),
    ("__import__('os')", 0, "none begins with '_'"),
    ("a__b + u", 0, "holds '__'"),
    ("_ + u", 0, "none begins with '_'"),
    # indexing, text, statements
    ("u[0]", 1, "there is no indexing"),
    ("[u]", 0, "there is no indexing"),
    ("'u'", 0, "quotes"),
    ('u + "v"', 4, "quotes"),
    ("u'", 1, "Write .T for a transpose"),
    ("u = v", 2, "stands right of '='"),
    ("u == v", 2, "no assignment or comparison"),
    ("u := v", 2, "':' is not read"),
    ("u < v", 2, "no comparison"),
    ("u; v", 1, "';' is not read"),
    ("u # v", 2, "no comments"),
    ("u \\\n v", 2, "backslash"),
    ("lambda u: u", 0, "'lambda' is a word of Python's"),
    ("u if v else u", 2, "'if' is a word of Python's"),
    ("import os", 0, "word of Python's"),
    ("None", 0, "word of Python's"),
    ("u and v", 2, "word of Python's"),
    ("u % v", 2, "'%' has no derivative"),
    ("u // v", 2, "Write / for a quotient"),
    ("u & v", 2, "'&' is not read"),
    ("~u", 0, "'~' is not read"),
    ("|u|", 0, "Write norm(...)"),
    ("$u", 0, "'$' is not read"),
    ("u!", 1, "'!' is not read"),
    # names and functions
    ("w + u", 0, "no factor 'w'"),
    ("nomr(u)", 0, "Did you mean 'norm'?"),
    ("norm + u", 0, "norm is a function. Write norm(A)"),
    ("u(v)", 0, "Write u*(...) for a product"),
    ("(u)(v)", 3, "side by side. Put one of + - * / @ **"),
    ("u v", 2, "side by side"),
    ("2u", 1, "Write 2*u"),
    ("u 2", 2, "side by side"),
    ("abs(u)", 0, "Write sqrt(x**2)"),
    ("sign(u)", 0, "Use tanh"),
    ("floor(u)", 0, "nothing flows"),
    ("max(u, v)", 0, "log(exp(a) + exp(b))"),
    ("relu(u)", 0, "ReLUPaths"),
    ("ln(u)", 0, "Write log"),
    ("dot(u, v)", 0, "Write a @ b"),
    ("norm(u, v)", 0, "takes 1 argument, and 2 stand here. Write norm(A)"),
    ("norm()", 0, "takes 1 argument, and 0 stand here"),
    ("kron(u)", 0, "takes 2 arguments, and 1 stand here. Write kron(A, B)"),
    ("norm(u,)", 7, "a value is missing"),
    ("u + a" + "b" * 100, 4, "at most 64"),
    # operators
    ("u +", 3, "the formula ends where a value is missing"),
    ("u + * v", 4, "'*' stands where a value is missing"),
    ("**u", 0, "a value is missing"),
    ("u ** ** v", 5, "a value is missing"),
    ("u *** v", 4, "a value is missing"),
    # powers
    ("u^2", 1, "Write **"),
    ("u**v", 3, "the exponent is not a number"),
    ("u**(1 + v)", 3, "the exponent is not a number"),
    ("u**norm(2)", 3, "the exponent is not a number"),
    ("u**2**3", 3, "the exponent is a power itself"),
    ("10**10**10*u", 4, "the exponent is a power itself"),
    ("u**65", 3, "at most 64"),
    ("u**-65", 3, "at most 64"),
    ("u**999999999", 3, "at most 64"),
    ("u**(64*64)", 3, "at most 64"),
    ("u**0.3333", 3, "A third is written (1/3)"),
    ("(u**8)**9", 0, "come to an exponent of 72"),
    ("(((u**8)*v)**3)**3", 0, "come to an exponent of 72"),
    ("u**(1/0)", 6, "divides by zero"),
    # numbers
    ("1e999999*u", 0, "too large"),
    ("1e-999999*u", 0, "too small"),
    ("1e400*u", 0, "too large"),
    ("1e16*u", 0, "larger than 1e+15"),
    ("9" * 400 + "*u", 0, "more than 17 digits"),
    ("0.1234567890123456789*u", 0, "more than 17 digits"),
    ("0x10*u", 1, "in decimal digits"),
    ("0b1*u", 1, "in decimal digits"),
    ("1_000*u", 1, "without it"),
    ("1j*u", 1, "Only real ones are read"),
    ("007*u", 0, "Write 7"),
    ("u/0", 2, "divides by zero"),
    ("u/0.0", 2, "divides by zero"),
    ("u/(1 - 1)", 3, "divides by zero"),
    ("0**-1*u", 0, "cannot be computed"),
    ("log(0)*u", 0, "no finite real number"),
    ("sqrt(-2)*u", 0, "no finite real number"),
    ("(-2)**(1/2)*u", 0, "no finite real number"),
    ("exp(1000)*u", 0, "no finite real number"),
    ("exp(500)**64*u", 0, "no finite real number"),
    ("((10**15)**15)**15*u", 1, "nested powers"),
    ("(10**64)*(10**64)*(10**64)*(10**64)*(10**64)*u", 0, "this constant is huge"),
    # lookalikes
    ("u·v", 1, "MIDDLE DOT is not read, only ASCII is. Write * for it"),
    ("u×v", 1, "MULTIPLICATION SIGN is not read, only ASCII is. Write *"),
    ("u − v", 2, "MINUS SIGN is not read, only ASCII is. Write -"),
    ("u – v", 2, "EN DASH is not read, only ASCII is. Write -"),
    ("u÷v", 1, "DIVISION SIGN is not read, only ASCII is. Write /"),
    ("u²", 1, "SUPERSCRIPT TWO is not read, only ASCII is. Write **2"),
    ("u⁻", 1, "SUPERSCRIPT MINUS"),
    ("u′", 1, "PRIME is not read, only ASCII is. Write .T"),
    ("Uᵀ", 1, "MODIFIER LETTER CAPITAL T is not read, only ASCII is. Write .T"),
    ("½*u", 0, "VULGAR FRACTION ONE HALF is not read. Write (1/2)"),
    ("с + u", 0, "CYRILLIC SMALL LETTER ES is not read, only ASCII is. Write c"),
    ("υ + u", 0, "GREEK SMALL LETTER UPSILON is not read, only ASCII is. Write u"),
    ("２*u", 0, "FULLWIDTH DIGIT TWO is not read, only ASCII is. Write 2"),
    ("ｕ + u", 0, "FULLWIDTH LATIN SMALL LETTER U is not read, only ASCII is. Write u"),
    ("𝐮 + u", 0, "MATHEMATICAL BOLD SMALL U is not read, only ASCII is. Write u"),
    ("٣*u", 0, "ARABIC-INDIC DIGIT THREE"),
    ("u + √v", 4, "SQUARE ROOT is not read, only ASCII is. Write sqrt(...)"),
    ("‖u‖", 0, "DOUBLE VERTICAL LINE is not read, only ASCII is. Write norm(...)"),
    ("u⊗v", 1, "CIRCLED TIMES is not read, only ASCII is. Write kron(A, B)"),
    ("u\u200b", 1, "ZERO WIDTH SPACE cannot be seen and is not read. Delete it"),
    ("u\u00a0+ v", 1, "NO-BREAK SPACE cannot be seen"),
    ("u\u202e+ v", 1, "RIGHT-TO-LEFT OVERRIDE cannot be seen"),
    ("\ufeffu", 0, "ZERO WIDTH NO-BREAK SPACE cannot be seen"),
    ("u\u0301", 1, "COMBINING ACUTE ACCENT is a mark on the letter before it"),
    ("u\x00", 1, "U+0000"),
    ("u\x1b[31m", 1, "U+001B"),
    ("u\x0c+ v", 1, "U+000C"),
    ("u\ud800", 1, "U+D800"),
    ("u + \U0001f600", 4, "GRINNING FACE is not read. Use letters"),
    # shapes
    ("U @ V", 0, "as for U @ V.T"),
    ("A @ (V + 1)", 0, "shape (4, 2), which @ cannot multiply"),
    ("u @ V", 0, "u has shape (3,) and V has shape (4, 2), which @ cannot multiply"),
    ("u + U @ s @ 2", 4, "Write * where one of them is a single number"),
    ("g @ u", 0, "Write * where one of them is a single number"),
    ("2*(U + V)", 3, "U has shape (3, 2) and V has shape (4, 2), which + cannot combine"),
    ("A * U", 0, "Write @ for the matrix product"),
    ("diag(g)", 0, "diag (diagonal matrix of a vector, or diagonal of a matrix) cannot take g"),
    ("u + trace(v)", 4, "trace (trace of a square matrix) cannot take v of shape (3,)"),
    ("u.T @ v", 0, "Write outer(a, b) for the matrix, a @ b for the inner product"),
    ("g.T * u", 0, "has no transpose. Delete .T"),
    ("2.T * u", 0, "has no transpose"),
    ("u*outer(u, v).T.T @ V", 0, "which @ cannot multiply"),
    # nowhere defined, nowhere differentiable
    ("sqrt(-u**2)", 0, "some entry of sqrt(-u**2) is a finite real number at none"),
    ("v + log(-norm(v))", 4, "log(-norm(v)) is a finite real number at none"),
    ("sqrt(-1 - u + u)", 0, "a finite real number at none"),
    ("sqrt(u)*sqrt(-u)", 0, "See that its parts are real for the same factors"),
    ("log(u - u)", 0, "a finite real number at none"),
    ("1/(u - u)", 0, "see that the entries below are not always 0"),
    ("1/diag(s)", 0, "** and / work entry by entry"),
    ("diag(s)**-1", 0, "** and / work entry by entry"),
    ("sqrt(diag(s))", 0, "diag(s) is 0 there at all"),
    ("diag(s)**(1/2)", 0, "has a derivative nowhere"),
    ("norm(0*v)", 0, "norm(0*v) has a derivative nowhere"),
    ("(-u*u)**(1/2)", 0, "a finite real number at none"),
]


@pytest.mark.parametrize(("text", "at", "says"), REFUSED, ids=[repr(t)[:24] for t, *_ in REFUSED])
def test_a_wrong_text_is_refused_with_the_position_and_what_would_do(text, at, says):
    message = refusal(text)
    assert says in message
    assert message.startswith(f"text, character {at + 1}: ")
    position, shown = caret(message)
    if len(text) <= 72 and all(unicodedata.east_asian_width(c) not in "WF" for c in text[:at]):
        assert position == at
        assert len(shown) >= len(text)
    assert message.count("\n") == 2
    assert all(c.isprintable() or c == "\n" for c in message)


def test_the_excerpt_of_a_long_text_is_cut_around_the_place():
    text = " + ".join(["u"] * 300) + " + w + " + " + ".join(["u"] * 300)
    position, shown = caret(refusal(text, {"u": ()}))
    assert shown.startswith("...")
    assert shown.endswith("...")
    assert len(shown) == 78
    assert shown[position] == "w"


def test_wide_characters_do_not_shift_the_caret():
    message = refusal("ｕ", {"u": ()})
    assert message.splitlines()[1:] == ["    ｕ", "    ^^"]


@pytest.mark.parametrize(
    ("text", "shapes", "says"),
    [
        ("", {"u": ()}, "text is empty. Write a formula"),
        (" \n\t ", {"u": ()}, "text is empty"),
        (None, {"u": ()}, "text is NoneType; pass a str"),
        (b"u", {"u": ()}, "text is bytes; pass a str"),
        ("u" * 10**5, {"u": ()}, "text has 100000 characters; at most 10000 are read"),
        ("u", {"u": (), "v": ()}, "a factor 'v' that the formula 'u' never uses"),
        ("2", {"u": ()}, "never uses"),
        ("u", {}, "shapes is empty"),
        ("u", None, "shapes is NoneType"),
        ("u", [("u", ())], "shapes is list; pass a dict"),
        ("u", {1: ()}, "has the key 1; pass names"),
        ("norm", {"norm": ()}, "reserved for the function of this name. Use another, say 'n'"),
        ("abs", {"abs": ()}, "reserved for the function"),
        ("lambda", {"lambda": ()}, "word of Python's"),
        ("u", {"__class__": ()}, "none begins with '_'"),
        ("u", {"_u": ()}, "none begins with '_'"),
        ("u", {"u v": ()}, "is no name"),
        ("u", {"u\n": ()}, "U+000A"),
        ("u", {"2u": ()}, "is no name"),
        ("u", {"": ()}, "is no name"),
        ("u", {"и": ()}, "CYRILLIC SMALL LETTER I"),
        ("u", {"x" * 65: ()}, "at most 64"),
        ("u", {"u": 3}, "shapes['u'] is int; pass a tuple such as (3, 2)"),
        ("u", {"u": "3"}, "shapes['u'] is str"),
        ("u", {"u": (0,)}, "a whole number of at least 1"),
        ("u", {"u": (2.5,)}, "a whole number of at least 1"),
        ("u", {"u": (True,)}, "a whole number of at least 1"),
        ("u", {"u": (1,) * 9}, "9 dimensions; at most 8"),
        ("u", {"u": (10**9,)}, "more than 1e+08 numbers"),
    ],
)
def test_wrong_arguments_are_refused(text, shapes, says):
    with pytest.raises(InputError) as caught:
        parse(text, shapes)
    assert says in str(caught.value)


def test_a_huge_array_is_refused_before_it_is_made():
    text = "kron(kron(kron(A, A), kron(A, A)), kron(kron(A, A), kron(A, A)))"
    message = refusal(text, {"A": (10, 10)})
    assert message.startswith("text, character 1: this has shape (100000000, 100000000), more")
    assert "Use smaller factors" in message


def test_a_formula_too_large_to_try_is_still_checked_for_its_shapes():
    formula = parse("A @ B", {"A": (4000, 5000), "B": (5000, 4000)})
    assert formula.shape == (4000, 4000)


# --- kinks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kinks"),
    [
        ("u**2 - v**2", ()),
        ("norm(v)", ("norm(v) has no derivative at v = 0 (character 1)",)),
        (
            "g*v/norm(v)",
            (
                "norm(v) has no derivative at v = 0 (character 5)",
                "g*v/norm(v) is not defined at norm(v) = 0 (character 1)",
            ),
        ),
        ("sqrt(u)", ("sqrt(u) is real and has a derivative only for u > 0 (character 1)",)),
        ("sqrt(u**2)", ("sqrt(u**2) has no derivative at u**2 = 0 (character 1)",)),
        ("sqrt(u*u)", ("sqrt(u*u) has no derivative at u*u = 0 (character 1)",)),
        ("sqrt(1 + u**2)", ()),
        ("sqrt(1 + u @ u)", ()),
        ("1 + log(v)", ("log(v) is real and has a derivative only for v > 0 (character 5)",)),
        ("log(1 + exp(v))", ()),
        ("log(1 + norm(v)**2)", ("norm(v) has no derivative at v = 0 (character 9)",)),
        ("u/v", ("u/v is not defined at v = 0 (character 1)",)),
        ("u/exp(v)", ()),
        ("u/2", ()),
        ("u**-1", ("u**-1 is not defined at u = 0 (character 1)",)),
        ("u**(1/2)", ("u**(1/2) is real and has a derivative only for u > 0 (character 1)",)),
        ("u**(3/2)", ("u**(3/2) is real and has a derivative only for u >= 0 (character 1)",)),
        ("norm(u)**(1/2)", (
            "norm(u) has no derivative at u = 0 (character 1)",
            "norm(u)**(1/2) has no derivative at norm(u) = 0 (character 1)",
        )),
        ("exp(u)**(1/2)", ()),
        ("sqrt(2)*u", ()),
        ("u/(2 + v**2)", ()),
        ("u/(2 - v**2)", ("u/(2 - v**2) is not defined at 2 - v**2 = 0 (character 1)",)),
        ("u/(-v**2 - 1)", ()),
        ("1/norm(exp(u))", ()),
        ("sqrt(1/u**2)", ("1/u**2 is not defined at u**2 = 0 (character 6)",)),
        ("sqrt(u**-2)", ("u**-2 is not defined at u = 0 (character 6)",)),
        ("1/sum(exp(u))", ()),
        ("sum(u)**-1", ("sum(u)**-1 is not defined at sum(u) = 0 (character 1)",)),
    ],
)  # fmt: skip
def test_kinks_are_listed_with_their_positions(text, kinks):
    assert parse(text, used_shapes(text)).kinks == kinks


@pytest.mark.parametrize(
    "text",
    [
        "sqrt(u - 5)",
        "log(-u)",
        "sqrt(-v)*u",
        "sqrt(g - 2)*sqrt(3 - g)",
        "(u - v)**(1/2)",
        "exp(exp(u))",
        "u**64*v**64",
        "norm(diag(s))",
        "1/(1 + diag(s))",
    ],
)
def test_a_formula_that_is_smooth_somewhere_is_read(text):
    assert isinstance(parse(text, used_shapes(text)), Formula)


# --- attacks --------------------------------------------------------------------------------------

# What an attack would do if anything evaluated it: make this file.
HARM = "open({path!r}, 'w')"


def attacks(path):
    """Several hundred hostile texts."""
    harm = HARM.format(path=path)
    dunders = [
        "class", "mro", "subclasses", "globals", "builtins", "import", "init", "dict", "reduce",
        "getattribute", "bases", "code", "func", "wrapped", "array_interface", "doc", "loader",
    ]  # fmt: skip
    for name in dunders:
        dunder = f"__{name}__"
        yield from (
            dunder, f"{dunder}()", f"u.{dunder}", f"u.{dunder}()", f"u.T.{dunder}",
            f"(u).{dunder}.{dunder}", f"norm.{dunder}", f"norm(u.{dunder})", f"().{dunder}",
            f"''.{dunder}", f"[].{dunder}", f"{{}}.{dunder}", f"1 .{dunder}", f"1..{dunder}",
            f"u . {dunder}", f"u.\n{dunder}", f"u[{dunder!r}]", f"getattr(u, '{dunder}')",
            f"'{{0.{dunder}}}'.format(u)", f"f'{{u.{dunder}}}'", f"'%({dunder})s' % u",
        )  # fmt: skip
    wrappers = [
        "{}", "u + {}", "norm({})", "u*({})", "(lambda: {})()", "[{} for u in v][0]",
        "{} if u else v", "(u := {})", "f'{{{}}}'", "u @ {} @ v", "exec({0!r})", "eval({0!r})",
        "compile({0!r}, '', 'eval')", "{}.T", "u**{}", "-{}", "*{}", "**{}", "u; {}", "u\n{}",
        "u #\n{}", "u, {}", "x = {}", "assert {}", "del {}", "yield {}", "await {}", "print({})",
        "sum(map(exec, [{0!r}]))", "try:\n {}\nfinally: u", "u'''{}'''", "\\\n{}", "${{{}}}",
        "`{}`", "{{{{ {} }}}}", "u<{}>v", "u|{}|v", "@{}\ndef f(): pass",
    ]  # fmt: skip
    payloads = [
        harm, f"__import__('os').system('touch {path}')", f"__builtins__.{harm}",
        f"().__class__.__base__.__subclasses__()[0]({path!r})", f"u.__init__.__globals__.{harm}",
        f"np.core.{harm}", f"sympy.{harm}", f"Symbol('u').{harm}",
    ]  # fmt: skip
    for wrapper, payload in itertools.product(wrappers, payloads):
        yield wrapper.format(payload)
    for size in (10, 101, 3000, 4990, 10**5):
        yield "(" * size
        yield "(" * size + "u" + ")" * size
        yield ")" * size
        yield "norm(" * size + "u"
        yield "-" * size + "u"
        yield "u**" * size + "2"
        yield "2**(" * size + "u" + ")" * size
        yield "u" + ".T" * size
        yield "u" + "." * size
        yield "u," * size
        yield "u" * size
        yield "9" * size
        yield "." * size
        yield "\n" * size + "u"
        yield "u+" * size + "u"
        yield "u/" * size + "u"
        yield "u\u0301" * size
        yield "kron(" * (size // 5) + "u" + ",u)" * (size // 5)
        yield "(10**64)**64*" * (size // 13) + "u"
        yield "1e30*" * (size // 5) + "u"
        yield "sqrt(-" * (size // 6) + "u" + ")" * (size // 6)
        yield "u**(" + "1+" * size + "1)"
        yield "u**(" + "7/9*" * size + "1)"
    numbers = [
        "1e999999", "1e-999999", "1E+99999999999", "0x10", "0o17", "0b11", "1_000", "1j", "1J",
        "1e", "1e+", "1.e", "1..2", "1.2.3", "0777", "00", "1L", "1f", "1d0", "inf", "nan", "Inf",
        "infinity", "10**10**10", "9**9**9**9", "-1e400", "1e1_0", "0x", "1e5e5", "1.T", "1 2",
        "10**1000", "2**99999", "0**0", "0**-1", "1/0", "0/0", "1/1e-30/1e-30/1e-30",
    ]  # fmt: skip
    for number in numbers:
        yield from (number, f"{number}*u", f"u**{number}", f"u/{number}", f"norm({number})*u")
    for code in (*range(32), 127, *range(0x80, 0xA1), 0x2028, 0x2029, 0xFEFF, 0xD800, 0x10FFFF):
        yield from (chr(code), f"u{chr(code)}v", f"u {chr(code)} + v", f"no{chr(code)}rm(u)")
    for (
        character
    ) in "аеорсухіјѕԁһυνοικηωµΑΒΕ²³¹⁴½¼ªºᵀ′″·×÷−–—∗∕⋅⊗⊙√∑‖（）［］＋－＊／＾＿．，ﬁ①Ⅷ℮ℯ∂∇":
        yield from (
            character,
            f"u{character}",
            f"u{character}v",
            f"{character}(u)",
            f"u {character} v",
        )


def test_no_attack_is_evaluated_and_each_is_refused_or_read(tmp_path):
    harmed = tmp_path / "harmed"
    count = refused = 0
    for text in attacks(str(harmed)):
        count += 1
        try:
            formula = parse(text, used_shapes(text))
        except InputError as error:
            refused += 1
            message = str(error)
            assert len(message) < 1000
            assert all(c.isprintable() or c == "\n" for c in message), text
        else:
            assert set(formula.names) <= set(SHAPES)
            assert re.fullmatch(r"[-+*/@().,\sA-Za-z0-9]*", text), text
        assert not harmed.exists(), text
    assert count > 1000
    assert refused > 0.9 * count


def test_no_character_is_read_but_those_of_the_language():
    allowed = set("u \t\r\n")
    for code in (*range(0x3000), *range(0xFF00, 0x10000), *range(0x1D400, 0x1D800)):
        character = chr(code)
        # After a digit neither names nor signs begin; only spaces and digits may follow it.
        message = None
        try:
            parse(f"u*1{character}", {"u": ()})
        except InputError as error:
            message = str(error)
        assert (message is None) == (character in allowed - {"u"} or character in "0123456789.")
        if message is not None and code > 127:
            assert f"U+{code:04X}" in message


def test_the_package_has_no_way_to_run_text():
    forbidden = {"eval", "exec", "compile", "ast", "sympy", "sympify", "__import__", "importlib"}
    forbidden |= {"globals", "locals", "vars", "setattr", "lambdify", "literal_eval"}
    files = sorted(Path(package.__file__).parent.glob("*.py"))
    assert len(files) > 5
    for file in files:
        with tokenize.open(file) as lines:
            source = io.StringIO(lines.read().replace("re.compile(", "("))
        words = {token.string for token in tokenize.generate_tokens(source.readline)}
        assert not words & forbidden, file


def test_long_formulas_exhaust_nothing():
    shapes = {"u": ()}
    for text in (
        "-" * 4999 + "u",
        "u - " * 2400 + "u",
        "sqrt(" * 100 + "u" + ")" * 100,
        "u/" * 999 + "u",
    ):
        formula = parse(text, shapes)
        again = parse(str(formula), shapes)
        assert again == formula
        assert hash(again) == hash(formula)
        assert pickle.loads(pickle.dumps(formula)) == formula
        assert copy.deepcopy(formula) == formula
        assert np.isfinite(formula(np.float64(0.5)))
        assert len(repr(formula)) > len(formula.nodes)


# --- generated texts, against Python --------------------------------------------------------------


NAMES = {"a": (), "b": (), "x": (2,), "y": (2,), "M": (2, 2), "N": (2, 2), "P": (2, 3)}
# All that may be wrong with a well-formed text whose shapes fit.
NUMERIC_TROUBLE = "nested powers|none of the|a derivative nowhere|constant|divides by zero"


class Writer:
    """Writes random texts of a given shape, in Python's arithmetic."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def pick(self, choices):
        return choices[self.rng.integers(len(choices))]

    def space(self):
        return self.pick(["", "", " ", "  ", "\n"])

    def number(self):
        return self.pick(["1", "2", "3", "0.5", "1.25", ".1", "2.", "1e-2", "10", "1/3", "7/4"])

    def exponent(self):
        return self.pick(["2", "3", "-1", "0", "1", "(1/2)", "0.5", "(-2)", "-(1)", "(3/2)", "+2"])

    def text(self, shape, depth):
        """A text whose value has the shape; free use of brackets, so that precedence is tried."""
        if depth == 0:
            names = [name for name, size in NAMES.items() if size == shape]
            return self.number() if shape == () and self.rng.random() < 0.3 else self.pick(names)
        part = lambda size=shape: self.text(size, depth - 1)  # noqa: E731
        s = self.space
        makers = [
            lambda: f"{part()}{s()}{self.pick('+-*/')}{s()}{part()}",
            lambda: f"{part()}{s()}{self.pick('+-*')}{s()}{part()}",
            lambda: f"{part(())}{s()}*{s()}{part()}",
            lambda: f"({s()}{part()}{s()})",
            lambda: f"({part()}){s()}{self.pick('-*/')}{s()}({part()})",
            lambda: f"-{s()}{part()}",
            lambda: f"({part()})**{self.exponent()}",
            lambda: f"-({part()})**{self.exponent()}",
            lambda: f"{self.text(shape, 0)}**{s()}{self.exponent()}",
            lambda: f"{self.pick(['exp', 'tanh', 'sin', 'cos', 'sqrt', 'log'])}({part()})",
        ]
        if shape == ():
            makers += [
                lambda: f"{self.pick(['sum', 'norm'])}({part((2,))})",
                lambda: f"({part((2,))}){s()}@{s()}({part((2,))})",
                lambda: f"trace({part((2, 2))})",
            ]
        if shape == (2,):
            makers += [lambda: f"({part((2, 2))}) @ ({part()})", lambda: f"diag({part((2, 2))})"]
        if shape == (2, 2):
            makers += [
                lambda: f"({part()}).T",
                lambda: f"P{s()}@{s()}P.T",
                lambda: f"({part()}){s()}@{s()}({part()})",
                lambda: f"outer({part((2,))},{s()}{part((2,))})",
                lambda: f"diag({part((2,))})",
            ]
        return self.pick(makers)()


@pytest.mark.parametrize("seed", range(8))
def test_generated_texts_have_pythons_values(seed):
    writer = Writer(seed)
    read = 0
    for _ in range(60):
        text = writer.text(writer.pick([(), (2,), (2, 2)]), int(writer.rng.integers(1, 5)))
        shapes = used_shapes(text, NAMES)
        if not set(shapes) <= set(re.findall(r"\w+", text)):
            continue
        values = factors(shapes, seed)
        try:
            formula = parse(text, shapes)
        except InputError as error:
            message = str(error)
        else:
            message = ""
        if message:
            assert re.search(NUMERIC_TROUBLE, message), (text, message)
            continue
        read += 1
        expected = by_python(" ".join(text.split()), values)
        with np.errstate(all="ignore"):
            got = formula.evaluate(values)
        assert formula.shape == np.shape(expected) == np.shape(got), text
        np.testing.assert_allclose(got, expected, rtol=1e-9, err_msg=text)
        assert parse(str(formula), shapes) == formula, text
    assert read > 25


@pytest.mark.parametrize("seed", range(8))
def test_mutilated_texts_are_refused_or_have_pythons_values(seed):
    writer = Writer(100 + seed)
    pieces = ["(", ")", "**", "*", "-", "+", "/", "@", ".T", ",", ".", "2", "x", "M", " ", "norm",
              "norm(", "1e", "_", "[", "'", "=", "\n", "T", "²", "0"]  # fmt: skip
    outcomes = {True: 0, False: 0}
    for _ in range(150):
        text = writer.text(writer.pick([(), (2,), (2, 2)]), 2)
        for _ in range(int(writer.rng.integers(1, 3))):
            at = int(writer.rng.integers(len(text) + 1))
            cut = int(writer.rng.integers(0, 3))
            text = text[:at] + writer.pick(["", *pieces]) + text[at + cut :]
        shapes = used_shapes(text, NAMES)
        values = factors(shapes, seed)
        try:
            formula = parse(text, shapes)
        except InputError:
            outcomes[False] += 1
            continue
        outcomes[True] += 1
        expected = by_python(f"({text})", values)
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(formula.evaluate(values), expected, rtol=1e-9, err_msg=text)
    assert min(outcomes.values()) > 5


# --- declarations of shapes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("u:3, v:3, U:3x2, g:()", {"u": (3,), "v": (3,), "U": (3, 2), "g": ()}),
        ("u:3", {"u": (3,)}),
        (" u : 3 ,\n T : 2 x 3 x 4 ", {"u": (3,), "T": (2, 3, 4)}),
        ("U:(3,2), u:(3,), w:(4), g:( )", {"U": (3, 2), "u": (3,), "w": (4,), "g": ()}),
        ("x:1x1", {"x": (1, 1)}),
        ("b:03", {"b": (3,)}),
    ],
)
def test_declarations_are_read_in_order(text, shapes):
    assert parse_declarations(text) == shapes
    assert list(parse_declarations(text)) == list(shapes)


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("g", 1, "':' is missing after g. Write g:() for a scalar"),
        ("u=3", 1, "':' is missing after u"),
        ("u:3;v:2", 3, "Write a comma"),
        ("u:3 v:2", 4, "a comma or the end is to stand here"),
        ("u:3,u:4", 4, "u is declared twice"),
        ("u:0", 2, "the size is 0"),
        ("u:3x0", 4, "the size is 0"),
        ("u:-1", 2, "this is no shape"),
        ("u:3.5", 3, "whole numbers"),
        ("u:1e9", 3, "whole numbers"),
        ("u:1_0", 3, "whole numbers"),
        ("u:3×2", 3, "MULTIPLICATION SIGN does not part sizes. Write a small x"),
        ("u:3х2", 3, "CYRILLIC SMALL LETTER HA does not part sizes"),
        ("u:3*2", 3, "Write a small x"),
        ("u:3x", 3, "a size is missing after x"),
        ("u:99999999999", 2, "the size is too large"),
        ("u:" + "9" * 5000, 2, "the size is too large"),
        ("u:9999x9999999", 2, "the shape is too large"),
        ("u:1x1x1x1x1x1x1x1x1", 2, "at most 8 sizes"),
        ("u:(3,", 2, "this is no shape"),
        ("u:", 2, "this is no shape"),
        ("u:[3]", 2, "this is no shape"),
        ("u:３", 2, "FULLWIDTH DIGIT THREE is not read, only ASCII is. Write 3"),
        ("u:3\u200b", 3, "ZERO WIDTH SPACE"),
        (":3", 0, "':' stands where a name is to stand"),
        ("u:3,", 4, "the text ends where a name is to stand"),
        (",u:3", 0, "',' stands where a name is to stand"),
        ("и:3", 0, "CYRILLIC SMALL LETTER I"),
        ("uи:3", 1, "CYRILLIC SMALL LETTER I"),
        ("__class__:3", 0, "none begins with '_'"),
        ("lambda:3", 0, "word of Python's"),
        ("norm:3", 0, "reserved for the function"),
        ("3:u", 0, "is no name"),
        ("u.v:3", 0, "is no name"),
        ("u\x00:3", 1, "U+0000"),
    ],
)
def test_a_wrong_declaration_is_refused_with_the_position(text, at, says):
    with pytest.raises(InputError) as caught:
        parse_declarations(text)
    message = str(caught.value)
    assert message.startswith(f"shape, character {at + 1}: ")
    assert says in message
    assert caret(message)[0] == at
    assert all(c.isprintable() or c == "\n" for c in message)


@pytest.mark.parametrize("text", ["", "  ", None, "u:3," * 10**5, 3])
def test_what_declares_nothing_is_refused(text):
    with pytest.raises(InputError, match=r"^shape (is|has)"):
        parse_declarations(text)


def test_no_attack_passes_as_a_declaration(tmp_path):
    harmed = tmp_path / "harmed"
    messages = []
    for text in attacks(str(harmed)):
        for declared in (text, f"u:{text}", f"{text}:3", f"u:3,{text}"):
            try:
                shapes = parse_declarations(declared)
            except InputError as error:
                messages.append(str(error))
            else:
                assert re.fullmatch(r"[A-Za-z0-9:,x()\s]*", declared), declared
                assert all(name.isidentifier() for name in shapes)
        assert not harmed.exists(), text
    assert len(messages) > 3000
    assert all(len(message) < 1000 for message in messages)
    assert all(c.isprintable() or c == "\n" for c in set().union(*messages))
