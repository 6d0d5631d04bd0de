"""From text to a formula that was checked: its names, its shapes, and where it is smooth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flowsim._checks import check_count
from flowsim._errors import InputError
from flowsim.problems.text.excerpts import shortened
from flowsim.problems.text.formula import Formula, written
from flowsim.problems.text.grammar import read_nodes
from flowsim.problems.text.nodes import Name
from flowsim.problems.text.sizes import LARGEST_SIZE, Shape, readings_of
from flowsim.problems.text.smoothness import check_somewhere_smooth, kinks_of
from flowsim.problems.text.vocabulary import factor_name_trouble

MOST_DIMENSIONS = 8


def parse(text: str, shapes: Mapping[str, Shape]) -> Formula:
    """Read a formula of named factors; the text is parsed and never evaluated as code.

    A formula is made of the factors' names, decimal numbers, ``+ - * / @ **``, ``.T`` (of
    matrices), round brackets and the functions of :mod:`flowsim.problems.functions`; they bind as
    in Python and mean what they mean in NumPy. Numbers are exact (``0.5`` and ``1/2`` are the
    fraction), and exponents are numbers.

    Parameters
    ----------
    text
        The formula, at most 10,000 characters, with brackets at most 100 deep.
    shapes
        Shape of each factor by name, in the order in which the formula's call takes them; ``()``
        for a scalar.

    Returns
    -------
    Formula
        The formula, with the shape of its value and the list of its kinks.

    Raises
    ------
    InputError
        With the position and what would do, if the text is no formula in these factors, if shapes
        do not fit, or if the map is real and differentiable nowhere.

    Examples
    --------
    >>> formula = parse("g * v / norm(v)", {"g": (), "v": (2,)})
    >>> formula.names, formula.shape
    (('g', 'v'), (2,))
    >>> import numpy as np
    >>> formula(2.0, np.array([3.0, 4.0])).tolist()
    [1.2, 1.6]
    >>> formula.kinks[0]
    'norm(v) has no derivative at v = 0 (character 9)'
    >>> parse("u^2", {"u": (3,)})
    Traceback (most recent call last):
        ...
    flowsim._errors.InputError: text, character 2: '^' is not read as a power. Write **.
        u^2
         ^
    """
    checked = _checked_shapes(shapes)
    nodes = read_nodes(text, checked)
    used = {node.name for node in nodes if isinstance(node, Name)}
    for name in checked:
        if name not in used:
            raise InputError(
                f"shapes has a factor {name!r} that the formula {shortened(text, 72)!r} never "
                "uses. Use it, or leave it out of shapes."
            )
    texts = written(nodes)
    readings = readings_of(text, nodes, texts, checked)
    check_somewhere_smooth(text, nodes, texts, readings, checked)
    return Formula(
        nodes=nodes,
        names=tuple(checked),
        shapes=tuple(checked.values()),
        shape=readings[-1].shape,
        kinks=kinks_of(nodes, texts, readings),
        text=text,
    )


def _checked_shapes(shapes: Any) -> dict[str, Shape]:
    """The shapes by name, as tuples of ints."""
    if not isinstance(shapes, Mapping) or not shapes:
        given = "empty" if isinstance(shapes, Mapping) else type(shapes).__name__
        raise InputError(
            f"shapes is {given}; pass a dict with the shape of each factor by name, such as "
            "{'U': (3, 2), 's': (2,), 'g': ()}."
        )
    checked = {}
    for name, shape in shapes.items():
        if not isinstance(name, str):
            raise InputError(f"shapes has the key {name!r}; pass names, such as 'u'.")
        if trouble := factor_name_trouble(name):
            raise InputError(f"shapes, factor {shortened(name)!r}: {trouble}")
        if not isinstance(shape, Sequence) or isinstance(shape, (str, bytes)):
            raise InputError(
                f"shapes[{name!r}] is {type(shape).__name__}; pass a tuple such as (3, 2), or () "
                "for a scalar."
            )
        if len(shape) > MOST_DIMENSIONS:
            raise InputError(
                f"shapes[{name!r}] has {len(shape)} dimensions; at most {MOST_DIMENSIONS} are read."
            )
        sizes = tuple(check_count(f"shapes[{name!r}][{i}]", n) for i, n in enumerate(shape))
        if math.prod(sizes) > LARGEST_SIZE:
            raise InputError(
                f"shapes[{name!r}] is {sizes}, more than {LARGEST_SIZE:.0e} numbers. Use a smaller "
                "factor."
            )
        checked[name] = sizes
    return checked
