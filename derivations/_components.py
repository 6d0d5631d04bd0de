"""What the pages on tensor factorisations share: components of vectors that each enter once.

A component is a tensor T = sigma C, with sigma = |w_1| ... |w_K|, that is linear in each of its K
vectors: T = M_j w_j, where M_j does not depend on w_j.  The law follows from that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sympy import (
    Add,
    Expr,
    Identity,
    Integer,
    MatMul,
    MatrixSymbol,
    Mul,
    Sum,
    Symbol,
    Transpose,
    ZeroMatrix,
    diff,
)

from flowsim.symbolic.certify import Derivation
from flowsim.symbolic.differential import (
    Differential,
    LossGradient,
    Velocity,
    differential,
    product_rule,
    read_gradient,
)
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.tensors import COMPONENT, FORCE, INDEX, NORMS

of = MatrixPolynomial.of

#: The end-to-end tensor has S entries; G is the gradient there, T a component, E the whole.
SIZE = Symbol("S", integer=True, positive=True)
G, T, REST = MatrixSymbol("G", SIZE, 1), MatrixSymbol("T", SIZE, 1), MatrixSymbol("E", SIZE, 1)


def enters_once(
    page: Derivation,
    tensor: Callable[[dict[str, np.ndarray]], np.ndarray],
    factors: dict[str, np.ndarray],
    vectors: Sequence[tuple[str, tuple[object, ...]]],
    what: str,
) -> None:
    """Check that a component is linear in each of its vectors, and the same seen from each.

    Parameters
    ----------
    page
        Where the line is entered.
    tensor
        The end-to-end tensor of factors by name.
    factors
        Matrices of symbols.
    vectors
        The vectors of the component: name of the factor, and which entries of it.
    what
        The component, in words.
    """
    whole = tensor(factors)
    probe = np.array([Symbol(f"g_{i}") for i in range(whole.size)]).reshape(whole.shape)
    # The component: what vanishes with its first vector.
    name, where = vectors[0]
    without = {k: A.copy() for k, A in factors.items()}
    without[name][where] = Integer(0)
    component = whole - tensor(without)
    value, felt = (probe * whole).sum(), (probe * component).sum()
    once, twice = {}, {}
    for k, (name, where) in enumerate(vectors):
        entries = np.ravel(factors[name][where])
        seen = Add(*(x * diff(value, x) for x in entries))
        once[Integer(k)] = seen - felt
        twice[Integer(k)] = Add(*(x * diff(seen, x) for x in entries)) - felt
    page.step(
        Symbol("<w, d/dw> <G, W> - <G, T>"),
        Integer(0),
        f"{what}: seen from each of its {len(vectors)} vectors it is the same tensor T,",
        derived=once,
        index=INDEX,
    )
    page.step(
        Symbol("<w, d/dw>^2 <G, W> - <G, T>"),
        Integer(0),
        "and linear in each of them (Euler's identity, twice).",
        derived=twice,
        index=INDEX,
    )


def component_law(page: Derivation, N: Symbol) -> Expr:
    """Derive the rate of the norm of a component of N vectors, from any start.

    Returns
    -------
    sympy.Expr
        In the norms of the vectors and the force.
    """
    flow, squares = {}, {}
    for j in ("i", "j"):
        D = Symbol(f"D_{j}", integer=True, positive=True)
        w, M = MatrixSymbol(f"w_{j}", D, 1), MatrixSymbol(f"M_{j}", SIZE, D)
        # The end-to-end tensor is M_j w_j plus what does not depend on w_j.
        whole = of(M) @ of(w) + of(REST)
        slope = read_gradient(differential(whole, {w: of(Differential(w))}.get), w, G)
        page.step(
            LossGradient(w), MatMul(Transpose(M), G), f"Chain rule, dW = M_{j} dw_{j}.",
            derived=slope,
        )  # fmt: skip
        flow[w] = -slope
        component = Rule.of(MatMul(M, w), T)
        flip = Rule.of(MatMul(Transpose(G), T), MatMul(Transpose(T), G))
        squares[w] = rewrite_fully(
            product_rule([of(w).T, of(w)], [flow[w].T, flow[w]]),
            [component, Rule.of(MatMul(Transpose(w), Transpose(M)), Transpose(T)), flip],
        )
        page.step(
            Velocity(MatMul(Transpose(w), w)),
            MatMul(-2, Transpose(T), G),
            f"Along the flow; T = M_{j} w_{j} is the component, whichever vector is looked at.",
            derived=squares[w],
        )
    first, second = squares.values()
    page.step(
        Symbol("d(|w_i|^2 - |w_j|^2)/dt"),
        ZeroMatrix(1, 1),
        "The differences of the squared norms are conserved.",
        derived=first - second,
    )
    # <T, G> = -sigma gamma: T = sigma C, and gamma = <-G, C>.
    force = Rule.of(MatMul(Transpose(T), G), MatMul(-COMPONENT * FORCE, Identity(1)))
    (growth,) = rewrite_fully(first, [force]).terms.values()
    page.step(
        Symbol("d|w_j|^2/dt"),
        2 * COMPONENT * FORCE,
        "T = sigma C and gamma = -<G, C>.",
        derived=growth,
    )
    a = NORMS[INDEX]
    speed = growth / (2 * a)
    page.step(
        Symbol("da[n]/dt"), COMPONENT * FORCE / a, "(a^2)' = 2 a a', for a norm a[n].",
        derived=speed,
    )  # fmt: skip
    logarithmic_product(page)
    # sigma'/sigma = sum a'/a, and what does not depend on n goes before the sum.
    outer, inner = (speed / a).as_independent(INDEX, as_Add=False)
    rate = COMPONENT * outer * Sum(inner, (INDEX, 1, N))
    page.step(
        Symbol("dsigma/dt"),
        FORCE * COMPONENT**2 * Sum(a**-2, (INDEX, 1, N)),
        "The velocities of the norms, put in.",
        derived=rate,
    )
    return rate


def logarithmic_product(page: Derivation) -> None:
    """Prove (a_1 ... a_N)' = a_1 ... a_N (a_1'/a_1 + ... + a_N'/a_N), by induction on N."""
    p, s, a, b = (Symbol(x, positive=True) for x in ("p", "S", "a", "a'"))
    page.step(
        Symbol("(a_1)'"), a * (b / a), "Logarithmic derivative of a product: one factor.",
        derived=b,
    )  # fmt: skip
    # The product of the first N is p, with p' = p s.
    page.step(
        Symbol("(p a)'"),
        p * a * (s + b / a),
        "One factor more: p' = p S by the claim.",
        derived=Add(Mul(p, s, a), Mul(p, b)),
    )


def balanced(rate: Expr, N: Symbol) -> Expr:
    """Put equal norms a[n] = sigma^(1/N) into the rate."""
    return rate.xreplace({NORMS[INDEX]: COMPONENT ** (1 / N)}).doit()
