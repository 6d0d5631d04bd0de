"""Validators of what users hand in. Each returns the validated value."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from flowsim._errors import InputError, UnknownKeywordError

_P = ParamSpec("_P")
_R = TypeVar("_R")
_LARGEST_EXACT_INTEGER = 2**53


def nearest(name: object, choices: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the choice nearest to ``name``, or an empty string."""
    # Compared without case: 'lsoda' and 'LSODA' have no letter in common otherwise.
    folded = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(str(name).casefold(), list(folded), n=1, cutoff=0.4)
    return f" Did you mean {folded[close[0]]!r}?" if close else ""


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``, else say which of them is nearest."""
    if isinstance(value, str) and value in choices:
        return value
    listed = ", ".join(repr(choice) for choice in choices)
    raise InputError(f"{name} is {value!r}, which is none of {listed}.{nearest(value, choices)}")


def check_array(name: str, value: Any, *, ndim: int | tuple[int, ...] | None = None) -> np.ndarray:
    """Return ``value`` as a finite real floating-point NumPy array.

    Integers and booleans are converted to float64 (exactly, or refused); float32 and float64 stay
    what they are. Masked, object, complex, text and other arrays are refused: each has a reading
    that would silently change the numbers.

    Raises
    ------
    InputError
        Naming the argument, what was given, and what would do.
    """
    if _has_mask(value):
        raise InputError(
            f"{name} is a masked array, or holds one, whose mask would be ignored. Drop the masked "
            f"rows, or fill them in ({name}.filled(value)), and pass a plain array."
        )
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} cannot be read as an array of numbers: {error}.") from None
    if array.dtype.kind in "iub":
        if array.dtype.kind in "iu" and array.size:
            largest = max(abs(int(array.max())), abs(int(array.min())))
            if largest > _LARGEST_EXACT_INTEGER:
                raise InputError(
                    f"{name} holds the integer {largest}, which float64 cannot represent "
                    "exactly. Rescale it and pass floats."
                )
        array = array.astype(np.float64)
    if array.dtype not in (np.float32, np.float64):
        remedy = {
            "c": f"Pass {name}.real, or split it into real and imaginary parts",
            "O": "Its rows may have different lengths; pass numbers only",
            "f": f"Pass {name}.astype(numpy.float64)",
        }.get(array.dtype.kind, "Pass an array of numbers")
        raise InputError(
            f"{name} has dtype {array.dtype}, where float64 or float32 is needed. {remedy}."
        )
    if ndim is not None:
        allowed = (ndim,) if isinstance(ndim, int) else ndim
        if array.ndim not in allowed:
            wanted = " or ".join(str(n) for n in allowed)
            raise InputError(
                f"{name} has shape {array.shape}, that is {array.ndim} dimensions, where {wanted} "
                "would do."
            )
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(
            f"{name} holds {array[where]} at index {where}. Remove or replace values that are not "
            "finite."
        )
    return array


def _has_mask(value: Any) -> bool:
    """Whether a value is a masked array, or a nested list that holds one."""
    if isinstance(value, (list, tuple)):
        return any(_has_mask(part) for part in value)
    return isinstance(value, np.ma.MaskedArray)


def check_real(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
) -> float:
    """Return ``value`` as a finite float within the bounds given."""
    bounds = [
        f"above {above:g}" if above is not None else "",
        f"at least {at_least:g}" if at_least is not None else "",
        f"below {below:g}" if below is not None else "",
    ]
    wanted = " and ".join(bound for bound in bounds if bound)
    wanted = f"a finite number {wanted}".rstrip()
    if isinstance(value, (bool, str)) or value is None:
        raise InputError(f"{name} is {value!r}, where {wanted} is needed.")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} is {value!r}, where {wanted} is needed.") from None
    if (
        not math.isfinite(number)
        or (above is not None and not number > above)
        or (at_least is not None and not number >= at_least)
        or (below is not None and not number < below)
    ):
        raise InputError(f"{name} is {value!r}, where {wanted} is needed.")
    return number


def check_count(name: str, value: Any, *, at_least: int = 1) -> int:
    """Return ``value`` as an int no smaller than ``at_least``."""
    number = float(value) if isinstance(value, numbers.Real) else math.nan
    if isinstance(value, bool) or not number.is_integer() or number < at_least:
        raise InputError(
            f"{name} is {value!r}, where a whole number of at least {at_least} is needed."
        )
    return int(number)


def check_times(ts: Any, t0: float, t1: float) -> np.ndarray:
    """Return save times as a float64 array, strictly increasing within [t0, t1]."""
    array = check_array("ts", ts, ndim=1).astype(np.float64)
    if array.size == 0:
        raise InputError("ts is empty. Pass at least one time, or None to record every step.")
    steps = np.diff(array)
    if (steps <= 0).any():
        first = int(np.argmax(steps <= 0))
        raise InputError(
            f"ts is not strictly increasing: ts[{first}] = {array[first]:g} is followed by "
            f"{array[first + 1]:g}. Pass numpy.unique(ts)."
        )
    if array[0] < t0 or array[-1] > t1:
        raise InputError(
            f"ts runs from {array[0]:g} to {array[-1]:g}, outside [t0, t1] = [{t0:g}, {t1:g}]. "
            "Clip ts, or move t0 or t1."
        )
    return array


def known_keywords(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Answer a misspelt keyword with the name of the nearest one."""
    called = function.__qualname__.split("<locals>.")[-1].removesuffix(".__init__")
    names = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name != "self"
    ]

    @functools.wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        for key in kwargs:
            if key not in names:
                raise UnknownKeywordError(
                    f"{called}() has no argument {key!r}.{nearest(key, names)} "
                    f"Its arguments are {', '.join(names)}."
                )
        return function(*args, **kwargs)

    return checked
