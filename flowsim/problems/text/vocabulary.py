"""Which names a formula may use, and what to say of the others."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping

from flowsim._checks import nearest
from flowsim.problems.functions import FUNCTIONS
from flowsim.problems.text.excerpts import shortened
from flowsim.problems.text.lookalikes import unreadable

LONGEST_NAME = 64

#: Functions that are known and refused, with what would do.
REFUSED = {
    "abs": "it has no derivative at 0. Write sqrt(x**2), whose kink is then reported",
    "sign": "its derivative is 0 wherever it has one, so that nothing flows. Use tanh",
    "floor": "its derivative is 0 wherever it has one, so that nothing flows. Delete it",
    "ceil": "its derivative is 0 wherever it has one, so that nothing flows. Delete it",
    "round": "its derivative is 0 wherever it has one, so that nothing flows. Delete it",
    "max": "it has no derivative where its arguments tie. Use a smooth function, such as "
    "log(exp(a) + exp(b))",
    "min": "it has no derivative where its arguments tie. Use a smooth function, such as "
    "-log(exp(-a) + exp(-b))",
    "maximum": "it has no derivative where its arguments tie. Use a smooth function, such as "
    "log(exp(a) + exp(b))",
    "minimum": "it has no derivative where its arguments tie. Use a smooth function, such as "
    "-log(exp(-a) + exp(-b))",
    "relu": "it has no derivative at 0. Use ReLUPaths for networks, or log(1 + exp(x))",
    "where": "it has no derivative where it switches. Give one formula for the value",
    "ln": "the natural logarithm is called log. Write log",
    "dot": "products of matrices have a sign. Write a @ b",
    "matmul": "products of matrices have a sign. Write a @ b",
    "pow": "powers have a sign. Write a**2",
    "tr": "the trace is called trace. Write trace",
}  # fmt: skip


def factor_name_trouble(name: str) -> str:
    """Why a name cannot be a factor's, with what would do; or an empty string."""
    for character in name[:LONGEST_NAME]:
        if not (character.isascii() and character.isprintable()):
            return f"in the name, {unreadable(character)}"
    if trouble := _form_trouble(name):
        return trouble
    if not name.isidentifier():
        return f"{name!r} is no name. Use letters and digits, a letter first."
    if name in FUNCTIONS or name in REFUSED:
        return f"{name!r} is reserved for the function of this name. Use another, say {name[0]!r}."
    return ""


def used_name_trouble(name: str, factors: Mapping[str, object], *, dotted: bool) -> str:
    """What is wrong with a name that stands in a formula as a factor; or an empty string."""
    if name in factors:
        return ""
    if name in FUNCTIONS:
        return f"{name} is a function. Write {pattern(name)}."
    if trouble := _form_trouble(name):
        return trouble
    listed = shortened(", ".join(factors), 200)
    if dotted:
        return (
            f"there is no factor {name!r}, and nothing dotted is read but .T, the transpose. Write "
            f"functions by their names alone, and the factors as {listed}."
        )
    return (
        f"there is no factor {name!r}.{_nearest(name, factors)} The factors are {listed}; state "
        f"the shape of {name} if it is one."
    )


def function_trouble(name: str, factors: Mapping[str, object]) -> str:
    """What is wrong with a name that stands before a bracket; or an empty string."""
    if name in FUNCTIONS:
        return ""
    if name in factors:
        return f"{name} is a factor and no function. Write {name}*(...) for a product."
    if name in REFUSED:
        return f"{name} is refused: {REFUSED[name]}."
    return _form_trouble(name) or (
        f"there is no function {name!r}.{_nearest(name, FUNCTIONS)} There are "
        f"{', '.join(FUNCTIONS)}."
    )


def pattern(name: str) -> str:
    """How a function is called, such as ``kron(A, B)``."""
    return f"{name}({', '.join('ABCDEFGH'[: FUNCTIONS[name].arity])})"


def _form_trouble(name: str) -> str:
    """What is wrong with the form of a name."""
    if len(name) > LONGEST_NAME:
        return f"the name has {len(name)} characters; at most {LONGEST_NAME} are read."
    if keyword.iskeyword(name):
        return f"{name!r} is a word of Python's, which formulas do not have. Use other names."
    if name.startswith("_") or "__" in name:
        return f"the name {name!r} is refused: none begins with '_' or holds '__'. Rename it."
    return ""


def _nearest(name: str, choices: Iterable[str]) -> str:
    # A thousand factors would make the comparison slow.
    return nearest(name, list(choices)[:200])
