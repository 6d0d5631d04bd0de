r"""Rewriting of words by rules: equals replaced by equals.

A rule finds its left-hand side inside longer letters too: :math:`W_j W_j^\top` is part of
:math:`W_{N:j} W_{N:j}^\top`, provided that layer j is certain to be part of the chain.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sympy import Expr, MatrixExpr, Symbol

from flowsim.symbolic.words import (
    BOUND,
    Letter,
    MatrixPolynomial,
    Word,
    add_up,
    bind,
    multiply,
    one_letter,
)

__all__ = ["Rule", "rewrite", "rewrite_fully"]


@dataclass(frozen=True)
class Rule:
    """A rewriting rule ``lhs -> rhs`` between equal matrices; lhs is one word.

    Attributes
    ----------
    lhs : Word
        What is replaced.
    rhs : MatrixPolynomial
        What replaces it.
    index : sympy.Symbol or None
        A symbol that stands for any index: within a sum it is taken to be the bound one.
    """

    lhs: Word
    rhs: MatrixPolynomial
    index: Symbol | None = None

    @classmethod
    def of(cls, lhs: MatrixExpr, rhs: MatrixExpr, index: Symbol | None = None) -> Rule:
        """Make a rule of two matrix expressions.

        Raises
        ------
        ValueError
            If the left-hand side is not a single word with coefficient 1.
        """
        left = MatrixPolynomial.of(lhs)
        words = list(left.terms.items())
        if len(words) != 1 or words[0][1] != 1 or words[0][0][1] is not None:
            raise ValueError(f"the left-hand side of a rule is one word, got {lhs}")
        return cls(words[0][0][0], MatrixPolynomial.of(rhs), index)

    def at(self, value: Expr) -> Rule:
        """Return the rule with its index set to a value."""
        if self.index is None:
            return self
        letters = tuple(Letter(x.node.subs(self.index, value), x.transposed) for x in self.lhs)
        return Rule(letters, self.rhs.subs(self.index, value))


def rewrite(polynomial: MatrixPolynomial, rule: Rule) -> MatrixPolynomial:
    """Apply a rule once in every word where its left-hand side occurs, leftmost first."""
    parts = [MatrixPolynomial(polynomial.shape)]
    for (word, over), c in polynomial.terms.items():
        local = rule if over is None else rule.at(BOUND)
        new = _rewritten(word, local)
        if new is None:
            parts.append(MatrixPolynomial(polynomial.shape, [(c, word, over)]))
        else:
            parts.append(bind(new * c, over))
    return add_up(parts)


def rewrite_fully(
    polynomial: MatrixPolynomial, rules: Iterable[Rule], *, limit: int = 10_000
) -> MatrixPolynomial:
    """Apply rules until none of them changes anything.

    Raises
    ------
    RuntimeError
        If the rules have not come to rest after ``limit`` applications.
    """
    rules = tuple(rules)
    for _ in range(limit):
        before = polynomial.terms
        for rule in rules:
            polynomial = rewrite(polynomial, rule)
        if polynomial.terms == before:
            return polynomial
    raise RuntimeError(f"rewriting did not come to rest in {limit} rounds")


def _rewritten(word: Word, rule: Rule) -> MatrixPolynomial | None:
    size = len(rule.lhs)
    for at in range(len(word) - size + 1):
        ends = _match(word[at : at + size], rule.lhs)
        if ends is not None:
            before, after = word[:at], word[at + size :]
            left = [one_letter(letter) for letter in before] + [ends[0]]
            right = [ends[1]] + [one_letter(letter) for letter in after]
            return multiply([*left, rule.rhs, *right])
    return None


def _match(letters: Word, pattern: Word) -> tuple[MatrixPolynomial, MatrixPolynomial] | None:
    """Return (X, Y) with letters = X * pattern * Y, or None."""
    if len(pattern) == 1:
        (letter,), (wanted,) = letters, pattern
        x, y = letter.without_tail(wanted), letter.without_head(wanted)
        if x is not None:
            return x, MatrixPolynomial.identity(letter.shape[1])
        return None if y is None else (MatrixPolynomial.identity(letter.shape[0]), y)
    if letters[1:-1] != pattern[1:-1]:
        return None
    x, y = letters[0].without_tail(pattern[0]), letters[-1].without_head(pattern[-1])
    return None if x is None or y is None else (x, y)
