"""From what is typed at the command line to a derived law."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from sympy import Symbol

from flowsim._checks import nearest
from flowsim._errors import InputError
from flowsim.problems import (
    CP,
    DeepLinear,
    Diagonal,
    DiagonalProduct,
    HierarchicalTucker,
    Parametrization,
    ReLUPaths,
    ScaledVector,
    SymmetricFactorization,
    TwoLayer,
    WeightNormalized,
)
from flowsim.symbolic import EndToEnd, PushforwardLaw
from flowsim.symbolic import derive as derive_law

__all__ = ["DEEPEST", "FAMILIES", "Family", "derive_family", "derive_text"]

#: A law is derived by going through its layers; more than this many take long and print badly.
DEEPEST = 64


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of parametrizations as it is named at the command line.

    Attributes
    ----------
    make
        Makes it from its sizes.
    sizes
        The sizes by name, with the values that they have where none is given: a whole number, or
        a tuple of them.
    """

    make: Callable[..., Parametrization]
    sizes: Mapping[str, int | tuple[int, ...]]


FAMILIES: dict[str, Family] = {
    "deep-linear": Family(DeepLinear, {"widths": (2, 2, 2)}),
    "two-layer": Family(TwoLayer, {"widths": (2, 2, 2)}),
    "scaled-vector": Family(ScaledVector, {"d": 2}),
    "diagonal": Family(Diagonal, {"d": 1, "depth": 2}),
    "diagonal-product": Family(DiagonalProduct, {"d": 1, "depth": 2}),
    "weight-normalized": Family(WeightNormalized, {"d": 3}),
    "symmetric": Family(SymmetricFactorization, {"n": 2, "r": 2}),
    "cp": Family(CP, {"dims": (2, 2, 2), "rank": 2}),
    "hierarchical-tucker": Family(
        lambda dims, rank: HierarchicalTucker(_binary(dims), rank),
        {"dims": (2, 2, 2, 2), "rank": 1},
    ),
    "relu-paths": Family(ReLUPaths, {"widths": (2, 2, 1)}),
}


def derive_family(
    name: str, *, depth: str | None, sizes: Mapping[str, str], single: bool, decay: bool
) -> EndToEnd | PushforwardLaw:
    """Derive the law of a family for sizes as typed.

    Parameters
    ----------
    name
        One of ``FAMILIES``.
    depth
        A whole number; for ``deep-linear`` also ``"N"``, a depth that stays a symbol.
    sizes
        Sizes by name, such as ``{"d": "3"}`` or ``{"widths": "2,3,1"}``.
    single
        Whether a deep linear network has one output.
    decay
        Whether the factors have weight decay λ.

    Raises
    ------
    InputError
        If a size or a depth is none, or the family has no such size.
    """
    family = FAMILIES[name]
    rate = Symbol("lambda", nonnegative=True) if decay else 0
    if name == "deep-linear" and not sizes:
        return _deep_linear(depth, single, rate)
    chosen = dict(family.sizes)
    given = dict(sizes)
    if depth is not None:
        if "depth" not in chosen:
            raise InputError(f"--depth: {name} has no depth; its sizes are {', '.join(chosen)}.")
        given["depth"] = depth
    for key, value in given.items():
        if key not in chosen:
            raise InputError(
                f"--size {key}={value}: {name} has the sizes {', '.join(chosen)}."
                f"{nearest(key, chosen)}"
            )
        chosen[key] = _numbers(key, value, several=isinstance(chosen[key], tuple))
    return derive_law(family.make(**chosen), weight_decay=rate)


def derive_text(text: str, shape: str | None, *, decay: bool) -> EndToEnd | PushforwardLaw:
    """Derive the law of a parametrization that is typed as a formula.

    Parameters
    ----------
    text
        A formula in the factors, such as ``"u**2 * v"``.
    shape
        Shapes of the factors, such as ``"u:3, v:3"``.
    decay
        Whether the factors have weight decay λ.

    Raises
    ------
    InputError
        If either cannot be read, with the position and what would do.
    """
    from flowsim.problems.text import parse_declarations

    if shape is None:
        raise InputError(
            "--shape is missing: give the shape of each factor of the formula, such as "
            "--shape 'u:3, U:3x2, g:()' for a vector, a matrix and a number."
        )
    rate = Symbol("lambda", nonnegative=True) if decay else 0
    return derive_law(Parametrization.from_text(text, parse_declarations(shape)), weight_decay=rate)


def _deep_linear(depth: str | None, single: bool, rate: Any) -> EndToEnd | PushforwardLaw:
    if depth is None:
        raise InputError("--depth is missing: the number of matrices, or N for a symbol.")
    whole = depth.isascii() and depth.isdigit() and len(depth) < 4
    if depth != "N" and not (whole and 1 <= int(depth) <= DEEPEST):
        raise InputError(
            f"--depth is {depth!r}: pass a whole number from 1 to {DEEPEST}, or N for a symbol."
        )
    if depth == "N":
        return derive_law(DeepLinear.of_depth("N"), weight_decay=rate)
    net = DeepLinear((2, *[1] * int(depth))) if single else DeepLinear.of_depth(int(depth))
    return derive_law(net, weight_decay=rate)


def _numbers(name: str, typed: str, *, several: bool) -> int | tuple[int, ...]:
    parts = typed.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 5 for part in parts):
        wanted = "whole numbers parted by commas, such as 2,3,1" if several else "a whole number"
        raise InputError(f"--size {name}={typed}: pass {wanted}.")
    numbers = tuple(int(part) for part in parts)
    if several:
        return numbers
    if len(numbers) != 1:
        raise InputError(f"--size {name}={typed}: pass one whole number.")
    return numbers[0]


def _binary(dims: tuple[int, ...]) -> Any:
    """A tree that halves the modes."""
    if len(dims) == 1:
        return dims[0]
    half = (len(dims) + 1) // 2
    return _binary(dims[:half]), _binary(dims[half:])
