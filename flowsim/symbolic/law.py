r"""A derived law of motion: what was found, what it presumes, what it conserves, and how.

Every object here is immutable and holds SymPy expressions only.  Flow time has the unit eta = 1;
the step size eta appears in :attr:`EndToEnd.descent_rule` alone.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportReturnType=false
from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from sympy import Basic, Expr, Integer, MatrixExpr, MatrixSymbol, Symbol, exp

from flowsim._errors import InputError
from flowsim.symbolic import pages, printing
from flowsim.symbolic.certify import Line, Step
from flowsim.symbolic.preconditioner import Preconditioner

__all__ = ["FORMS", "ConservedQuantity", "EndToEnd", "Hypothesis"]

#: The forms of a law that can be asked for by name.
FORMS = ("rhs", "single_output", "balanced", "general", "factor_flow", "descent_rule")

_LONGEST_UNROLLED = 4


@dataclass(frozen=True)
class ConservedQuantity:
    r"""A matrix D(t) with :math:`D' = \mathrm{rate} \cdot D` along every trajectory.

    Attributes
    ----------
    name : str
        What it is called.
    expression : sympy.MatrixExpr
        D, in the layer index.
    rate : sympy.Expr
        :math:`-2\lambda`; 0 where nothing decays, and D is conserved.
    index : sympy.Symbol
        The layer index, from 1 to N - 1.
    depth : sympy.Expr
        N.
    """

    name: str
    expression: MatrixExpr
    rate: Expr
    index: Symbol
    depth: Expr

    @property
    def decay(self) -> Expr:
        r"""The factor D(t)/D(0) as a function of time: :math:`e^{-2 \lambda t}`."""
        return exp(self.rate * Symbol("t", real=True))

    def instances(self) -> tuple[MatrixExpr, ...]:
        """Return the quantities of all layers, j = 1, ..., N - 1.

        Raises
        ------
        flowsim._errors.InputError
            If the depth is a symbol.
        """
        if not isinstance(self.depth, Integer):
            raise InputError(
                f"the depth is the symbol {self.depth}: take law.at(3).conserved, for instance"
            )
        return tuple(self.expression.subs(self.index, j) for j in range(1, int(self.depth)))


@dataclass(frozen=True)
class Hypothesis:
    """What a law presumes, as something that can be checked on a start.

    Attributes
    ----------
    name : str
        ``"balanced"`` or ``"single output"``.
    statement_latex, statement_text : str
        The hypothesis, typeset and plain.
    expressions : tuple of sympy.Basic
        What must vanish; matrices are in the layer index of the law.
    needed_for : tuple of str
        The forms of the law that need it.
    law : EndToEnd or None
        The law that presumes it; set when the hypothesis is read off a law.
    """

    name: str
    statement_latex: str
    statement_text: str
    expressions: tuple[Basic, ...]
    needed_for: tuple[str, ...]
    law: EndToEnd | None = field(default=None, repr=False, compare=False)

    def check(self, theta: object) -> Any:
        r"""Check the hypothesis on factors.

        Parameters
        ----------
        theta : tuple of arrays
            The factors :math:`W_1, \dots, W_N`, W_j of shape (n_j, n_{j-1}).

        Returns
        -------
        object
            What :func:`flowsim.lowering.hypotheses.check` says: the defect, and whether it passes.
        """
        if self.law is None:
            raise InputError("this hypothesis belongs to no law: take it from law.hypotheses")
        from flowsim.lowering.hypotheses import check

        return check(self, self.law, theta)

    def __str__(self) -> str:
        return f"{self.name}: {self.statement_text}"


@dataclass(frozen=True)
class EndToEnd:
    r"""The law of motion of the end-to-end matrix :math:`W = W_N \cdots W_1` under gradient flow.

    Attributes
    ----------
    parent : object
        The parametrization that it was derived from.
    depth : sympy.Expr
        N, an integer or a symbol.
    weight_decay : sympy.Expr
        :math:`\lambda`, of the regulariser :math:`\frac\lambda2 \sum_j \|W_j\|_F^2`.
    index : sympy.Symbol
        The layer index j.
    W, G : sympy.MatrixSymbol
        The end-to-end matrix and :math:`\nabla L(W)`, of shape :math:`n_N \times n_0`.
    factor_flow : sympy.MatrixExpr
        :math:`\dot W_j = -W_{N:j+1}^\top G W_{j-1:1}^\top - \lambda W_j`.
    general : sympy.MatrixExpr
        :math:`\dot W` for any start; not closed in W.
    balanced : sympy.MatrixExpr
        :math:`\dot W` from a balanced start, in powers of :math:`W W^\top` and :math:`W^\top W`.
    single_output : sympy.MatrixExpr
        The balanced law where :math:`n_N = 1`.  Valid only then.
    descent_rule : sympy.MatrixExpr
        One step of descent on W with step size eta: Euler's method on ``rhs``.
    preconditioner : Preconditioner
        The balanced law as :math:`\operatorname{vec}\dot W = -P_W \operatorname{vec} G`.
    conserved : tuple of ConservedQuantity
        Empty where N = 1.
    steps : tuple of Step
        The derivation; each step was certified when it was entered.
    outputs : int or None
        The number of outputs where it is known.
    general_sum, balanced_sum : sympy.MatrixExpr
        The same laws as a sum over the layers, also where N is a number.
    """

    parent: Any
    depth: Expr
    weight_decay: Expr
    index: Symbol
    W: MatrixSymbol
    G: MatrixSymbol
    factor_flow: MatrixExpr
    general: MatrixExpr
    balanced: MatrixExpr
    single_output: MatrixExpr
    descent_rule: MatrixExpr
    preconditioner: Preconditioner
    conserved: tuple[ConservedQuantity, ...]
    steps: tuple[Step, ...]
    outputs: int | None
    general_sum: MatrixExpr
    balanced_sum: MatrixExpr
    _hypotheses: tuple[Hypothesis, ...] = field(repr=False)

    @property
    def rhs(self) -> MatrixExpr:
        """The law in its simplest valid form: with one output if there is one, else balanced."""
        return self.single_output if self.outputs == 1 else self.balanced

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """What ``rhs`` presumes, each with a method ``check(theta)``; empty where N = 1."""
        return tuple(replace(h, law=self) for h in self._hypotheses)

    def at(self, N: int) -> EndToEnd:
        """Return the law of a number of layers, from a law of symbolic depth.

        It is derived anew at that depth, and certified to be what this law becomes.

        Parameters
        ----------
        N : int
            The number of layers, at least 1.
        """
        from flowsim.symbolic.deep_linear import specialise

        return specialise(self, N)

    def latex(self, form: str = "rhs") -> str:
        r"""Return the law as LaTeX, :math:`\dot W = \dots`.

        Parameters
        ----------
        form : {"rhs", "single_output", "balanced", "general", "factor_flow", "descent_rule"}
            Which form.  For more than four layers the sum over layers is kept as a sum.
        """
        self._known(form)
        vectors = self.outputs == 1 or form == "single_output"
        w = "w" if vectors else "W"
        left = {
            "factor_flow": rf"\dot{{W}}_{{{1 if self.depth == 1 else self.index}}}",
            "descent_rule": f"{w}^{{+}}",
        }.get(form, rf"\dot{{{w}}}")
        return f"{left} = {printing.latex(self._shown(form), vectors=vectors)}"

    def text(self, form: str = "rhs") -> str:
        """Return the law as one line of plain text; forms as for :meth:`latex`."""
        self._known(form)
        layer = 1 if self.depth == 1 else self.index
        left = {"factor_flow": f"dW_{layer}/dt", "descent_rule": "W+"}.get(form, "dW/dt")
        return f"{left} = {printing.text(self._shown(form))}"

    def rows(self, form: str = "rhs") -> tuple[Line, ...]:
        """Return the law in both notations, one line; forms as for :meth:`latex`."""
        return (Line(self.text(form), self.latex(form)),)

    def _repr_latex_(self) -> str:
        return pages.latex_page(self)

    def __str__(self) -> str:
        return pages.text_page(self)

    def lower(self, loss: object, *, backend: str = "jax", strategy: str = "auto") -> Any:
        """Turn the law into a numeric vector field for a loss.

        Parameters
        ----------
        loss : callable
            A loss on the end-to-end value.
        backend : {"jax", "numpy"}
            Where it is evaluated.
        strategy : {"auto", "factors", "spectral"}
            How it is evaluated.

        Returns
        -------
        object
            The field of :func:`flowsim.lowering.lower_law`.
        """
        from flowsim.lowering import lower_law

        return lower_law(self, loss, backend=backend, strategy=strategy)

    def _known(self, form: str) -> None:
        if form not in FORMS:
            raise InputError(f"form must be one of {', '.join(FORMS)}; got {form!r}")

    def _shown(self, form: str) -> MatrixExpr:
        if form == "rhs":
            form = "single_output" if self.outputs == 1 else "balanced"
        long = isinstance(self.depth, Integer) and self.depth > _LONGEST_UNROLLED
        return getattr(self, f"{form}_sum" if long and form in ("general", "balanced") else form)
