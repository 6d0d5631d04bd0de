"""A report as one HTML file: no network, no script, nothing beside it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from html import escape
from itertools import count
from pathlib import Path

from flowsim.reporting.blocks import (
    VERDICTS,
    Details,
    Facts,
    Figure,
    Formula,
    Page,
    Paragraph,
    Part,
    Section,
    Table,
    split_verdict,
)
from flowsim.reporting.formulas import mathml
from flowsim.reporting.stylesheet import STYLESHEET


def write_page(page: Page, path: str | os.PathLike[str]) -> Path:
    """Write a report, through a temporary file in the same folder, and return its path."""
    path = Path(path)
    text = render_page(page)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def render_page(page: Page) -> str:
    """Return the report's HTML."""
    numbers = count(1)
    anchors = [(f"s{i}", section.title) for i, section in enumerate(page.sections, 1)]
    contents = "".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title in anchors)
    body = "\n".join(
        _section(section, anchor, numbers)
        for section, (anchor, _) in zip(page.sections, anchors, strict=True)
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(page.title)}</title>
<style>{STYLESHEET}</style>
</head>
<body>
<main>
<header>
<h1>{escape(page.title)}</h1>
<p class="answer">{_prose(page.answer)}</p>
<nav aria-label="Contents">{contents}</nav>
</header>
{body}
</main>
</body>
</html>
"""


def _section(section: Section, anchor: str, numbers: Iterator[int]) -> str:
    parts = "\n".join(_part(part, numbers) for part in section.parts)
    return f'<section id="{anchor}">\n<h2>{escape(section.title)}</h2>\n{parts}\n</section>'


def _part(part: Part, numbers: Iterator[int]) -> str:
    if isinstance(part, Paragraph):
        return f"<p>{_prose(part.text)}</p>"
    if isinstance(part, Formula):
        caption = f'<span class="about">{_prose(part.caption)}</span>' if part.caption else ""
        return f'<div class="formula">{caption}<div class="law">{mathml(part.latex)}</div></div>'
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Figure):
        return _figure(part, next(numbers))
    if isinstance(part, Facts):
        pairs = (f"<dt>{escape(n)}</dt><dd>{escape(v)}</dd>" for n, v in part.pairs)
        return f"<dl>{''.join(pairs)}</dl>"
    if isinstance(part, Details):
        inner = "\n".join(_part(p, numbers) for p in part.parts)
        return f"<details><summary>{escape(part.summary)}</summary>\n{inner}\n</details>"
    raise TypeError(f"{type(part).__name__} is no part of a report")


def _figure(figure: Figure, number: int) -> str:
    from flowsim.reporting.drawing import draw_svg

    svg = draw_svg(figure.panels, name=f"fig{number}", description=figure.caption)
    kind = "wide" if len(figure.panels) > 1 else "single"
    return (
        f'<figure class="{kind}">\n{svg}\n<figcaption><b>Figure {number}.</b> '
        f"{_prose(figure.caption)}</figcaption>\n</figure>"
    )


def _table(table: Table) -> str:
    words = [column.endswith(":") for column in table.columns]
    groups = ""
    if table.groups:
        cells = "".join(
            f'<th colspan="{width}" scope="colgroup">{escape(heading)}</th>'
            for heading, width in table.groups
        )
        groups = f"<tr class='groups'>{cells}</tr>"
    heads = "".join(
        f'<th scope="col"{_kind(word)}>{_heading(column)}</th>'
        for column, word in zip(table.columns, words, strict=True)
    )
    rows = "\n".join(
        "<tr>" + "".join(_cell(c, w) for c, w in zip(row, words, strict=True)) + "</tr>"
        for row in table.rows
    )
    note = f'<p class="note">{_prose(table.note)}</p>' if table.note else ""
    return (
        f'<div class="table"><table>\n<caption>{escape(table.title)}</caption>\n'
        f"<thead>{groups}<tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>{note}"
    )


def _heading(column: str) -> str:
    """A column's heading; a short one stays on one line."""
    text = column.removesuffix(":")
    return _prose(text.replace(" ", "\N{NO-BREAK SPACE}") if len(text) < 12 else text)


def _kind(word: bool) -> str:
    return ' class="words"' if word else ""


def _cell(cell: str, word: bool) -> str:
    verdict, text = split_verdict(cell)
    if not verdict:
        return f"<td{_kind(word)}>{_prose(text)}</td>"
    mark = f'<span class="{verdict}" aria-hidden="true">{VERDICTS[verdict + ": "]}</span>'
    return f"<td{_kind(word)}>{mark}{_prose(text)}</td>"


def _prose(text: str) -> str:
    """Escape text; set what stands in backquotes as code, and indices such as λ_max as indices."""
    text = re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", escape(text))
    text = re.sub(r"\b([λWw])_(max|min|\w)\b", r"\1<sub>\2</sub>", text)
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
