"""The record of a theorem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sympy import Expr, MatrixExpr

__all__ = ["Theorem"]


@dataclass(frozen=True)
class Theorem:
    """A published closed form: stated here, proved in the proof book.

    Attributes
    ----------
    name : str
        A short name.
    title : str
        The theorem in one sentence.
    statement : callable
        From the depth N, an integer or a symbol, to the expression that the theorem states.
    hypotheses : tuple of str
        What is presumed, a sentence each.
    citation : str
        Paper, arXiv number, theorem or equation.
    proof : str
        Path of the proof from the root of the repository.
    """

    name: str
    title: str
    statement: Callable[[Expr | int], MatrixExpr]
    hypotheses: tuple[str, ...]
    citation: str
    proof: str
