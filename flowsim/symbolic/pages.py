"""A law as a page: typeset for a notebook, plain for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sympy import Expr, Integer

from flowsim.symbolic import printing

if TYPE_CHECKING:
    from flowsim.symbolic.law import EndToEnd

__all__ = ["latex_page", "product_of_layers", "text_page"]


def latex_page(law: EndToEnd) -> str:
    """Return the law, its hypotheses and its conserved quantities as one display."""
    w = "w" if law.outputs == 1 else "W"
    lines = [
        rf"{w} = {product_of_layers(law.depth, typeset=True)}, \qquad {law.latex('factor_flow')}",
        law.latex(),
    ]
    if law.hypotheses:
        lines += [rf"\text{{if {h.name}: }}\; {h.statement_latex}" for h in law.hypotheses]
        lines.append(rf"\text{{from any start: }}\; {law.latex('general')}")
    for quantity in law.conserved:
        shown, rate = printing.latex(quantity.expression), printing.latex(quantity.rate)
        right = "0" if quantity.rate == 0 else rf"{rate} \left({shown}\right)"
        derivative = rf"\frac{{\mathrm{{d}}}}{{\mathrm{{d}}t}} \left({shown}\right)"
        lines.append(rf"\text{{conserved: }}\; {derivative} = {right}")
    body = " \\\\[4pt]\n".join(f"& {line}" for line in lines)
    return f"$$\\begin{{aligned}}\n{body}\n\\end{{aligned}}$$"


def text_page(law: EndToEnd) -> str:
    """Return the law, its hypotheses and its conserved quantities as lines of plain text."""
    lines = [
        f"End-to-end law of W = {product_of_layers(law.depth)}, with G = grad L(W)",
        "",
        f"  {law.text()}",
    ]
    if law.hypotheses:
        lines += ["", "holds where the start is"]
        lines += [f"  {h.name}: {h.statement_text}" for h in law.hypotheses]
        lines += ["", "from any start", f"  {law.text('general')}"]
    lines += ["", "the factors follow", f"  {law.text('factor_flow')}"]
    for quantity in law.conserved:
        lines += ["", f"conserved ({quantity.name}), for 1 <= {law.index} < {law.depth}"]
        decay = "constant" if quantity.rate == 0 else f"decays as {printing.text(quantity.decay)}"
        lines.append(f"  {printing.text(quantity.expression)}: {decay}")
    return "\n".join(lines)


def product_of_layers(depth: Expr, *, typeset: bool = False) -> str:
    """The product of the layers as text, or as LaTeX."""
    plain = not typeset
    if isinstance(depth, Integer) and depth <= 3:
        names = (f"W_{i}" if plain else f"W_{{{i}}}" for i in range(int(depth), 0, -1))
        return ("*" if plain else " ").join(names)
    last = printing.text(depth)
    return f"W_{last}*...*W_1" if plain else rf"W_{{{last}}} \cdots W_{{1}}"
