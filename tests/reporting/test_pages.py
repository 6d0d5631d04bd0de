"""A report is one file that needs nothing else, and text in it is text."""

import numpy as np
import pytest

from flowsim._errors import InputError
from flowsim.reporting import (
    Curve,
    Details,
    Facts,
    Figure,
    Formula,
    Line,
    Page,
    Panel,
    Paragraph,
    Points,
    Section,
    Table,
    write_page,
)
from flowsim.reporting.blocks import split_verdict
from flowsim.reporting.formulas import mathml
from flowsim.reporting.html import render_page
from tests.reporting.pages import Reader, assert_stands_alone

HOSTILE = "<script>alert('x')</script> & \"quotes\""


def a_panel(label="a curve"):
    x = np.geomspace(1, 1e5, 20)
    y = 1 / x
    y[3] = np.nan
    items = (
        Points(x, y, "points"), Curve(x, y, label), Line("a level", y=1e-2), Line("an end", x=1e3)
    )  # fmt: skip
    return Panel("A title", "iterations", "loss − optimum", items)


def a_page(text="plain"):
    parts = (
        Paragraph(f"{text} and `code`"),
        Formula(r"\dot{w} = -\nabla L(w)", text),
        Figure((a_panel(text.replace("$", "")), a_panel()), text),
        Figure((a_panel(),), "one"),
        Table(
            text, ("Word:", "number"), ((text, "1"), ("yes: it holds", "2"), ("no: it fails", "3")),
            note=text, groups=(("both", 2),),
        ),
        Facts(((text, text),)),
        Details(text, (Paragraph(text),)),
    )  # fmt: skip
    return Page(text, text, (Section(text, parts), Section("second", (Paragraph("x"),))))


def test_a_page_stands_alone():
    page = assert_stands_alone(render_page(a_page()))
    assert page.tags.count("svg") == 2
    assert page.tags.count("math") == 1
    assert page.tags.count("figcaption") == 2
    assert page.tags.count("table") == 1
    assert page.tags.count("code") == 1


def test_text_is_escaped_wherever_it_stands():
    text = render_page(a_page(HOSTILE))
    page = assert_stands_alone(text)
    assert "<script" not in text
    assert "".join(page.text).count(HOSTILE) >= 10


def test_the_answer_comes_before_everything_else():
    page = Reader(render_page(Page("Title", "So what.", (Section("S", (Paragraph("Then."),)),))))
    words = "".join(page.text)
    assert words.index("So what.") < words.index("Then.")


def test_figures_have_a_description_to_be_read_out():
    text = render_page(a_page("seen"))
    assert text.count('role="img"') == 2
    assert '<title id="fig1-title">seen</title>' in text


def test_pictures_are_the_same_each_time():
    assert render_page(a_page()) == render_page(a_page())


@pytest.mark.parametrize(
    ("cell", "read"),
    [("yes: so", ("yes", "so")), ("no: not", ("no", "not")), ("noon: 12", ("", "noon: 12"))],
)
def test_verdicts_are_read_off_their_prefix(cell, read):
    assert split_verdict(cell) == read


def test_latex_becomes_mathml_with_its_source_for_readers():
    element = mathml(r"\dot{w} = -\left\lVert w \right\rVert^{\frac{4}{3}}")
    page = Reader(element)
    assert {"math", "msup", "mover"} <= set(page.tags)
    assert "aria-label=" in element


def test_latex_that_cannot_be_read_is_refused_by_name():
    with pytest.raises(InputError, match=r"latex is .* cannot be typeset"):
        mathml(r"\frac{1}{")


def test_writing_leaves_no_temporary_file(tmp_path):
    path = write_page(a_page(), tmp_path / "deep" / "report.html")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_indices_and_percentages_in_prose_are_set_as_such():
    text = render_page(
        Page("T", "η λ_max ≤ 2, 3 % off, a_name", (Section("S", (Paragraph("x"),)),))
    )
    assert "λ<sub>max</sub>" in text
    assert "3\N{NO-BREAK SPACE}%" in text
    assert "a_name" in text
