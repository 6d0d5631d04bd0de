"""Names that laws use, and how factors are called instead where the two meet."""

# What is a property of the base is a field here.
# pyright: reportIncompatibleMethodOverride=false
# pyright: reportAssignmentType=false
from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from flowsim.problems import Parametrization
from flowsim.problems.parametrizations import Shape

__all__ = ["Renamed", "unreserved"]

#: The end-to-end value, its gradient, and the constants of its law.
_RESERVED = re.compile(r"w|W|G|normw|rho|(rho|mu|c|sigma)_\d+")


@dataclasses.dataclass(frozen=True)
class Renamed(Parametrization):
    """A parametrization whose factors have other names.

    Attributes
    ----------
    original
        The parametrization.
    """

    # The default stands in for the abstract property; unreserved always gives the names.
    original: Parametrization
    names: tuple[str, ...] = ()

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shapes of the factors."""
        return self.original.shapes

    @property
    def end_to_end_shape(self) -> Shape:
        """Shape of the end-to-end value."""
        return self.original.end_to_end_shape

    def __call__(self, factors: Sequence[Any]) -> Any:
        """The end-to-end value of the factors."""
        return self.original(factors)

    @property
    def notes(self) -> tuple[str, ...]:
        """Which factor is called how, a sentence each."""
        pairs = zip(self.original.names, self.names, strict=True)
        return tuple(
            f"the factor {old} is written {new}, for {old} stands for something else here"
            for old, new in pairs
            if old != new
        )


def unreserved(par: Parametrization) -> Parametrization:
    """The parametrization, its factors renamed where a law needs their names."""
    names: list[str] = []
    for name in par.names:
        new = name
        if _RESERVED.fullmatch(name):
            new = name.replace("_", "") + "f"
            while new in par.names or new in names:
                new += "f"
        names.append(new)
    return par if tuple(names) == tuple(par.names) else Renamed(par, tuple(names))
