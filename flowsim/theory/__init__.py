"""Published laws as records: what is stated, under which hypotheses, by whom, and where proved."""

from flowsim.theory.deep_linear import balanced_law, conservation
from flowsim.theory.records import Theorem

#: Every theorem of the book, in the order in which it is read.
THEOREMS: tuple[Theorem, ...] = (conservation, balanced_law)

__all__ = ["THEOREMS", "Theorem", "balanced_law", "conservation"]
