"""Published laws as records: what is stated, under which hypotheses, by whom, and where proved."""

from flowsim.theory import (
    closure,
    conservation_counts,
    diagonal,
    diagonal_riccati,
    diagonal_windows,
    factorization,
    mirror,
    mirror_potentials,
    modes,
    modified,
    no_regularizer,
    rates,
    riccati,
    scaled_vector,
    tensors,
    two_layer,
    weight_norm,
)
from flowsim.theory.closed_forms import closed_form, closed_form_reasons
from flowsim.theory.deep_linear import balanced_law, conservation
from flowsim.theory.records import Theorem

#: Every theorem of the book, in the order in which it is read.
THEOREMS: tuple[Theorem, ...] = (
    conservation,
    balanced_law,
    *conservation_counts.THEOREMS,
    *closure.THEOREMS,
    *no_regularizer.THEOREMS,
    *modified.THEOREMS,
    *modes.THEOREMS,
    *riccati.THEOREMS,
    *factorization.THEOREMS,
    *rates.THEOREMS,
    *mirror.THEOREMS,
    *scaled_vector.THEOREMS,
    *two_layer.THEOREMS,
    *diagonal.THEOREMS,
    *diagonal_riccati.THEOREMS,
    *mirror_potentials.THEOREMS,
    *diagonal_windows.THEOREMS,
    *weight_norm.THEOREMS,
    *tensors.THEOREMS,
)

__all__ = [
    "THEOREMS",
    "Theorem",
    "balanced_law",
    "closed_form",
    "closed_form_reasons",
    "conservation",
]
