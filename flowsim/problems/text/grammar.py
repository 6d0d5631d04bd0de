"""From tokens to nodes, by operator precedence with a stack of our own.

The grammar is the arithmetic part of Python's: ``+ -`` bind least, then ``* / @``, then the sign,
then ``**`` (from the right), then ``.T`` and calls.
"""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from flowsim._errors import InputError
from flowsim.problems.functions import FUNCTIONS
from flowsim.problems.text.excerpts import Span, complaint, shortened
from flowsim.problems.text.nodes import (
    Binary,
    Call,
    Name,
    Negate,
    Node,
    Number,
    Power,
    Transposed,
    apply,
    operands_of,
)
from flowsim.problems.text.tokens import Token, number_value, tokens
from flowsim.problems.text.vocabulary import function_trouble, pattern, used_name_trouble

DEEPEST = 100
LARGEST_EXPONENT = 64
LARGEST_DENOMINATOR = 100

_STRENGTH = {"+": 1, "-": 1, "*": 2, "/": 2, "@": 2, "negate": 3, "**": 4}
_SIGNS = "+ - * / @ **"


@dataclass
class _Pending:
    """An operator or an open bracket that waits for its right-hand side."""

    kind: str  # an operator, "negate", "(" or "call"
    span: Span
    function: str = ""
    arguments: int = 0
    counted: bool = True


@dataclass
class _State:
    """What the parser has made so far."""

    text: str
    names: Mapping[str, object]
    nodes: list[Node] = field(default_factory=list)
    values: list[tuple[int, Span]] = field(default_factory=list)  # places, with their brackets
    pending: list[_Pending] = field(default_factory=list)
    depth: int = 0

    def complain(self, span: Span, what: str) -> InputError:
        return complaint(self.text, span, what)

    def add(self, node: Node, span: Span) -> None:
        self.nodes.append(node)
        self.values.append((len(self.nodes) - 1, span))


def read_nodes(text: str, names: Mapping[str, object]) -> tuple[Node, ...]:
    """The nodes of a formula in the named factors, in order of evaluation.

    Raises
    ------
    InputError
        With the position, where the text is not a formula.
    """
    state = _State(text, names)
    stream = tokens(text)
    wants_value, at = True, 0
    while stream[at].kind != "end":
        if wants_value:
            wants_value, at = _read_value(state, stream, at)
        else:
            wants_value, at = _read_operator(state, stream, at)
    if wants_value:
        raise state.complain(
            stream[at].span, "the formula ends where a value is missing. Add a factor or a number."
        )
    _reduce(state, 0)
    if state.pending:
        raise state.complain(
            state.pending[-1].span, "the bracket is never closed. Add the missing ')'."
        )
    return tuple(state.nodes)


def _read_value(state: _State, stream: list[Token], at: int) -> tuple[bool, int]:
    """Read on where a value is to begin; return whether one still is, and the next place."""
    token = stream[at]
    match token.kind:
        case "number":
            state.add(Number(number_value(state.text, token), token.span), token.span)
            return False, at + 1
        case "name" if stream[at + 1].kind == "(":
            if trouble := function_trouble(token.text, state.names):
                raise state.complain(token.span, trouble)
            span = (token.span[0], stream[at + 1].span[1])
            _open(state, _Pending("call", span, token.text, 1))
            if stream[at + 2].kind == ")":
                _close_call(state, state.pending.pop(), 0, stream[at + 2].span[1])
            return True, at + 2
        case "name":
            dotted = stream[at + 1].kind == "."
            if trouble := used_name_trouble(token.text, state.names, dotted=dotted):
                raise state.complain(token.span, trouble)
            state.add(Name(token.text, token.span), token.span)
            return False, at + 1
        case "(":
            after_power = bool(state.pending) and state.pending[-1].kind == "**"
            # The canonical text brackets fractions in exponents: these must not add to the depth.
            _open(state, _Pending("(", token.span, counted=not after_power))
            return True, at + 1
        case "-":
            state.pending.append(_Pending("negate", token.span))
            return True, at + 1
        case "+":
            return True, at + 1
        case "bad":
            what = token.text
        case ")" if at > 0 and stream[at - 1].kind == "(":
            what = "the brackets are empty. Put a value between them."
        case ".":
            what = "'.' stands where a value is missing. Only .T after a value is read."
        case _:
            what = f"{token.text!r} stands where a value is missing. Add a factor or a number."
    raise state.complain(token.span, what)


def _read_operator(state: _State, stream: list[Token], at: int) -> tuple[bool, int]:
    """Read on after a value; return whether a value is to follow, and the next place."""
    token = stream[at]
    match token.kind:
        case "+" | "-" | "*" | "/" | "@" | "**":
            strength = _STRENGTH[token.kind]
            _reduce(state, strength + 1 if token.kind == "**" else strength)
            state.pending.append(_Pending(token.kind, token.span))
            return True, at + 1
        case ".":
            return False, _read_transpose(state, stream, at)
        case ")":
            _reduce(state, 0)
            if not state.pending:
                raise state.complain(
                    token.span, "the bracket was never opened. Delete it, or add a '('."
                )
            _close(state, state.pending.pop(), token.span[1])
            return False, at + 1
        case ",":
            _reduce(state, 0)
            if not state.pending or state.pending[-1].kind != "call":
                raise state.complain(
                    token.span,
                    "a comma parts the arguments of a function only. Give one formula.",
                )
            state.pending[-1].arguments += 1
            return True, at + 1
        case "bad":
            raise state.complain(token.span, token.text)
    before = stream[at - 1]
    if token.kind == "(" and before.kind == "name":
        what = f"{before.text} is a factor and no function. Write {before.text}*(...) for a product"
    else:
        what = f"two values stand side by side. Put one of {_SIGNS} between them"
    word = token.text if token.kind == "name" else ""
    if keyword.iskeyword(word):
        what = f"{word!r} is a word of Python's and not of formulas. Give one formula"
    raise state.complain(token.span, f"{what}.")


def _read_transpose(state: _State, stream: list[Token], at: int) -> int:
    dot, word = stream[at], stream[at + 1]
    if word.kind == "bad":
        raise state.complain(word.span, word.text)
    if word.kind != "name" or word.text != "T":
        span = (dot.span[0], word.span[1])
        shown = shortened(word.text)
        hint = f" Write {word.text}(...)." if word.text in FUNCTIONS else ""
        hint = " Did you mean '.T'?" if word.text in ("t", "transpose") else hint
        raise state.complain(
            span, f"'.{shown}' is not read: nothing dotted is but .T, the transpose.{hint}"
        )
    place, (start, _) = state.values.pop()
    span = (start, word.span[1])
    state.add(Transposed(place, span), span)
    return at + 2


def _open(state: _State, bracket: _Pending) -> None:
    state.depth += bracket.counted
    if state.depth > DEEPEST:
        raise state.complain(
            bracket.span,
            f"brackets are nested more than {DEEPEST} deep. Delete those that are not needed.",
        )
    state.pending.append(bracket)


def _close(state: _State, bracket: _Pending, stop: int) -> None:
    if bracket.kind == "call":
        _close_call(state, bracket, bracket.arguments, stop)
        return
    state.depth -= bracket.counted
    place, _ = state.values.pop()
    state.values.append((place, (bracket.span[0], stop)))


def _close_call(state: _State, call: _Pending, given: int, stop: int) -> None:
    state.depth -= 1
    function = FUNCTIONS[call.function]
    span = (call.span[0], stop)
    if given != function.arity:
        needed = "1 argument" if function.arity == 1 else f"{function.arity} arguments"
        raise state.complain(
            span,
            f"{call.function} ({function.what}) takes {needed}, and {given} stand here. Write "
            f"{pattern(call.function)}.",
        )
    arguments = tuple(place for place, _ in state.values[len(state.values) - given :])
    del state.values[len(state.values) - given :]
    state.add(Call(call.function, arguments, span), span)


def _reduce(state: _State, strength: int) -> None:
    """Apply the waiting operators that bind at least as strongly as ``strength``."""
    while state.pending and _STRENGTH.get(state.pending[-1].kind, -1) >= strength:
        operator = state.pending.pop()
        right, right_span = state.values.pop()
        if operator.kind == "negate":
            span = (operator.span[0], right_span[1])
            state.add(Negate(right, span), span)
            continue
        left, left_span = state.values.pop()
        span = (left_span[0], right_span[1])
        if operator.kind == "**":
            exponent = _exponent(state, left, right_span)
            del state.nodes[left + 1 :]
            state.add(Power(left, exponent, span), span)
        else:
            state.add(Binary(operator.kind, left, right, span), span)


def _exponent(state: _State, base: int, span: Span) -> int | Fraction:
    """The value of the exponent, whose nodes are all those after the base's."""
    values: list[int | Fraction] = []
    for place, node in enumerate(state.nodes[base + 1 :], base + 1):
        if isinstance(node, Power):
            raise state.complain(
                span, "the exponent is a power itself. Write its value, as in u**(1/2) or u**8."
            )
        if isinstance(node, (Name, Call, Transposed)) or (
            isinstance(node, Binary) and node.op == "@"
        ):
            raise state.complain(
                span, "the exponent is not a number. Write one, as in u**2 or u**(1/2)."
            )
        operands = [values[i - base - 1] for i in operands_of(node)]
        if isinstance(node, Binary) and node.op == "/" and operands[1] == 0:
            raise state.complain(
                state.nodes[node.right].span, "the exponent divides by zero. Write another number."
            )
        values.append(apply(node, operands))
        _check_exponent(state, values[-1], span if place == len(state.nodes) - 1 else node.span)
    exponent = values[-1]
    if abs(exponent) > LARGEST_EXPONENT or exponent.denominator > LARGEST_DENOMINATOR:
        remedy = "" if abs(exponent) > LARGEST_EXPONENT else " A third is written (1/3)."
        raise state.complain(
            span,
            f"the exponent {exponent} is out of bounds. Use one of size at most "
            f"{LARGEST_EXPONENT}, a fraction with a denominator of at most {LARGEST_DENOMINATOR}."
            f"{remedy}",
        )
    return exponent


def _check_exponent(state: _State, value: int | Fraction, span: Span) -> None:
    """Keep the numbers within an exponent small, so that thousands of them stay cheap."""
    if max(abs(value.numerator), value.denominator).bit_length() > 256:
        raise state.complain(span, "the exponent is made of huge numbers. Write its value.")
