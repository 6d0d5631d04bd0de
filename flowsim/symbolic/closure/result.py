"""What is known of the closure of a motion, as one value that shows itself."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sympy
from sympy import Basic, Eq, Expr, Symbol

from flowsim.symbolic import printing
from flowsim.symbolic.certify import Line, Step
from flowsim.symbolic.closure.leaf import Verdict
from flowsim.symbolic.closure.witness import Witness

__all__ = ["SIGN", "Closure", "Part"]

#: P is shown up to this size.
LARGEST_SHOWN = 4
MOST_EQUATIONS = 8
#: What symbols of signs are called.
SIGN = "sigma"


@dataclass(frozen=True)
class Part:
    """A part of the map that shares no parameter with the others, with its copies.

    Attributes
    ----------
    verdict : Verdict or None
        The dimensions on which the decision rests; None for a law of whole matrices.
    entries : tuple of tuple of int
        The positions of its parameters among all, for each copy.
    values : tuple of tuple of int
        The positions of its end-to-end values, for each copy.
    laws : tuple of tuple of int
        The conserved quantities that belong to it, by their index, for each copy.
    form : str or None
        "radical", "implicit", "constant", "matrix", or None where it does not close.
    lines : tuple of sympy.Eq
        Its law, for the first copy, with what the letters in it stand for.
    missing : int
        How many of its conserved quantities have no formula.
    """

    verdict: Verdict | None
    entries: tuple[tuple[int, ...], ...]
    values: tuple[tuple[int, ...], ...]
    laws: tuple[tuple[int, ...], ...]
    form: str | None
    lines: tuple[Eq, ...] = ()
    missing: int = 0


@dataclass(frozen=True, eq=False)
class Closure:
    r"""Whether the motion of :math:`w = \varphi(\theta)` can be written in w, and how.

    Gradient flow on the factors moves w by :math:`\dot w = -P(\theta)\,\nabla L(w)` with
    :math:`P = J J^\top`. The motion closes if P is a function of w and of the values c of the
    conserved quantities alone.

    Attributes
    ----------
    parametrization : Parametrization
        The map.
    closes : bool
        Whether it closes, near a generic state with the values asked for.
    form : str or None
        "constant" (P does not depend on θ), "radical" (by roots), "matrix" (by powers of whole
        matrices), "implicit" (by the solution of equations), or None where it does not close.
    preconditioner : sympy.Matrix or None
        P in the entries of w and c, shape (m, m); None where there is no such form.
    law : sympy.Matrix, sympy.MatrixExpr or None
        The right-hand side of w' = -P G, with G the gradient of the loss.
    constants : dict
        From the symbols c_1, ... to the conserved expressions in the factors, and from the symbols
        sigma_1, ... to expressions whose sign they are.
    special : dict
        From those symbols of the conserved quantities that have special values to these values.
    domain : tuple of str
        Where the form holds: branches, signs, where it degenerates; sentences.
    because : str
        The reason, one sentence.
    witness : Witness or None
        Two states that show that it does not close.
    steps : tuple of Step
        The derivation, each step checked when it was entered.
    parts : tuple of Part
        The parts that share no parameter; one for each kind.
    equations : tuple of sympy.Eq
        φ(θ) = w and h(θ) = c: what an implicit form solves for θ.
    missing : int
        How many conserved quantities exist of which no formula is known.
    G : tuple of sympy.Expr
        The symbols of the gradient's entries.
    entries : tuple of sympy.Expr
        The symbols of all parameters, in the order of the factors.
    """

    parametrization: Any = field(repr=False)
    closes: bool
    form: str | None
    preconditioner: Any = field(repr=False)
    law: Any = field(repr=False)
    constants: dict[Symbol, Expr] = field(repr=False)
    special: dict[Symbol, Expr] = field(repr=False)
    domain: tuple[str, ...] = field(repr=False)
    because: str
    witness: Witness | None = field(repr=False)
    steps: tuple[Step, ...] = field(repr=False)
    parts: tuple[Part, ...] = field(repr=False)
    equations: tuple[Eq, ...] = field(repr=False)
    missing: int = 0
    G: tuple[Expr, ...] = field(default=(), repr=False)
    entries: tuple[Expr, ...] = field(default=(), repr=False)

    @property
    def w(self) -> tuple[Expr, ...]:
        """The symbols of the entries of w."""
        return tuple(e.rhs for e in self.equations[: len(self.G)])

    def latex(self) -> str:
        """The law in LaTeX, or the reason why there is none."""
        if not self.closes:
            return r"\text{" + self.because.replace("_", r"\_") + "}"
        rows = [row.typeset.replace(" = ", " &= ", 1) for row in self.rows()]
        return r"\begin{aligned}" + r" \\ ".join(rows) + r"\end{aligned}"

    def rows(self) -> tuple[Line, ...]:
        """The law, what stands for what in it, and the equations of an implicit form, line by line.

        Empty where the motion does not close.
        """
        if not self.closes:
            return ()
        rows = [_row(_velocity(e.lhs), _left(e.lhs), e.rhs) for e in self._lines()]
        if self.preconditioner is not None and not any(_moves(e.lhs) for e in self._lines()):
            rows.append(Line("dw/dt = -P*G, w and G read row by row", r"\dot{w} = -P\,G"))
            if len(self.G) <= LARGEST_SHOWN:
                P = printing.latex(self.preconditioner)
                rows.append(Line(f"P = {self.preconditioner.tolist()}", f"P = {P}"))
        for c, e in self._shown_constants().items():
            rows.append(_row(printing.text(c), printing.latex(c), e))
        if self.form == "implicit":
            rows.append(
                Line(
                    "dw/dt = -J J^T G at the theta that solves",
                    r"\dot{w} = -J J^{\top} G \text{ at the } \theta \text{ that solves}",
                )
            )
            m = len(self.G)
            map_equations, kept = self.equations[:m], self.equations[m:]
            for e in (*map_equations[:MOST_EQUATIONS], *kept[:MOST_EQUATIONS]):
                rows.append(_row(printing.text(e.lhs), printing.latex(e.lhs), e.rhs))
            more = max(m - MOST_EQUATIONS, 0) + max(len(kept) - MOST_EQUATIONS, 0)
            if more:
                rows.append(Line(f"and {more} equations more", rf"\text{{and {more} more}}"))
        return tuple(rows)

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        if not self.closes:
            lines = [f"does not close: {self.because}", str(self.witness), *self.domain]
            return "\n".join(lines)
        lines = [f"closes ({self.form}): {self.because}"]
        lines += [f"  {row.plain}" for row in self.rows()]
        for part in self.parts:
            others = len(part.values) - 1
            if others > 0:
                count = "1 other part" if others == 1 else f"{others} other parts"
                lines.append(f"  and likewise for {count} mapped alike")
        if self.domain:
            lines.append("valid")
            lines += [f"  {sentence}" for sentence in self.domain]
        return "\n".join(lines)

    def _lines(self) -> list[Eq]:
        return [line for part in self.parts for line in part.lines]

    def _shown_constants(self) -> dict[Symbol, Expr]:
        """The constants that the lines speak of."""
        used: set[Basic] = set()
        for line in self._lines():
            used |= line.free_symbols
        shown = {c: e for c, e in self.constants.items() if c in used}
        return {c: sympy.sign(e) if str(c).startswith(SIGN) else e for c, e in shown.items()}


def _row(plain: str, typeset: str, rhs: Basic) -> Line:
    right = printing.latex(rhs).replace("<w, G>", r"\langle w, G\rangle")
    return Line(
        _norms(f"{plain} = {printing.text(rhs)}", "|w|"), _norms(f"{typeset} = {right}", r"\|w\|")
    )


def _velocity(lhs: Basic) -> str:
    name = printing.text(lhs)
    return f"d{name}/dt" if _moves(lhs) else name


def _left(lhs: Basic) -> str:
    name = printing.latex(lhs)
    return rf"\dot{{{name}}}" if _moves(lhs) else name


def _moves(lhs: Basic) -> bool:
    base = getattr(lhs, "base", lhs)
    return str(getattr(base, "label", base)) in ("w", "W")


def _norms(shown: str, bars: str) -> str:
    return shown.replace("normw", bars)
