r"""The law of any parametrization, from the loss and the chain rule, over whole arrays.

With :math:`w = \phi(\theta)`, :math:`G = \nabla L(w)` and J the derivative of :math:`\phi`, the
factors follow :math:`\dot\theta = -K (J^\top G + \lambda\theta)`, K being their rates, so that

.. math:: \dot w = -J K J^\top G - \lambda J K \theta .

It holds from any start, and speaks of the factors: whether it can be written in w alone is another
question (:mod:`flowsim.symbolic.closure`).
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from sympy import Expr, Poly, S, Symbol

from flowsim._errors import InputError
from flowsim.problems import Parametrization
from flowsim.symbolic.certify import CertificationError, Derivation, Line, Step
from flowsim.symbolic.indexed import (
    CHANGE,
    GRADIENT,
    SymbolicArray,
    Tensor,
    as_array,
    beside,
    constants_named_beside,
    differential,
    evaluate,
    gradient,
    inner_product,
    latex,
    subscripts,
    text,
)
from flowsim.symbolic.indexed.tensor import Term, exact, fresh, matched, product

if TYPE_CHECKING:
    from flowsim.symbolic.closure import Closure
    from flowsim.symbolic.conservation import ConservationLaws
    from flowsim.symbolic.mirror import MirrorVerdict

__all__ = ["PushforwardLaw", "pushforward_law", "slope_along"]

FORMS = ("rhs", "map", "factor_flow", "preconditioner")


@dataclass(frozen=True, eq=False)
class PushforwardLaw:
    r"""The law of motion of :math:`w = \phi(\theta)` when the factors follow the gradient.

    Attributes
    ----------
    parent
        The parametrization.
    weight_decay
        :math:`\lambda`.
    rates
        The rate of each factor by name, 1 where none was given.
    map
        :math:`\phi`.
    gradients
        :math:`\nabla_X L(\phi(\theta))` for each factor X, in the factors and G.
    factor_flow
        :math:`\dot X` for each factor.
    rhs
        :math:`\dot w`.
    preconditioner
        :math:`P = J K J^\top`, the axes of w first, then those of G: without decay
        :math:`\dot w = -P\,G`.
    steps
        The derivation; each line was certified when it was entered.
    """

    parent: Parametrization
    weight_decay: Expr
    rates: Mapping[str, Expr]
    map: Tensor
    gradients: Mapping[str, Tensor]
    factor_flow: Mapping[str, Tensor]
    rhs: Tensor
    preconditioner: Tensor
    steps: tuple[Step, ...]

    #: The law presumes nothing of the start.
    hypotheses = ()

    @cached_property
    def constants(self) -> dict[str, Any]:
        """The arrays of numbers that the map holds, by the names C1, C2, ... they are shown by."""
        return self.map.constants()

    @cached_property
    def conservation(self) -> ConservationLaws:
        """What the flow conserves, for every loss; searched for when first asked.

        Raises
        ------
        InputError
            If the weight decay or a rate is a symbol without a value.
        """
        from flowsim.symbolic.conservation import conservation_laws

        for number in (self.weight_decay, *self.rates.values()):
            if not number.is_number:
                raise InputError(
                    f"the law holds the symbol {number}; conserved quantities are searched for "
                    "with numbers. Under weight decay lambda one of degree k decays as "
                    "exp(-k lambda t): take conservation_laws(parametrization), whose laws know "
                    "their degree."
                )
        rates = {name: float(rate) for name, rate in self.rates.items() if rate != 1}
        return conservation_laws(self.parent, weight_decay=float(self.weight_decay), rates=rates)

    @property
    def conserved(self) -> tuple[Any, ...]:
        """The conserved quantities that were found."""
        return self.conservation.laws

    @cached_property
    def closure(self) -> Closure:
        """Whether the motion of w can be written in w alone; decided when first asked.

        Raises
        ------
        InputError
            If there is weight decay, or rates differ: it is decided without.
        """
        from flowsim.symbolic.closure import closure

        self._plain("closure")
        return closure(self.parent)

    @cached_property
    def mirror(self) -> MirrorVerdict:
        """Whether it is a mirror flow; decided when first asked.

        Raises
        ------
        InputError
            If there is weight decay, or rates differ: it is decided without.
        """
        from flowsim.symbolic.mirror import mirror

        self._plain("mirror")
        return mirror(self.parent)

    def meaning(self) -> str:
        """How P acts on the gradient, in words."""
        if len(self.map.axes) < 2:
            return "dw/dt = -P G"
        if subscripts(self.preconditioner):
            return "dw/dt = -P G, summed over the last half of the indices of P"
        return "vec(dw/dt) = -P vec(G), columns stacked"

    def _plain(self, what: str) -> None:
        if self.weight_decay != 0 or any(rate != 1 for rate in self.rates.values()):
            raise InputError(
                f"{what} is decided for gradient flow at rates 1 without weight decay; this law "
                "has others. Derive it without: derive(parametrization)."
            )

    def text(self, form: str = "rhs") -> str:
        """Return the law as plain text.

        Parameters
        ----------
        form : {"rhs", "map", "factor_flow", "preconditioner"}
            Which part of it; ``"factor_flow"`` has a line for each factor.
        """
        return "\n".join(row.plain for row in self.rows(form))

    def latex(self, form: str = "rhs") -> str:
        """Return the law as LaTeX; forms as for :meth:`text`."""
        return " \\\\\n".join(row.typeset for row in self.rows(form))

    def rows(self, form: str = "rhs") -> tuple[Line, ...]:
        """The equations of a part of the law, in both notations; forms as for :meth:`text`."""
        if form not in FORMS:
            raise InputError(f"form must be one of {', '.join(FORMS)}; got {form!r}")
        if form == "factor_flow":
            return tuple(_equation("velocity", n, flow) for n, flow in self.factor_flow.items())
        shown = {"rhs": self.rhs, "map": self.map, "preconditioner": self.preconditioner}[form]
        return (_equation(form, "w", shown),)

    def lower(self, loss: object, *, backend: str = "jax", strategy: str = "auto") -> Any:
        """Turn the law into a numeric vector field for a loss; its state is the factors.

        Parameters
        ----------
        loss
            A loss on the end-to-end value.
        backend : {"jax", "numpy"}
            Where it is evaluated.
        strategy : {"auto", "factors"}
            The law speaks of the factors, so that they are what is integrated.
        """
        from flowsim.lowering import lower_pushforward

        return lower_pushforward(self, loss, backend=backend, strategy=strategy)

    def _repr_latex_(self) -> str:
        rows = [*self.rows("map"), *self.rows("factor_flow"), *self.rows()]
        body = " \\\\[4pt]\n".join("& " + row.typeset for row in rows)
        return f"$$\\begin{{aligned}}\n{body}\n\\end{{aligned}}$$"

    def __str__(self) -> str:
        lines = [
            f"Law of {self.text('map')}, with G = grad L(w)",
            "",
            f"  {self.text()}",
            "",
            "from any start, the factors following",
            *(f"  {row.plain}" for row in self.rows("factor_flow")),
            "",
            f"that is, without decay, {self.meaning()}",
            f"  {self.text('preconditioner')}",
        ]
        lines += [f"  where {name} is an array {C.shape}" for name, C in self.constants.items()]
        lines += [f"  where {kink}" for kink in self.parent.kinks]
        return "\n".join(lines)


def pushforward_law(
    parametrization: Parametrization,
    *,
    weight_decay: Expr = S.Zero,
    rates: Mapping[str, Expr] | None = None,
) -> PushforwardLaw:
    """Derive the law of a parametrization; see :class:`PushforwardLaw`.

    Raises
    ------
    flowsim._errors.InputError
        If the map cannot be written with symbols.
    flowsim.symbolic.certify.CertificationError
        If a line of the derivation does not hold.
    """
    names = parametrization.names
    speed = dict.fromkeys(names, S.One) | {n: exact(rate) for n, rate in (rates or {}).items()}
    weight_decay = exact(weight_decay)
    X = {n: Tensor.variable(n, s) for n, s in zip(names, parametrization.shapes, strict=True)}
    phi = _on_symbols(parametrization, X)
    G = Tensor.variable(GRADIENT, phi.shape)
    proof = Derivation()
    check = _check_reading(parametrization, phi)
    proof.enter(_left("map", "w", phi), _side(phi), "The parametrization.", check=check)

    changes = {n: Tensor.variable(CHANGE + n, x.shape) for n, x in X.items()}
    dphi = differential(phi, changes)
    check = _check_differential(parametrization, X, changes, dphi)
    proof.enter(_left("change", "w", dphi), _side(dphi), "Product rule.", check=check)

    gradients = {n: gradient(phi, G, x) for n, x in X.items()}
    paired = [inner_product(gradients[n], changes[n]) for n in names]
    _same(inner_product(G, dphi), functools.reduce(operator.add, paired), "chain rule")
    for n in names:
        proof.enter(
            _left("gradient", n, gradients[n]),
            _side(gradients[n]),
            "Chain rule: dL = <G, dw> is the sum of the <dL/dX, dX>, for all dX.",
            check="the two sides of it, in normal form",
        )
    flow = {n: (-gradients[n] - X[n].scaled(weight_decay)).scaled(speed[n]) for n in names}
    for n in names:
        proof.enter(
            _left("velocity", n, flow[n]),
            _side(flow[n]),
            "Gradient flow" + (" of the loss with weight decay." if weight_decay != 0 else "."),
            check="the line above",
        )
    rhs = differential(phi, flow)
    jacobians = {n: beside(dphi, CHANGE + n) for n in names if CHANGE + n in dphi.variables()}
    P = _preconditioner(jacobians, speed, len(phi.axes))
    decayed = differential(phi, {n: X[n].scaled(-weight_decay * speed[n]) for n in names})
    _same(rhs, decayed - _applied(P, G), "pushforward")
    proof.enter(
        _left("rhs", "w", rhs),
        _side(rhs),
        "The product rule again, with the velocities of the factors for their differentials.",
        check="against -J K J^T G, J read off dw",
    )
    return PushforwardLaw(
        parent=parametrization,
        weight_decay=weight_decay,
        rates=speed,
        map=phi,
        gradients=gradients,
        factor_flow=flow,
        rhs=rhs,
        preconditioner=P,
        steps=tuple(proof.steps),
    )


def _on_symbols(parametrization: Parametrization, X: Mapping[str, Tensor]) -> Tensor:
    """The value of the map on symbolic factors."""
    try:
        with constants_named_beside(parametrization.names):
            value = as_array(parametrization([SymbolicArray(x) for x in X.values()]))
    except InputError:
        raise
    except Exception as error:  # whatever the user's function raises is the complaint shown
        complaint = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"the map cannot be written with symbols: {type(error).__name__}: {complaint}. Write "
            "it with @ * / ** + -, .T and the functions of flowsim.functions."
        ) from error
    return value.tensor


def _preconditioner(jacobians: Mapping[str, Tensor], speed: Mapping[str, Expr], k: int) -> Tensor:
    """The sum of J K J^T over the factors, the axes of w and then those of G."""
    total: Tensor | None = None
    for name, J in jacobians.items():
        axes, left = J.opened()
        copy = tuple(tuple(fresh(i.size) for i in axis) for axis in axes[:k])
        right = J.placed((*copy, *axes[k:]))
        summed = frozenset(i for axis in axes[k:] for i in axis)
        pairs = [
            (c * speed[name], Term(t.factors, t.sums | summed)) for c, t in product(left, right)
        ]
        part = Tensor((*axes[:k], *copy), pairs)
        total = part if total is None else total + part
    if total is None:
        raise InputError("the map does not depend on its factors.")
    return total


def _applied(P: Tensor, G: Tensor) -> Tensor:
    """P G."""
    k = len(P.axes) // 2
    axes, terms = P.opened()
    placed = G.opened()
    substitution = matched(placed[0], axes[k:])
    moved = [(c, t.moved(substitution)) for c, t in placed[1]]
    summed = frozenset(i for axis in axes[k:] for i in axis)
    pairs = [(c, Term(t.factors, t.sums | summed)) for c, t in product(terms, moved)]
    return Tensor(axes[:k], pairs)


def _check_reading(parametrization: Parametrization, phi: Tensor) -> str:
    """Compare what the function makes of symbols with what it makes of numbers.

    Raises
    ------
    InputError
        If the two differ: the function is not one formula.
    """
    point = _point(parametrization)
    with np.errstate(all="ignore"):
        given = np.asarray(parametrization(list(point.values())), float)
        read = evaluate(phi, point)
    if given.shape != read.shape or not np.allclose(given, read, rtol=1e-8, equal_nan=True):
        raise InputError(
            "f gives other values on numbers than on symbols: it is not one formula of its "
            "factors. It must not look at types or values, draw random numbers, or keep a state."
        )
    return "its function on symbols, and on numbers at a random point"


def _check_differential(
    parametrization: Parametrization,
    X: Mapping[str, Tensor],
    changes: Mapping[str, Tensor],
    dphi: Tensor,
) -> str:
    """Compare the differential with the map at factors moved, one at a time, by epsilon."""
    e = Symbol("epsilon")
    total = Tensor(dphi.axes, [])
    for name, change in changes.items():
        # One at a time: moved together, N factors in a product would make 2^N terms.
        value = _on_symbols(parametrization, {**X, name: X[name] + change.scaled(e)})
        if not all(_is_polynomial(term) for term in value.terms):
            return _check_by_differences(parametrization, dphi)
        linear = [(Poly(c, e).coeff_monomial(e), t) for t, c in value.terms.items()]
        total = total + Tensor(value.axes, linear)
    _same(total, dphi, "differential")
    return "the map with its factors moved, one at a time, to first order"


def _check_by_differences(parametrization: Parametrization, dphi: Tensor) -> str:
    """Compare the differential with central differences of the map at a random point."""
    point, rng = _point(parametrization), np.random.default_rng(7)
    along = {name: rng.normal(size=x.shape) for name, x in point.items()}
    with np.errstate(all="ignore"):
        slope = slope_along(parametrization, list(point.values()), list(along.values()))
        read = evaluate(dphi, point | {CHANGE + name: d for name, d in along.items()})
    size = float(np.max(np.abs(slope), initial=0.0))
    if np.isfinite(slope).all() and not np.abs(slope - read).max(initial=0.0) <= 1e-6 * size + 1e-9:
        raise CertificationError.of_texts(
            "differential", text(dphi), "central differences", f"{np.abs(slope - read).max():.3g}"
        )
    return "central differences at a random point"


def slope_along(
    parametrization: Parametrization, theta: Sequence[np.ndarray], along: Sequence[np.ndarray]
) -> np.ndarray:
    """The derivative of the map along a direction, by central differences of fourth order."""
    size = max(float(np.max(np.abs(d), initial=0.0)) for d in along) or 1.0
    step = 1e-3 / size

    def at(s: float) -> np.ndarray:
        moved = [x + s * step * d for x, d in zip(theta, along, strict=True)]
        return np.asarray(parametrization(moved), float)

    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)


def _point(parametrization: Parametrization) -> dict[str, np.ndarray]:
    """Random factors, positive: roots and logarithms are real there."""
    rng = np.random.default_rng(5)
    shapes = zip(parametrization.names, parametrization.shapes, strict=True)
    return {name: rng.uniform(0.5, 1.5, size=shape) for name, shape in shapes}


def _is_polynomial(term: Term) -> bool:
    return all(f.power.is_integer and f.power.is_positive for f in term.factors) and not any(
        hasattr(f.atom, "inner") for f in term.factors
    )


def _same(stated: Tensor, derived: Tensor, name: str) -> None:
    residual = stated - derived
    if not residual.is_zero:
        raise CertificationError.of_texts(name, text(stated), text(derived), text(residual))


def _side(tensor: Tensor) -> Line:
    return Line(text(tensor), latex(tensor))


def _equation(kind: str, name: str, tensor: Tensor) -> Line:
    left, right = _left(kind, name, tensor), _side(tensor)
    return Line(f"{left.plain} = {right.plain}", f"{left.typeset} = {right.typeset}")


def _left(kind: str, name: str, tensor: Tensor) -> Line:
    indices = subscripts(tensor)
    return Line(_plain(kind, name, indices), _typeset(kind, name, indices))


def _name(name: str) -> str:
    return latex(Tensor.variable(name, ()))


def _plain(kind: str, name: str, indices: str) -> str:
    at = f"[{indices}]" if indices else ""
    return {
        "rhs": f"dw{at}/dt",
        "map": f"w{at}",
        "change": f"dw{at}",
        "gradient": f"dL/d{name}{at}",
        "velocity": f"d{name}{at}/dt",
        "preconditioner": f"P{at}",
    }[kind]


def _typeset(kind: str, name: str, indices: str) -> str:
    head, underscore, index = _name(name).partition("_")
    shown = {
        "rhs": r"\dot{w}",
        "map": "w",
        "change": r"\mathrm{d} w",
        "gradient": rf"\nabla_{{{_name(name)}}} L",
        "velocity": rf"\dot{{{head}}}{underscore}{index}",
        "preconditioner": "P",
    }[kind]
    if not indices:
        return shown
    return f"{shown}_{{{indices}}}" if shown in ("w", "P") else f"({shown})_{{{indices}}}"
