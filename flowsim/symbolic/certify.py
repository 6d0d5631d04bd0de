"""Certificates: a statement is recorded only together with the check that it passed.

A derivation is a list of steps.  Each step holds two expressions that were come by separately, the
one *stated* and the one *derived*, and is entered by :func:`certify`, which compares their normal
forms and raises with the difference when they are not the same.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportCallIssue=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sympy import Basic, Eq, Expr, MatrixExpr, Symbol

from flowsim._errors import FlowsimError
from flowsim.symbolic import printing, scalars
from flowsim.symbolic.words import MatrixPolynomial

__all__ = ["CertificationError", "Derivation", "Line", "Step", "certify"]

Certifiable = MatrixPolynomial | MatrixExpr | Expr


class CertificationError(FlowsimError):
    """A statement and its derivation differ; the message shows the difference.

    Attributes
    ----------
    residual : sympy.Basic or None
        Statement minus derivation, in normal form; None where their shapes differ.
    """

    def __init__(self, name: str, stated: Basic, derived: Basic, residual: Basic | None) -> None:
        self.residual = residual
        text = printing.text
        shown = "none, the shapes differ" if residual is None else text(residual)
        super().__init__(_complaint(name, text(stated), text(derived), shown))

    @classmethod
    def of_texts(cls, name: str, stated: str, derived: str, residual: str) -> CertificationError:
        """The same for expressions that are not SymPy's, given as they are shown."""
        error = cls.__new__(cls)
        error.residual = None
        Exception.__init__(error, _complaint(name, stated, derived, residual))
        return error


def _complaint(name: str, stated: str, derived: str, residual: str) -> str:
    return (
        f"{name}: the statement does not follow.\n"
        f"  stated:   {stated}\n"
        f"  derived:  {derived}\n"
        f"  residual: {residual}"
    )


def certify(statement: Certifiable, derived: Certifiable, *, name: str = "certify") -> None:
    """Compare a statement with what was derived, both in normal form.

    Parameters
    ----------
    statement, derived : MatrixPolynomial, sympy.MatrixExpr or sympy.Expr
        Both matrices of one shape, or both scalars.
    name : str
        What is being certified, for the message.

    Raises
    ------
    CertificationError
        If the two differ; the residual is printed, and kept as ``.residual``.
    """
    if isinstance(statement, MatrixPolynomial | MatrixExpr):
        stated, found = MatrixPolynomial.of(statement), MatrixPolynomial.of(derived)
        if stated.shape != found.shape:
            raise CertificationError(name, stated.expr(), found.expr(), None)
        residual = stated - found
        if not residual.is_zero:
            raise CertificationError(name, stated.expr(), found.expr(), residual.expr())
    elif not scalars.is_zero(statement - derived):
        raise CertificationError(name, statement, derived, scalars.normal(statement - derived))


@dataclass(frozen=True)
class Line:
    """One side of a line that SymPy does not hold, as it is shown in both notations."""

    plain: str
    typeset: str


def _typeset(side: Basic | Line) -> str:
    return side.typeset if isinstance(side, Line) else printing.latex(side)


def _plain(side: Basic | Line) -> str:
    return side.plain if isinstance(side, Line) else printing.text(side)


@dataclass(frozen=True)
class Step:
    """One line of a derivation.

    Attributes
    ----------
    lhs, rhs : sympy.Basic or Line
        The two sides of the line.
    justification : str
        One sentence: why the line holds.
    check : str
        Name of the check that the line passed.
    """

    lhs: Basic | Line
    rhs: Basic | Line
    justification: str
    check: str

    @property
    def statement(self) -> Basic:
        """The line as a SymPy equation.

        Raises
        ------
        TypeError
            If a side is no SymPy expression.
        """
        if isinstance(self.lhs, Line) or isinstance(self.rhs, Line):
            raise TypeError("this line is written in arrays, which SymPy has no equation of")
        return Eq(self.lhs, self.rhs, evaluate=False)

    def latex(self) -> str:
        """Return the line as LaTeX, without its justification."""
        return f"{_typeset(self.lhs)} = {_typeset(self.rhs)}"

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        equation = f"{_plain(self.lhs)} = {_plain(self.rhs)}"
        return f"{equation}\n    {self.justification} [checked: {self.check}]"


@dataclass
class Derivation:
    """The lines certified so far.  A line that fails its check raises and is not entered."""

    steps: list[Step] = field(default_factory=list)

    def step(
        self,
        lhs: Basic,
        rhs: MatrixExpr | Expr,
        because: str,
        *,
        derived: Certifiable | Mapping[Expr, Certifiable],
        index: Symbol | None = None,
        check: str = "normal form",
    ) -> None:
        """Certify ``rhs`` against ``derived`` and enter the line ``lhs = rhs``.

        Parameters
        ----------
        lhs : sympy.Basic
            What the line is about.
        rhs : sympy.MatrixExpr or sympy.Expr
            The statement.
        because : str
            Its justification, one sentence.
        derived : MatrixPolynomial, sympy.MatrixExpr, sympy.Expr, or a mapping to such
            The same thing as the engine found it; for a line that holds at every layer, what was
            found at each value of ``index``.
        index : sympy.Symbol or None
            The layer index, where ``derived`` is a mapping.
        check : str
            Name of the check, shown with the line.

        Raises
        ------
        CertificationError
            If the statement and the derivation differ.
        """
        found = derived if isinstance(derived, Mapping) else {index: derived}
        for value, instance in found.items():
            stated = rhs if value in (None, index) else rhs.subs(index, value)
            certify(stated, instance, name=because)
        self.steps.append(Step(lhs, rhs, because, check))

    def enter(self, lhs: Basic | Line, rhs: Basic | Line, because: str, *, check: str) -> None:
        """Enter a line that was certified elsewhere, by the check that is named."""
        self.steps.append(Step(lhs, rhs, because, check))
