r"""Gradient flow of a product of matrices: from the loss and the chain rule to the law of W.

The loss is :math:`L(W_N \cdots W_1) + \frac\lambda2 \sum_j \|W_j\|_F^2`, and every factor follows
its negative gradient.  The derivation below is the same for a number N and for a symbol N; where
N is a number, sums are unrolled, the map is the one that the parametrization computes, and balance
is used by rewriting rather than by induction.

References
----------
S. Arora, N. Cohen, E. Hazan, On the optimization of deep networks: implicit acceleration by
overparameterization, ICML 2018, arXiv:1802.06509.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportIndexIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sympy import (
    Basic,
    Expr,
    Float,
    Integer,
    MatAdd,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    Symbol,
)

from flowsim._errors import InputError
from flowsim.symbolic.balance import (
    end_to_end_root,
    gram,
    input_gram_power,
    is_rewritten,
    output_gram_power,
)
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.chains import (
    layer_differential,
    prove_chain_differential,
    variation,
)
from flowsim.symbolic.differential import (
    Differential,
    LossGradient,
    Velocity,
    differential,
    read_gradient,
)
from flowsim.symbolic.law import ConservedQuantity, EndToEnd, Hypothesis
from flowsim.symbolic.nodes import Chain, Layer, MatrixSum, PSDPower
from flowsim.symbolic.preconditioner import Preconditioner, precondition, sigma
from flowsim.symbolic.rewriting import Rule, rewrite
from flowsim.symbolic.single_output import row_form, single_output_flow
from flowsim.symbolic.statements import (
    Setting,
    balanced_sum,
    general_sum,
    is_decay,
    partial_gram,
    product_of,
    scaled,
    whole_gram,
    with_decay,
)
from flowsim.symbolic.words import MatrixPolynomial

__all__ = ["deep_linear_law", "specialise", "with_decimal_decay"]

#: The step size of descent.
ETA = Symbol("eta", positive=True)

_EXPRESSIONS = (
    "factor_flow",
    "general",
    "balanced",
    "single_output",
    "descent_rule",
    "general_sum",
    "balanced_sum",
)


def deep_linear_law(
    parent: object, depth: Expr, decay: Expr, product: MatrixExpr, outputs: int | None
) -> EndToEnd:
    r"""Derive the law of motion of :math:`W = W_N \cdots W_1`.

    Parameters
    ----------
    parent : object
        The parametrization, kept with the law.
    depth : sympy.Expr
        N, a positive integer or a symbol for one.
    decay : sympy.Expr
        :math:`\lambda`.
    product : sympy.MatrixExpr
        What the parametrization makes of ``Layer(1), ..., Layer(N)``.
    outputs : int or None
        :math:`n_N` where it is known.

    Returns
    -------
    EndToEnd
        The law with its derivation.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If the parametrization is not the product of its factors.
    """
    index = Symbol("i" if str(depth) == "j" else "j", integer=True, positive=True)
    at = Setting(depth, decay, index)
    proof = Derivation()
    _factors(at, proof, product)
    conserved = _conserved(at, proof)
    general = _general(at, proof)
    balanced = _balanced(at, proof, general)
    single = _single_output(at, proof, balanced)
    P = precondition(balanced, at.W, at.G, at.N, at.j)
    _spectrum(at, proof, P)
    rhs = single if outputs == 1 else balanced.expr(at.j)
    return EndToEnd(
        parent=parent,
        depth=depth,
        weight_decay=decay,
        index=at.j,
        W=at.W,
        G=at.G,
        factor_flow=at.factor_flow(Integer(1) if depth == 1 else at.j),
        general=general.expr(at.j),
        balanced=balanced.expr(at.j),
        single_output=single,
        descent_rule=_descent(at, proof, rhs),
        preconditioner=P,
        conserved=conserved,
        steps=tuple(proof.steps),
        outputs=outputs,
        general_sum=general_sum(at),
        balanced_sum=balanced_sum(at),
        _hypotheses=_hypotheses(at, conserved, outputs),
    )


def specialise(law: EndToEnd, N: int) -> EndToEnd:
    """Derive the law of N layers anew, and certify that it is a law of symbolic depth at N.

    Parameters
    ----------
    law : EndToEnd
        Of symbolic depth.
    N : int
        The number of layers.

    Raises
    ------
    flowsim._errors.InputError
        If the depth of the law is a number already and not N, or N is not a positive integer.
    """
    if isinstance(N, bool) or not isinstance(N, int | Integer) or N < 1:
        raise InputError(f"N must be an integer >= 1, the number of layers; got {N!r}")
    if law.depth == N:
        return law
    if isinstance(law.depth, Integer):
        raise InputError(f"this law has {law.depth} layers; derive one of symbolic depth for .at")
    if isinstance(law.weight_decay, Float):
        return with_decimal_decay(lambda decay: specialise(_again(law, decay), N), law.weight_decay)
    depth = Integer(N)
    special = deep_linear_law(law.parent, depth, law.weight_decay, Chain(depth, 1), law.outputs)
    for form in ("general", "balanced"):
        symbolic = MatrixPolynomial.of(getattr(law, form)).subs(law.depth, depth)
        certify(symbolic, getattr(special, form), name=f"{form} law at N = {N}")
    return special


def with_decimal_decay(make: Callable[[Symbol], EndToEnd], number: Float) -> EndToEnd:
    """Derive with a symbol for the decay, and put the decimal number in at the end.

    Equality is decided exactly, and sums of decimal numbers are not exact.

    Parameters
    ----------
    make : callable
        Derives the law for a given decay.
    number : sympy.Float
        The decay.
    """
    symbol = Symbol("lambda", nonnegative=True)
    law = make(symbol)

    def put(expr: Basic) -> Basic:
        return expr.subs(symbol, number)

    return replace(
        law,
        weight_decay=number,
        conserved=tuple(replace(q, rate=put(q.rate)) for q in law.conserved),
        steps=tuple(replace(s, lhs=put(s.lhs), rhs=put(s.rhs)) for s in law.steps),
        **{form: put(getattr(law, form)) for form in _EXPRESSIONS},
    )


def _again(law: EndToEnd, decay: Expr) -> EndToEnd:
    product = Chain(law.depth, 1)
    return deep_linear_law(law.parent, law.depth, decay, product, law.outputs)


# -- the derivation, line by line -----------------------------------------------------------


def _factors(at: Setting, proof: Derivation, product: MatrixExpr) -> None:
    """From the map to the flow of the factors."""
    N, j = at.N, at.j
    W = Chain(N, 1)
    proof.step(
        at.W,
        W,
        "The parametrization multiplies its factors, the first next to the input.",
        derived=product,
    )
    prove_chain_differential()
    stated = MatrixSum(
        product_of(Chain(N, j + 1), Differential(Layer(j)), Chain(j - 1, 1)), j, 1, N
    )
    found = differential(MatrixPolynomial.of(W), variation(layer_differential))
    proof.step(
        Differential(at.W),
        stated,
        "Product rule, by induction on the number of factors.",
        derived=found,
        check="induction and normal form",
    )
    gradients = {i: read_gradient(found, Layer(i), at.G) for i in at.layers}
    proof.step(
        LossGradient(Layer(j)),
        at.factor_gradient(j),
        "Chain rule: dL = <G, dW> is the sum of <dL/dW_j, dW_j>, for all dW_j.",
        derived=gradients,
        index=j,
        check="gradient read off the differential",
    )
    moved = -MatrixPolynomial.of(at.factor_gradient(j)) - MatrixPolynomial.of(Layer(j)) * at.decay
    proof.step(
        Velocity(Layer(j)),
        at.factor_flow(j),
        "Gradient flow of the loss with its regulariser.",
        derived=moved,
    )


def _conserved(at: Setting, proof: Derivation) -> tuple[ConservedQuantity, ...]:
    """W_{j+1}^T grad_{j+1} = grad_j W_j^T, hence the balance defect only decays."""
    if at.N == 1:
        return ()
    j, rate = at.j, -2 * at.decay
    D = at.defect(j)
    proof.step(
        Velocity(D),
        MatrixPolynomial(D.shape).expr() if rate == 0 else MatMul(rate, D),
        "Product rule along the flow: W_(j+1)^T dL/dW_(j+1) = dL/dW_j W_j^T, and only the decay "
        "is left; so a balanced start stays balanced.",
        derived=differential(MatrixPolynomial.of(D), variation(at.velocity)),
    )
    return (ConservedQuantity("balance of layers", D, rate, j, at.N),)


def _general(at: Setting, proof: Derivation) -> MatrixPolynomial:
    """Find the velocity of the product, with the product itself written W again."""
    whole = Chain(at.N, 1)
    moved = differential(MatrixPolynomial.of(whole), variation(at.velocity))
    moved = moved.substitute(lambda node: MatrixPolynomial.of(at.W) if node == whole else None)
    # Terms are kept in the order in which they come: let the decay of W come first, as it is
    # printed, and cancel where the engine found it.
    decayed = MatrixPolynomial.of(at.W) * (-at.N * at.decay)
    general = decayed + (moved - decayed)
    proof.step(
        Velocity(at.W),
        general_sum(at),
        "Product rule along the flow; the decay of each of the N factors decays W.",
        derived=general,
    )
    return general


def _balanced(at: Setting, proof: Derivation, general: MatrixPolynomial) -> MatrixPolynomial:
    """Partial products become powers."""
    N, j = at.N, at.j
    if N == 1:
        return general
    rules: list[Rule] = []
    for end in ("output", "input"):
        exponent = N - j if end == "output" else j - 1
        gram_power = output_gram_power if end == "output" else input_gram_power
        product, whole = partial_gram(at, end), whole_gram(at, end)
        root = end_to_end_root(N, end=end)
        powers = {i: gram_power(N, i) for i in at.layers}
        proof.step(
            product,
            PSDPower(gram(N, end=end), exponent),
            f"Balance moves every pair of factors to the {end}.",
            derived=powers,
            index=j,
            check="rewriting, at every layer" if is_rewritten(N) else "induction and rewriting",
        )
        rooted = PSDPower(whole, exponent / N)
        proof.step(
            product,
            rooted,
            "For all the layers the line above gives an N-th power, and positive semidefinite "
            "roots are unique.",
            derived={i: root(power) for i, power in powers.items()},
            index=j,
            check="N-th power and exponents",
        )
        if at.is_concrete:
            # The empty product is the identity already, and is no word to be rewritten.
            inner = [i for i in at.layers if i != (N if end == "output" else 1)]
            rules += [Rule.of(product.subs(j, i), rooted.subs(j, i)) for i in inner]
        else:
            rules.append(Rule.of(product, rooted, index=j))
    balanced = general
    for rule in rules:
        balanced = rewrite(balanced, rule)
    proof.step(
        Velocity(at.W),
        balanced_sum(at),
        "The two lines on partial products, put into the law for any start.",
        derived=balanced,
    )
    return balanced


def _single_output(at: Setting, proof: Derivation, balanced: MatrixPolynomial) -> MatrixExpr:
    if at.N == 1:
        return balanced.expr()
    flow = single_output_flow(at.W, at.G, at.N)
    single = with_decay(flow, at.N * at.decay, at.W, last=True)
    proof.step(
        Velocity(at.W),
        single,
        "With one output W W^T is the number ||W||^2, and W^T W = ||W||^2 P with a projection P, "
        "all whose powers are P.",
        derived=row_form(balanced, at.W, at.G, at.N),
    )
    return single


def _spectrum(at: Setting, proof: Derivation, P: Preconditioner) -> None:
    if at.N == 1:
        return
    r, q = Symbol("r", integer=True, positive=True), Symbol("q", integer=True, positive=True)
    plain = Symbol("sigma_r", positive=True), Symbol("sigma_q", positive=True)
    closed = P.eigenvalue(r, q)
    # precondition() has certified the closed form term by term; what is entered is that form.
    proof.step(
        P.eigenvalue(r, q, form="sum"),
        closed,
        "Eigenvalue of the preconditioner at vec(u_r v_q^T): a geometric sum.",
        derived=P.closed_form(*plain).subs({plain[0]: sigma[r], plain[1]: sigma[q]}),
        check="telescoping",
    )


def _descent(at: Setting, proof: Derivation, rhs: MatrixExpr) -> MatrixExpr:
    """One step of Euler's method, the two parts of it along W gathered."""
    euler = MatrixPolynomial.of(at.W) + MatrixPolynomial.of(rhs) * ETA
    terms = rhs.args if isinstance(rhs, MatAdd) else (rhs,)
    kept = at.W if at.decay == 0 else MatMul(1 - ETA * at.decay * at.N, at.W)
    stated = MatAdd(kept, *(scaled(ETA, t) for t in terms if not is_decay(t, at.W)))
    proof.step(
        MatrixSymbol("W+", *at.W.shape),
        stated,
        "Descent on the end-to-end parameter: Euler's method on the law, with step size eta.",
        derived=euler,
    )
    return stated


def _hypotheses(
    at: Setting, conserved: tuple[ConservedQuantity, ...], outputs: int | None
) -> tuple[Hypothesis, ...]:
    if at.N == 1:
        return ()
    j, N = at.j, at.N
    balanced = Hypothesis(
        name="balanced",
        statement_latex=(
            rf"W_{{{j}+1}}^{{\top}} W_{{{j}+1}} = W_{{{j}}} W_{{{j}}}^{{\top}},"
            rf" \quad 1 \le {j} < {N}"
        ),
        statement_text=f"W_({j}+1)^T*W_({j}+1) = W_{j}*W_{j}^T for 1 <= {j} < {N}",
        expressions=tuple(q.expression for q in conserved),
        needed_for=("rhs", "balanced", "single_output"),
    )
    row = Hypothesis(
        name="single output",
        statement_latex=rf"n_{{{N}}} = 1",
        statement_text=f"W is a single row, n_{N} = 1",
        expressions=(at.W.rows - 1,),
        needed_for=("rhs", "single_output") if outputs == 1 else ("single_output",),
    )
    return (balanced, row) if outputs == 1 else (balanced,)
