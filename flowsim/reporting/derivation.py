"""A derived law as a page to be read: in the terminal, as LaTeX, or typeset in HTML.

One list of sections is made of a law; the three pages only spell it differently.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flowsim._errors import InputError
from flowsim.reporting.blocks import Formula, Page, Paragraph, Part, Section
from flowsim.reporting.html import write_page
from flowsim.symbolic import EndToEnd, PushforwardLaw, printing
from flowsim.symbolic.pages import product_of_layers

if TYPE_CHECKING:
    from flowsim.symbolic.certify import Line, Step
    from flowsim.symbolic.closure import Closure
    from flowsim.symbolic.conservation import ConservationLaw, ConservationLaws
    from flowsim.symbolic.mirror import MirrorVerdict

__all__ = ["LawSection", "Shown", "latex_page", "law_sections", "text_page", "write_law_page"]

Law = EndToEnd | PushforwardLaw


@dataclasses.dataclass(frozen=True)
class Shown:
    """A formula in both notations, with what it is or why it holds."""

    text: str
    latex: str
    why: str = ""


@dataclasses.dataclass(frozen=True)
class LawSection:
    """A part of a derivation: a heading, sentences, and formulas."""

    title: str
    prose: tuple[str, ...] = ()
    formulas: tuple[Shown, ...] = ()
    numbered: bool = False


def law_sections(
    law: Law,
    *,
    laws: bool = False,
    closes: bool = False,
    mirrors: bool = False,
    single: bool = False,
) -> tuple[LawSection, ...]:
    """What is known of a law, in the order in which it is read.

    Parameters
    ----------
    law
        A derived law.
    laws, closes, mirrors
        Whether to search for what is conserved, to decide whether the motion closes, and whether
        it is a mirror flow; each at the sizes of the parametrization.
    single
        Whether to show the form for a single output of a law that does not have it anyway.
    """
    if (closes or mirrors) and law.weight_decay != 0:
        raise InputError(
            "--closure and --mirror are decided without weight decay; leave out --decay, or them."
        )
    general = isinstance(law, PushforwardLaw)
    sections = list(_of_map(law) if general else _of_network(law, single))
    par = law.parent
    # Each searches at the sizes of the parametrization, and is loaded only where it is asked for.
    if laws:
        from flowsim.symbolic.conservation import conservation_laws

        sections.append(_conserved(conservation_laws(par), decays=law.weight_decay != 0))
    if closes:
        from flowsim.symbolic.closure import closure

        sections.append(_closed(closure(par)))
    if mirrors:
        from flowsim.symbolic.mirror import mirror

        sections.append(_mirrored(mirror(par)))
    steps = _steps(law.steps)
    sections.append(
        LawSection(
            "Derivation",
            ("From the chain rule; in brackets the check that each line passed as it was made.",),
            steps,
            numbered=True,
        )
    )
    return tuple(sections)


def _of_map(law: PushforwardLaw) -> Iterator[LawSection]:
    """The sections of the law of any parametrization."""
    names = ", ".join(
        f"{name} {_size(shape)}"
        for name, shape in zip(law.parent.names, law.parent.shapes, strict=True)
    )
    setting = f"G = grad L(w) for any loss L; the factors are {names}."
    yield LawSection("Parametrization", (setting,), _shown(law.rows("map")))
    yield LawSection("How w moves, from any start", (), _shown(law.rows("rhs")))
    yield LawSection("The factors follow", (), _shown(law.rows("factor_flow")))
    kinks = tuple(f"{kink}." for kink in law.parent.kinks)
    meaning = law.meaning() + (", without the decay." if law.weight_decay != 0 else ".")
    yield LawSection("Preconditioner", (meaning, *kinks), _shown(law.rows("preconditioner")))


def _size(shape: tuple[int, ...]) -> str:
    return "(a number)" if not shape else f"of shape {shape}"


def _of_network(law: EndToEnd, single: bool) -> Iterator[LawSection]:
    """The sections of the law of a deep linear network."""
    depth = printing.text(law.depth)
    product = f"W = {product_of_layers(law.depth)}" if law.depth != 1 else "W is the one factor"
    yield LawSection(
        "End-to-end law",
        (f"{product}, with G = grad L(W) for any loss L.",),
        _shown(law.rows("rhs")),
    )
    if single and law.outputs != 1:
        yield LawSection("With a single output, W a row", (), _shown(law.rows("single_output")))
    if law.hypotheses:
        presumed = tuple(
            Shown(f"{h.name}: {h.statement_text}", rf"\text{{{h.name}: }} {h.statement_latex}")
            for h in law.hypotheses
        )
        yield LawSection("Holds where the start is", (), presumed)
        yield LawSection("From any start", (), _shown(law.rows("general")))
    yield LawSection("The factors follow", (), _shown(law.rows("factor_flow")))
    for quantity in law.conserved:
        decays = quantity.rate != 0
        said = f"decays as {printing.text(quantity.decay)}" if decays else "constant"
        shown = printing.latex(quantity.expression)
        right = printing.latex(quantity.decay) if decays else r"\text{const}"
        yield LawSection(
            f"Conserved ({quantity.name}), for 1 <= {law.index} < {depth}",
            (),
            (Shown(f"{printing.text(quantity.expression)}: {said}", rf"{shown} \propto {right}"),),
        )
    yield LawSection("Descent, with step size eta", (), _shown(law.rows("descent_rule")))


def _steps(steps: Iterable[Step]) -> tuple[Shown, ...]:
    return tuple(
        Shown(str(s).split("\n")[0], s.latex(), f"{s.justification} [{s.check}]") for s in steps
    )


def _shown(rows: Iterable[Line]) -> tuple[Shown, ...]:
    return tuple(Shown(row.plain, row.typeset) for row in rows)


def _conserved(found: ConservationLaws, *, decays: bool) -> LawSection:
    if not decays:
        lines = tuple(
            Shown(str(law), rf"{law.latex()} = \text{{const}}", _name(law)) for law in found
        )
        return LawSection("Conserved, for every loss", tuple(found.explain().split("\n")), lines)
    prose = (
        "Without the decay these are conserved for every loss; under weight decay lambda one that "
        "is homogeneous of degree k decays as exp(-k lambda t) (Euler's theorem).",
    )
    lines = tuple(
        Shown(
            f"{law} decays as exp(-{law.degree}*lambda*t)",
            rf"{law.latex()} \propto e^{{-{law.degree} \lambda t}}",
            _name(law),
        )
        for law in found
        if law.degree is not None
    )
    gone = tuple(f"Not kept: {law}." for law in found if law.degree is None)
    return LawSection("Conserved, but for the decay", (*prose, *gone), lines)


def _name(law: ConservationLaw) -> str:
    return law.kind if law.name == law.text() else f"{law.name}, {law.kind}"


def _closed(found: Closure) -> LawSection:
    title = "Can it be written in w alone, given what is conserved?"
    if not found.closes:
        return LawSection(title, ("No.", *_sentences(str(found))))
    prose = (f"Yes, in {found.form} form, G being grad L(w): {found.because}.",)
    rows = _shown(found.rows())
    validity = tuple(
        f"Valid {said}." if said.startswith(("where", "at", "near")) else f"Note: {said}."
        for said in found.domain
    )
    likewise = tuple(
        f"Likewise for {count} more that {'is' if count == 1 else 'are'} mapped alike."
        for part in found.parts
        if (count := len(part.values) - 1) > 0
    )
    return LawSection(title, (*prose, *validity, *likewise), rows)


def _sentences(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.split("\n") if line.strip())


def _mirrored(found: MirrorVerdict) -> LawSection:
    answer = {True: "Yes.", False: "No.", None: "Not decided."}[found.is_mirror_flow]
    legend = (
        "Here grad w[i] is the gradient of an entry of w, a field on the factors, and e(x) the "
        "unit vector of a parameter x."
    )
    dual = (
        "psi(mu) are the factors reached from the start once mu is minus the integrated gradient; "
        "grad R* = w there, and R is the potential of the mirror flow d grad R(w)/dt = -G."
    )
    degree = found.homogeneity
    prose = [answer, found.because, legend]
    prose += [f"All entries are homogeneous of degree {degree}."] if degree is not None else []
    rows = _shown(found.rows())
    prose += [dual] if rows else []
    steps = _steps(found.steps)
    return LawSection("Is it a mirror flow?", tuple(prose), (*rows, *steps))


# -- three ways to spell it -----------------------------------------------------------------------


def text_page(sections: tuple[LawSection, ...]) -> str:
    """The sections as lines of plain text."""
    lines: list[str] = []
    for section in sections:
        lines += ["", section.title, *(f"  {sentence}" for sentence in section.prose)]
        for n, shown in enumerate(section.formulas, 1):
            number = f"{n:3}. " if section.numbered else "  "
            lines += [""] if section.numbered else []
            lines += [f"{number}{shown.text}"] if shown.text else []
            if shown.why:
                lines.append(" " * (5 if section.numbered else 6) + shown.why)
    return "\n".join(lines[1:])


def latex_page(sections: tuple[LawSection, ...]) -> str:
    """The formulas as LaTeX, one display."""
    lines = [
        rf"\text{{{section.title}}} && {shown.latex}" if n == 0 else f"&& {shown.latex}"
        for section in sections
        for n, shown in enumerate(section.formulas)
        if shown.latex
    ]
    joined = " \\\\\n".join(lines)
    return f"\\begin{{aligned}}\n{joined}\n\\end{{aligned}}"


def write_law_page(
    sections: tuple[LawSection, ...], path: str | os.PathLike[str], *, title: str
) -> Path:
    """The sections as one HTML file, typeset; return its path."""
    answer = (
        "Derived from the chain rule, for any loss; every line of it was checked as it was made."
    )
    return write_page(Page(title, answer, tuple(_section(s) for s in sections)), path)


def _section(section: LawSection) -> Section:
    parts: list[Part] = [Paragraph(sentence) for sentence in section.prose]
    for n, shown in enumerate(section.formulas, 1):
        caption = f"{n}. {shown.why}" if section.numbered else shown.why
        parts += [Formula(shown.latex, caption)] if shown.latex else []
    return Section(section.title, tuple(parts))
