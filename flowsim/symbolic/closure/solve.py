"""``closure``: whether the motion of w can be written in w alone, given what is conserved."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAssignmentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportOptionalOperand=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import sympy
from sympy import Eq, Expr, Symbol

from flowsim._errors import FlowsimError, InputError
from flowsim.problems.families import TwoLayer
from flowsim.problems.parametrizations import DeepLinear, Parametrization
from flowsim.symbolic import printing
from flowsim.symbolic.algebra.ring import EntryMap, entry_map
from flowsim.symbolic.closure.explicit import (
    entered,
    explicit_domain,
    implicit_domain,
    largest_error,
    preconditioner_entries,
    with_values,
)
from flowsim.symbolic.closure.leaf import Verdict
from flowsim.symbolic.closure.level import Level
from flowsim.symbolic.closure.matrices import balanced_closure
from flowsim.symbolic.closure.pieces import Piece, fixed_values, pieces_of
from flowsim.symbolic.closure.radicals import (
    MOST_SOLVED,
    RHO,
    Explicit,
    solve_preconditioner,
)
from flowsim.symbolic.closure.result import Closure, Part
from flowsim.symbolic.closure.states import whole_states
from flowsim.symbolic.closure.steps import derivation_of
from flowsim.symbolic.closure.verdicts import decided
from flowsim.symbolic.closure.witness import find_state_pair, make_witness
from flowsim.symbolic.closure.writing import equation_of, lines_of, vector_symbols
from flowsim.symbolic.conservation import ConservationLaws, conservation_laws
from flowsim.symbolic.reserved import Renamed, unreserved

__all__ = ["closure"]

LARGEST_ERROR = 1e-9


def closure(
    par: Parametrization,
    *,
    values: str | Mapping[Any, Real] | None = None,
    seed: int = 0,
) -> Closure:
    r"""Decide whether the motion of w closes, and write it in w where it does.

    Gradient flow on the factors of :math:`w = \varphi(\theta)` moves w by
    :math:`\dot w = -J J^\top \nabla L(w)`. Near a generic state this is a law in w and in the
    values c of the conserved quantities if and only if no direction that is tangent to the leaf
    and keeps w changes :math:`J J^\top`; that is decided exactly, by ranks modulo :math:`2^{61}-1`.
    Where the motion closes, θ is eliminated; where it does not, two states show it.

    Parameters
    ----------
    par : Parametrization
        A map with at most 64 parameters; :class:`flowsim.DeepLinear` of any size with values
        ``"zero"``.
    values : None, "zero" or mapping
        None leaves the conserved values symbols c_1, c_2, ...; ``"zero"`` sets all to 0, as for a
        balanced start; a mapping sets some, by index, name, symbol or law.
    seed : int
        Of the random states.

    Returns
    -------
    Closure
        With ``closes``, ``form``, ``preconditioner``, ``law``, ``constants``, ``domain``,
        ``because``, ``witness``, ``steps``.

    Raises
    ------
    InputError
        If the map is too large to be written out entry by entry, or ``values`` is none of these.

    Notes
    -----
    The decision is about states near a generic one. Several states on one leaf may share one w and
    differ in P although nearby ones do not: then the law has branches, and the start's is followed.
    A decision at special values uses the level set of the known laws in place of a leaf.

    Examples
    --------
    >>> from flowsim.problems.families import Diagonal
    >>> print(closure(Diagonal(1)))
    closes (radical): no two nearby states that can be reached share w, so that w tells P
      dw[0]/dt = -4*sqrt(4*c_1^2 + w[0]^2)*G[0]
      c_1 = u[0]*v[0]
    valid
      at every state: the root is the one with 4*u[0]^2 + 4*v[0]^2 >= 0
    """
    if not isinstance(par, Parametrization):
        raise InputError(f"par is {type(par).__name__}; pass a Parametrization.")
    if values == "zero":
        whole_matrix = balanced_closure(par)
        if whole_matrix is not None:
            return whole_matrix
    given, par = par, unreserved(par)
    known = conservation_laws(par, seed=seed)
    fixed = fixed_values(values, known)
    em = entry_map(par)
    c = tuple(Symbol(f"c_{i + 1}", real=True) for i in range(len(known.laws)))
    w, G = vector_symbols(len(em.values), par.end_to_end_shape == ())
    pieces = pieces_of(em, known, fixed)
    verdicts = [decided(piece.level, seed) for piece in pieces]
    common = {
        "parametrization": given,
        "constants": {s: law.expression for s, law in zip(c, known.laws, strict=True)},
        "special": {s: sympy.Rational(v) for s, v in zip(c, fixed, strict=True) if v is not None},
        "equations": (
            *(Eq(em.to_sympy(v), x, evaluate=False) for v, x in zip(em.values, w, strict=True)),
            *(
                Eq(law.expression, s if v is None else sympy.Rational(v), evaluate=False)
                for s, law, v in zip(c, known.laws, fixed, strict=True)
            ),
        ),
        "missing": known.missing,
        "G": G,
        "entries": em.entry_symbols,
    }
    for piece, verdict in zip(pieces, verdicts, strict=True):
        if not verdict.closes:
            found = _open(em, known, piece, verdict, common, seed)
            break
    else:
        found = _closed(em, pieces, verdicts, w, c, common, seed)
    notes = par.notes if isinstance(par, Renamed) else ()
    return replace(found, domain=(*found.domain, *notes))


def _open(
    em: EntryMap,
    known: ConservationLaws,
    piece: Piece,
    verdict: Verdict,
    common: dict[str, Any],
    seed: int,
) -> Closure:
    pair = find_state_pair(piece.level, seed)
    if pair is None:
        raise FlowsimError(
            "the ranks say that the motion does not close, but no witness was found from "
            "the random states tried. Pass another seed."
        )
    rest = np.random.default_rng(seed).uniform(0.5, 1.5, em.size).round(1)
    states = []
    for part in pair:
        x = rest.copy()
        x[list(piece.entries[0])] = part
        states.append(x)
    whole = whole_states(
        [em.to_sympy(v) for v in em.values], [h.expression for h in known.laws], em.entry_symbols
    )
    witness = make_witness(em.parametrization, whole, (states[0], states[1]))
    part = Part(verdict, piece.entries, piece.values, piece.laws, None, missing=piece.missing)
    because = (
        f"the {verdict.leaf} directions in which a loss can move the parameters include "
        f"{verdict.fibre} that keep{'s' if verdict.fibre == 1 else ''} w, and P changes along "
        f"{'it' if verdict.fibre == 1 else f'{verdict.moving} of them'}"
    )
    steps = derivation_of(
        piece.level,
        tuple(common["equations"][i].rhs for i in piece.values[0]),
        tuple(Symbol(f"c_{i + 1}", real=True) for i in piece.laws[0]),
        {},
        None,
    )
    domain: tuple[str, ...] = ()
    if isinstance(em.parametrization, DeepLinear | TwoLayer):
        domain = (
            'from a balanced start, values="zero", it does close; with two layers also where '
            "W2^T W2 - W1 W1^T is a multiple of the identity",
        )
    return Closure(
        closes=False,
        form=None,
        preconditioner=None,
        law=None,
        domain=domain,
        because=because,
        witness=witness,
        steps=steps,
        parts=(part,),
        **common,
    )


def _closed(
    em: EntryMap,
    pieces: list[Piece],
    verdicts: list[Verdict],
    w: tuple[Expr, ...],
    c: tuple[Symbol, ...],
    common: dict[str, Any],
    seed: int,
) -> Closure:
    m = len(w)
    P = sympy.zeros(m, m)
    parts, steps, domain = [], [], []
    forms = []
    for k, (piece, verdict) in enumerate(zip(pieces, verdicts, strict=True)):
        level = piece.level
        entries = preconditioner_entries(level.em)
        own_w = tuple(w[i] for i in piece.values[0])
        own_c = tuple(c[i] for i in piece.laws[0])
        constant = all(p.is_ground or not p for p in entries.values())
        found, derived, note = _explicit(level, own_w, own_c, entries, seed)
        steps += derivation_of(derived[0], own_w, own_c, entries, derived[1])
        domain += note
        form = "constant" if constant else "radical" if found and found.solved else "implicit"
        lines: tuple[Eq, ...] = ()
        if found is not None:
            own_G = tuple(common["G"][i] for i in piece.values[0])
            rho = RHO if len(pieces) == 1 else Symbol(f"rho_{k + 1}", real=True)
            lines = lines_of(found, own_w, own_G)
            if found.primitive is not None and not found.solved:
                equation = equation_of(found.primitive, own_w)
                lines = () if equation is None else (*lines, equation)
            lines = tuple(line.xreplace({RHO: rho}) for line in lines)
        if found is not None and form != "implicit":
            called = entered(P, em, piece, found, w, c, common["constants"])
            lines = tuple(line.xreplace(called) for line in lines)
            domain += explicit_domain(level.em, found, called)
        else:
            domain.append(implicit_domain(piece))
            if found is not None and found.primitive is not None:
                meaning = printing.text(level.em.to_sympy(found.primitive.poly))
                domain.append(f"rho stands for {meaning} of the factors")
        forms.append(form)
        parts.append(
            Part(verdict, piece.entries, piece.values, piece.laws, form, lines, piece.missing)
        )
    form = max(forms, key=["constant", "radical", "implicit"].index)
    explicit = form != "implicit"
    special = common["special"]
    P = P.xreplace(special).as_immutable()
    law = (-P * sympy.Matrix(common["G"])).as_immutable()
    return Closure(
        closes=True,
        form=form,
        preconditioner=P if explicit else None,
        law=law if explicit else None,
        domain=tuple(dict.fromkeys(domain)),
        because=_because(verdicts, form),
        witness=None,
        steps=tuple(steps),
        parts=tuple(parts),
        **common,
    )


def _explicit(
    level: Level, w: tuple, c: tuple, P: dict, seed: int
) -> tuple[Explicit | None, tuple[Level, Explicit | None], list[str]]:
    """The form of one part, what was derived of it and on which level set, and remarks.

    Raises
    ------
    FlowsimError
        If a form differs from J J^T in numbers; a wrong branch would show here.
    """
    if len(P) > MOST_SOLVED:
        note = (
            f"roots are searched for up to {MOST_SOLVED} entries of P, and here are {len(P)}; the "
            "same map at a smaller size shows its form"
        )
        return None, (level, None), [note]
    found = solve_preconditioner(level, w, c, P, seed)
    if not level.generic and (found is None or not found.solved):
        # Symbols first, numbers afterwards: where the level set could not be sampled modulo the
        # prime.
        open_level = Level(level.em, level.laws, (None,) * len(level.laws))
        general = solve_preconditioner(open_level, w, c, P, seed)
        if general is not None and general.solved:
            special = with_values(general, c, level.values)
            if special is not None and largest_error(level, special, w, c, seed) < LARGEST_ERROR:
                return special, (open_level, general), []
    if found is None or not found.solved:
        return found, (level, found), []
    error = largest_error(level, found, w, c, seed)
    if error < LARGEST_ERROR:
        return found, (level, found), []
    if level.generic:
        raise FlowsimError(
            f"the closed form differs from J J^T by {error:.3g} at a random state. This is a fault "
            "of flowsim, not of the input."
        )
    return (
        None,
        (level, None),
        ["the states with these values fall into parts with laws of their own"],
    )


def _because(verdicts: list[Verdict], form: str) -> str:
    if form == "constant":
        return "P does not depend on the parameters"
    if all(v.fibre == 0 for v in verdicts):
        return "no two nearby states that can be reached share w, so that w tells P"
    fibre = sum(v.fibre for v in verdicts)
    where = "the one direction" if fibre == 1 else f"the {fibre} directions"
    keep = "keeps" if fibre == 1 else "keep"
    return f"P is constant in {where} that {keep} w among the states that can be reached"
