"""The parts of a report, as data. One table is read by the terminal and by the HTML page alike."""

from __future__ import annotations

import dataclasses

from flowsim.reporting.panels import Panel


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text; `what stands in backquotes` is set as code."""

    text: str


@dataclasses.dataclass(frozen=True)
class Formula:
    """A displayed formula.

    Attributes
    ----------
    latex
        The formula, as LaTeX.
    caption
        What it is, shown beside it.
    """

    latex: str
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes
    ----------
    title
        What it shows.
    columns
        Headings. One that ends in ``":"`` heads a column of words, set flush left; others hold
        numbers, set flush right.
    rows
        Rows of cells. A cell that begins with ``"yes: "`` or ``"no: "`` is a verdict, and marked.
    note
        What the reader must know to read it.
    groups
        Headings above the columns, (heading, number of columns); empty for none.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    groups: tuple[tuple[str, int], ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Figure:
    """Panels side by side, with a caption that says what is to be seen in them."""

    panels: tuple[Panel, ...]
    caption: str


@dataclasses.dataclass(frozen=True)
class Facts:
    """Names and values, such as versions and tolerances."""

    pairs: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Details:
    """Parts folded away under a summary that opens them."""

    summary: str
    parts: tuple[Part, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Section:
    """A heading and what stands under it."""

    title: str
    parts: tuple[Part, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Page:
    """A report.

    Attributes
    ----------
    title
        Its subject.
    answer
        The first line: what was found, in a sentence or two.
    sections
        Its body.
    """

    title: str
    answer: str
    sections: tuple[Section, ...]


#: What a section is made of.
Part = Paragraph | Formula | Table | Figure | Facts | Details

VERDICTS = {"yes: ": "✓", "no: ": "✗"}


def split_verdict(cell: str) -> tuple[str, str]:
    """Return a cell's mark, ``"yes"``, ``"no"`` or an empty string, and its words."""
    for prefix in VERDICTS:
        if cell.startswith(prefix):
            return prefix.removesuffix(": "), cell.removeprefix(prefix)
    return "", cell
