"""Figures and reports: self-contained HTML pages, and the parts that they are made of."""

from flowsim.reporting.blocks import (
    Details,
    Facts,
    Figure,
    Formula,
    Page,
    Paragraph,
    Section,
    Table,
)
from flowsim.reporting.comparison import report_comparison
from flowsim.reporting.html import write_page
from flowsim.reporting.panels import Curve, Line, Panel, Points

__all__ = [
    "Curve",
    "Details",
    "Facts",
    "Figure",
    "Formula",
    "Line",
    "Page",
    "Panel",
    "Paragraph",
    "Points",
    "Section",
    "Table",
    "report_comparison",
    "write_page",
]
