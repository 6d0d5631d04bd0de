"""Laws as the command line prints them."""

from __future__ import annotations

from sympy import Symbol

from flowsim._errors import InputError
from flowsim.problems import DeepLinear
from flowsim.symbolic import EndToEnd
from flowsim.symbolic import derive as derive_law

#: A law is derived by going through its layers; more than this many take long and print badly.
DEEPEST = 64


def derive_deep_linear(depth: str, *, single: bool = False, decay: bool = False) -> EndToEnd:
    """Derive the law of a deep linear network for a depth as typed.

    Parameters
    ----------
    depth
        A whole number, or ``"N"`` for a depth that stays a symbol.
    single
        Whether the network has one output.
    decay
        Whether the factors have weight decay λ.

    Raises
    ------
    InputError
        If the depth is neither.
    """
    whole = depth.isascii() and depth.isdigit() and len(depth) < 4
    if depth != "N" and not (whole and 1 <= int(depth) <= DEEPEST):
        raise InputError(
            f"--depth is {depth!r}: pass a whole number from 1 to {DEEPEST}, or N for a symbol."
        )
    rate = Symbol("lambda", nonnegative=True) if decay else 0
    if depth == "N":
        return derive_law(DeepLinear.of_depth("N"), weight_decay=rate)
    net = DeepLinear((2, *[1] * int(depth))) if single else DeepLinear.of_depth(int(depth))
    return derive_law(net, weight_decay=rate)


def text_page(law: EndToEnd, output: str) -> str:
    """The law, its hypotheses, what it conserves and its derivation, as lines of plain text."""
    lines = [str(law)]
    if output == "single" and law.outputs != 1:
        lines += ["", "with a single output (W a row)", f"  {law.text('single_output')}"]
    lines += ["", "descent, with step size eta", f"  {law.text('descent_rule')}"]
    lines += ["", "Derivation, from the chain rule; each line was checked as it was made"]
    for i, step in enumerate(law.steps, 1):
        equation, why = str(step).split("\n")
        lines += ["", f"{i:3}. {equation}", f"     {why.strip()}"]
    return "\n".join(lines)


def latex_page(law: EndToEnd, output: str) -> str:
    """The same as LaTeX, one display."""
    body = [law.latex()]
    if output == "single" and law.outputs != 1:
        body.append(law.latex("single_output"))
    body += [rf"\text{{{h.name}: }} {h.statement_latex}" for h in law.hypotheses]
    body += [step.latex() for step in law.steps]
    joined = " \\\\\n".join(f"& {line}" for line in body)
    return f"\\begin{{aligned}}\n{joined}\n\\end{{aligned}}"
