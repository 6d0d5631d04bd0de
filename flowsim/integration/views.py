"""Runs of a state with something beside it: stops and projections that see the state alone.

A field on such a whole, a clock's or an energy field, has ``field``, the field of the state, and
``plain(t, whole)``, flow time and state.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx

from flowsim._types import PyTree
from flowsim.integration.stops import Verdict


class PlainStop(eqx.Module):
    """A stop on flow time and state, asked of a whole."""

    stop: Any
    whole: Any

    def fires(self, t: Any, y: PyTree, velocity: PyTree) -> Any:
        """Whether the stop fires; the whole's velocity is not the state's."""
        del velocity
        t, state = self.whole.plain(t, y)
        return self.stop.fires(t, state, self.whole.field(t, state, None))

    def confirm(self, field: Any, t: Any, y: PyTree) -> Verdict:
        """What the stop says, with a stop on the whole to go on with."""
        t, state = self.whole.plain(t, y)
        verdict = self.stop.confirm(field.field, float(t), state)
        return verdict._replace(stop=PlainStop(verdict.stop, self.whole))


class PlainRate(eqx.Module):
    """A function of flow time and state, as one of flow time and a whole."""

    function: Any
    whole: Any

    def __call__(self, t: Any, y: PyTree) -> Any:
        """The function of the state."""
        return self.function(*self.whole.plain(t, y))
