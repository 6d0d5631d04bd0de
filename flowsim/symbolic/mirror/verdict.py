r"""Whether a parametrization turns gradient flow into mirror flow.

:math:`w = G(\theta)` moves by :math:`\dot w = -J J^\top \nabla L`. Where all gradient fields
commute, :math:`[\nabla w_i, \nabla w_j] = \nabla^2 w_j \nabla w_i - \nabla^2 w_i \nabla w_j = 0`,
the factors are a function :math:`\psi` of :math:`\mu = -\int \nabla L` alone, and w follows the
mirror flow of the potential with :math:`\nabla R^* = G \circ \psi`. Where there is such a potential
for every start and every loss, at least :math:`\langle \nabla w_k, [\nabla w_i, \nabla w_j]\rangle
= 0` for all i, j, k.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import sympy
from sympy import Expr, Rational, Symbol

from flowsim._errors import InputError
from flowsim.problems.parametrizations import Parametrization
from flowsim.symbolic import printing
from flowsim.symbolic.algebra import EntryMap, Field, entry_map
from flowsim.symbolic.certify import Line, Step
from flowsim.symbolic.mirror.homogeneity import homogeneity, weights
from flowsim.symbolic.mirror.notation import Named, combination, entry_latex
from flowsim.symbolic.mirror.potentials import DualPotential, primal_of_block
from flowsim.symbolic.reserved import unreserved

__all__ = ["MirrorVerdict", "Witness", "mirror"]


@dataclass(frozen=True)
class Witness:
    r"""Two entries whose gradient fields do not commute.

    Attributes
    ----------
    i, j : int
        The entries of the end-to-end value, counted from 0, row by row.
    bracket : tuple of sympy.Expr
        The components of :math:`[\nabla w_i, \nabla w_j]`.
    vector : sympy.Expr
        The bracket as a sum over basis vectors e(entry).
    k : int or None
        An entry with :math:`\langle \nabla w_k, [\nabla w_i, \nabla w_j]\rangle \ne 0`.
    pairing : sympy.Expr
        That product; 0 where it vanishes for every k.
    """

    i: int
    j: int
    bracket: tuple[Expr, ...] = field(repr=False)
    vector: Expr
    k: int | None
    pairing: Expr

    def __str__(self) -> str:
        text = f"[grad w[{self.i}], grad w[{self.j}]] = {printing.text(self.vector)}"
        if self.k is not None:
            text += f", and its product with grad w[{self.k}] is {printing.text(self.pairing)}"
        return text

    def _repr_latex_(self) -> str:
        return (
            rf"$\displaystyle [\nabla w_{{{self.i}}}, \nabla w_{{{self.j}}}] = "
            rf"{printing.latex(self.vector)}$"
        )


@dataclass(frozen=True)
class MirrorVerdict:
    r"""What is known of a parametrization as a mirror flow.

    Attributes
    ----------
    parametrization : Parametrization
        The map.
    commuting : bool
        Whether all brackets of gradient fields vanish identically.
    weak_condition : bool
        Whether :math:`\langle \nabla w_k, [\nabla w_i, \nabla w_j]\rangle = 0` for all i, j, k.
    is_mirror_flow : bool or None
        True where the fields commute, False where the weak condition fails; None in between, where
        neither theorem decides.
    witness : Witness or None
        A bracket that is not zero.
    homogeneity : sympy.Rational or None
        N, where all entries are homogeneous of degree N.
    potential : DualPotential or None
        The dual potential, for commuting entries homogeneous of a degree N that is not 0, or
        polynomial and homogeneous with weights (:math:`u^4 - v^2`).
    primal : dict
        For coordinates that move by themselves in a known way, from the index to
        :math:`(P(w), R(w))`, with :math:`R'' = 1/P` and a constant c of the start.
    because : str
        The verdict in words.
    steps : tuple of Step
        What it rests on.
    """

    parametrization: Parametrization
    commuting: bool
    weak_condition: bool
    is_mirror_flow: bool | None
    witness: Witness | None
    homogeneity: Rational | None
    potential: DualPotential | None
    primal: dict[int, tuple[Expr, Expr]] = field(repr=False)
    because: str
    steps: tuple[Step, ...] = field(repr=False)

    def __str__(self) -> str:
        answer = {True: "yes", False: "no", None: "not decided"}[self.is_mirror_flow]
        lines = [f"mirror flow: {answer}. {self.because}"]
        if self.homogeneity is not None:
            lines.append(f"    homogeneous of degree {self.homogeneity}")
        return "\n".join([*lines, *(f"    {row.plain}" for row in self.rows())])

    def rows(self) -> tuple[Line, ...]:
        """The potentials, where there are any, line by line."""
        rows = []
        if self.potential is not None:
            rows.append(Line(str(self.potential), self.potential.latex()))
        for P, R in dict.fromkeys(self.primal.values()):
            of = ", ".join(f"w[{i}]" for i, pair in self.primal.items() if pair == (P, R))
            plain = f"R(w) = {printing.text(R)}, R'' = 1/P, P = {printing.text(P)} (for {of})"
            typeset = rf"R(w) = {printing.latex(R)}, \quad R'' = \frac{{1}}{{P}}, \quad P = "
            rows.append(Line(plain, typeset + printing.latex(P)))
        return tuple(rows)

    def latex(self) -> str:
        """The steps, one a line."""
        lines = [step.latex() for step in self.steps]
        return r"\begin{gathered} " + r" \\ ".join(lines) + r" \end{gathered}"

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.latex()}$"


def mirror(par: Parametrization, /, *, seed: int = 0) -> MirrorVerdict:
    r"""Decide whether gradient flow of a parametrization is a mirror flow, exactly.

    .. math:: [\nabla w_i, \nabla w_j] = \nabla^2 w_j\,\nabla w_i - \nabla^2 w_i\,\nabla w_j

    is computed in the ring of the entries for all pairs of entries of the end-to-end value.

    Parameters
    ----------
    par : Parametrization
        A map with at most 64 parameters; the work is exact and entry by entry.
    seed : int
        Of the random points at which maps with roots or quotients are tested for zero.

    Returns
    -------
    MirrorVerdict
        With the verdict, a witness or a potential, and the steps.

    Raises
    ------
    InputError
        If the map is too large or cannot be written out, or holds decimals of many digits that
        would make equal things unequal.

    Notes
    -----
    Commuting fields suffice (the paper's theorem on commuting parametrizations); the weak condition
    is necessary for a mirror flow from every start with every loss that may depend on time, as are
    its analogues for higher brackets, which are not tested. In between the verdict is None.

    References
    ----------
    Z. Li, T. Wang, J. D. Lee, S. Arora, Implicit bias of gradient descent on reparametrized models:
    on equivalence to mirror descent, NeurIPS 2022, arXiv:2207.04036.

    Examples
    --------
    >>> from flowsim.problems import Diagonal, ScaledVector
    >>> verdict = mirror(Diagonal(2))
    >>> verdict.is_mirror_flow, verdict.homogeneity
    (True, 2)
    >>> print(mirror(ScaledVector(2)).witness)
    [grad w[0], grad w[1]] = w1[0]*e(w1[1]) - w1[1]*e(w1[0]), and its product with grad w[0] is ...
    """
    if not isinstance(par, Parametrization):
        raise InputError(f"par is {type(par).__name__}; pass a Parametrization.")
    given, par = par, unreserved(par)
    notes = [f"{note[0].upper()}{note[1:]}." for note in getattr(par, "notes", ())]
    em = entry_map(par)
    _refuse_long_decimals(em)
    brackets = _brackets(em, seed)
    witness = _witness(em, brackets, seed)
    commuting, weak = not brackets, witness is None or witness.k is None
    degree = homogeneity(em, seed)
    found = weights(em, degree) if commuting else None
    potential = None if found is None else DualPotential.of(em, found)
    primal = {}
    if commuting:
        for i in range(len(em.values)):
            block = primal_of_block(em, i, Symbol("w", real=True))
            if block is not None:
                primal[i] = block[:2]
    verdict = True if commuting else None if weak else False
    return MirrorVerdict(
        parametrization=given,
        commuting=commuting,
        weak_condition=weak,
        is_mirror_flow=verdict,
        witness=witness,
        homogeneity=degree,
        potential=potential,
        primal=primal,
        because=" ".join([_because(em, verdict, witness), *notes]),
        steps=_steps(em, brackets, witness, degree, potential),
    )


def _refuse_long_decimals(em: EntryMap) -> None:
    """Decimals of sixteen digits stand for numbers that they are not, and nothing would cancel."""
    for value in em.values:
        for c in value.values():
            if int(c.denominator) > 10**13:
                raise InputError(
                    f"par holds the number {float(Fraction(int(c.numerator), int(c.denominator)))},"
                    " a decimal too long to be meant exactly. Whether fields commute is decided "
                    "exactly: write constants as fractions or short decimals."
                )


def _brackets(em: EntryMap, seed: int) -> dict[tuple[int, int], Field]:
    """The brackets that are not zero; in the sign convention DY X - DX Y."""
    fields = em.jacobian
    supports = [{g for g, x in enumerate(X) if x} for X in fields]
    depends = [
        set().union(*(em.tower.depends(x) for x in X if x)) if any(X) else set() for X in fields
    ]
    found: dict[tuple[int, int], Field] = {}
    for i in range(len(fields)):
        for j in range(i + 1, len(fields)):
            if not (supports[i] & depends[j] or supports[j] & depends[i]):
                continue
            bracket = em.bracket(fields[i], fields[j])
            if any(not em.is_zero(x, seed) for x in bracket):
                found[i, j] = bracket
    return found


def _witness(em: EntryMap, brackets: dict[tuple[int, int], Field], seed: int) -> Witness | None:
    """The shortest bracket that fails the weak condition, or else the shortest."""
    ranked = sorted(brackets.items(), key=lambda item: (sum(map(len, item[1])), item[0]))
    for (i, j), bracket in ranked:
        for k in (i, j, *(k for k in range(len(em.values)) if k not in (i, j))):
            pairing = em.ring.zero
            for a, b in zip(em.jacobian[k], bracket, strict=True):
                if a and b:
                    pairing += em.tower.lift(a) * em.tower.lift(b)
            if not em.is_zero(pairing, seed):
                return _shown(em, i, j, bracket, k, em.reduce(pairing))
    if ranked:
        (i, j), bracket = ranked[0]
        return _shown(em, i, j, bracket, None, em.ring.zero)
    return None


def _shown(em: EntryMap, i: int, j: int, bracket: Field, k: int | None, pairing: Any) -> Witness:
    components = tuple(em.to_sympy(x) for x in bracket)
    basis = [Named(f"e({name})", rf"e_{{{entry_latex(name)}}}") for name in em.names]
    return Witness(i, j, components, combination(components, basis), k, em.to_sympy(pairing))


def _because(em: EntryMap, verdict: bool | None, witness: Witness | None) -> str:
    m = len(em.values)
    if m == 1:
        return "One entry moves along one field, which commutes with itself."
    if verdict or witness is None:
        return (
            f"The gradient fields of all {m} entries commute, so that the factors are a function "
            "of the integrated gradient alone."
        )
    pair = f"w[{witness.i}] and w[{witness.j}]"
    if verdict is None:
        return (
            f"The gradient fields of the entries {pair} do not commute, but their brackets are "
            "orthogonal to all gradients, as a mirror flow would need: neither theorem decides."
        )
    return (
        f"The gradient fields of the entries {pair} do not commute, {witness}, which is not zero: "
        "there is no potential for every start and every loss."
    )


def _steps(
    em: EntryMap,
    brackets: dict[tuple[int, int], Field],
    witness: Witness | None,
    degree: Rational | None,
    potential: DualPotential | None,
) -> tuple[Step, ...]:
    """The lines of the verdict: gradients, bracket, product, Euler's identity, potential."""
    m, exact = len(em.values), "exact, in the ring of the entries"
    basis = [Named(f"e({name})", rf"e_{{{entry_latex(name)}}}") for name in em.names]

    def gradient(i: int) -> Named:
        return Named(f"grad w[{i}]", rf"\nabla w_{{{i}}}")

    def bracket(i: int, j: int) -> Named:
        text = f"[grad w[{i}], grad w[{j}]]"
        return Named(text, rf"[\nabla w_{{{i}}}, \nabla w_{{{j}}}]")

    shown = (witness.i, witness.j) if witness else tuple(range(min(m, 2)))
    steps = [
        Step(
            gradient(i),
            combination([em.to_sympy(x) for x in em.jacobian[i]], basis),
            "The gradient of an entry, a field on the factors.",
            exact,
        )
        for i in shown
    ]
    if witness is None and m > 1:
        text = f"[grad w_i, grad w_j], all {m * (m - 1) // 2} pairs"
        lhs = Named(text, r"[\nabla w_i, \nabla w_j]")
        steps.append(Step(lhs, sympy.S.Zero, "The fields commute.", exact))
    if witness is not None:
        steps.append(
            Step(
                bracket(witness.i, witness.j),
                witness.vector,
                f"Bracket DY X - DX Y; {len(brackets)} of {m * (m - 1) // 2} are not zero.",
                exact,
            )
        )
        if witness.k is not None:
            text = f"<grad w[{witness.k}], [grad w[{witness.i}], grad w[{witness.j}]]>"
            tex = (
                rf"\langle \nabla w_{{{witness.k}}}, [\nabla w_{{{witness.i}}}, "
                rf"\nabla w_{{{witness.j}}}]\rangle"
            )
            because = "A mirror flow from every start would make this vanish."
            steps.append(Step(Named(text, tex), witness.pairing, because, exact))
        else:
            lhs = Named(
                "<grad w_k, [grad w_i, grad w_j]>",
                r"\langle \nabla w_k, [\nabla w_i, \nabla w_j]\rangle",
            )
            steps.append(Step(lhs, sympy.S.Zero, "For all i, j, k: the weak condition.", exact))
    if degree is not None:
        lhs = Named("<theta, grad w_i>", r"\langle \theta, \nabla w_i\rangle")
        entry = Named("w_i", "w_i")
        steps.append(Step(lhs, degree * entry, "Euler's identity, for every entry.", exact))
    if potential is not None and potential.expression is not None:
        steps.append(
            Step(
                Named("R*(mu)", r"R^*(\mu)"),
                potential.expression,
                f"By Euler's identity its gradient is w; {potential.method}.",
                "flow and start certified",
            )
        )
    return tuple(steps)
