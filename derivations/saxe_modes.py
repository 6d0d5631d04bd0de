"""A deep linear network that starts in the singular bases of its target learns mode by mode.

The loss is L(W) = 1/2 tr (W - S) Sigma (W - S)^T, squared error for inputs of second moment Sigma,
and the factors of W = W_N ... W_1 follow its negative gradient.  A *mode* is a chain of unit
vectors r_0, r_1, ..., r_N, one for every layer of neurons, along which every layer acts by the same
number a, and along which the target acts by s and the inputs have the second moment ell:

    W_j r_{j-1} = a r_j,   W_j^T r_j = a r_{j-1},   S r_0 = s r_N,   S^T r_N = s r_0,
    Sigma r_0 = ell r_0.

Then the velocity of each layer takes r_{j-1} to a multiple of r_j as well, and the multiple is the
same for all layers: the vectors stay, a moves, and nothing that other modes do enters.  The
strength of the mode is u = r_N^T W r_0 = a^N, and

    u' = ell N u^(2 - 2/N) (s - u).

The power of u is what depth does: each layer is moved by the product of all the others, which is
small when u is small.  The factor N is there because all N layers move.
"""

from __future__ import annotations

from sympy import (
    Expr,
    Identity,
    Integer,
    MatAdd,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    Rational,
    Symbol,
    Transpose,
)
from sympy.printing.printer import Printer

from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.chains import layer_differential, variation
from flowsim.symbolic.differential import Differential, Velocity, differential, read_gradient
from flowsim.symbolic.nodes import (
    Chain,
    Layer,
    PSDPower,
    WholeMatrix,
    as_index,
    end_to_end,
    gradient,
    width,
)
from flowsim.symbolic.rewriting import Rule, rewrite, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory import Theorem
from flowsim.theory.modes import CURVATURE, STRENGTH, TARGET, saxe_modes

THEOREM = saxe_modes

of = MatrixPolynomial.of
N, j = Symbol("N", integer=True, positive=True), Symbol("j", integer=True, positive=True)
a, s, ell = Symbol("a", positive=True), TARGET, CURVATURE
W, G = end_to_end(N), gradient(N)
S = MatrixSymbol("S", width(N), width(0))
# A symmetric letter: the first power of a positive semidefinite matrix.
Sigma = PSDPower(MatrixSymbol("Sigma", width(0), width(0)), 1)


class ModeVector(WholeMatrix):
    """The unit vector r_j of the mode in the space of the j-th layer of neurons."""

    def __new__(cls, index: Expr | int) -> ModeVector:
        """Make the node; its argument is that of the class."""
        return super().__new__(cls, as_index(index))

    @property
    def shape(self) -> tuple[Expr, Expr]:
        """A column."""
        return width(self.args[0]), Integer(1)

    def _sympystr(self, printer: Printer) -> str:
        index = printer.doprint(self.args[0]).replace(" ", "")
        return f"r_{index}" if index.isalnum() else f"r_({index})"

    def _latex(self, printer: Printer) -> str:
        return f"r_{{{printer.doprint(self.args[0])}}}"


r = ModeVector


def scalar(polynomial: MatrixPolynomial) -> Expr:
    """Return the number that a 1 by 1 polynomial without letters is."""
    ((word, over),) = polynomial.terms or (((), None),)
    if word or over is not None:
        raise ValueError(f"letters are left: {polynomial}")
    return polynomial.terms.get((word, over), Integer(0))


def times(c: Expr, matrix: MatrixExpr) -> MatrixExpr:
    """Return the scalar multiple."""
    return MatMul(c, matrix)


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every depth N, every layer j and all widths.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    certify(theorem.statement(N), mode_velocity(page), name=theorem.name)
    return page


def mode_velocity(page: Derivation) -> Expr:
    """Derive u' as a function of u, for symbolic N; the lines are entered on the page."""
    descent, slope = layers_descend(page)
    rules = products_along_the_mode(page)

    whole = Chain(N, 1)
    # What the gradient does to the ends of the mode.
    act = [
        Rule.of(MatMul(whole, r(0)), times(a**N, r(N))),
        Rule.of(MatMul(S, r(0)), times(s, r(N))),
        Rule.of(MatMul(Sigma, r(0)), times(ell, r(0))),
    ]
    at_ends = rewrite_fully(slope @ of(r(0)), act)
    page.step(
        MatMul(G, r(0)),
        times(ell * (a**N - s), r(N)),
        "The gradient keeps the mode: the product, the target and the inputs do.",
        derived=at_ends,
    )
    pull = Rule.of(MatMul(G, r(0)), at_ends.expr())
    moved = rewrite_fully(descent @ of(r(j - 1)), [rules["down to the input"], pull])
    moved = rewrite(moved, rules["down from the output"])
    page.step(
        MatMul(Velocity(Layer(j)), r(j - 1)),
        times(ell * a ** (N - 1) * (s - a**N), r(j)),
        "Every layer moves along the mode, and all by the same number: the mode stays one.",
        derived=moved,
    )

    back = [
        Rule.of(MatMul(Transpose(whole), r(N)), times(a**N, r(0))),
        Rule.of(MatMul(Transpose(S), r(N)), times(s, r(0))),
        Rule.of(MatMul(Sigma, r(0)), times(ell, r(0))),
    ]
    at_output = rewrite_fully(slope.T @ of(r(N)), back)
    turned = rewrite(descent.T @ of(r(j)), rules["up from layer j"])
    turned = rewrite(turned, Rule.of(MatMul(Transpose(G), r(N)), at_output.expr()))
    page.step(
        MatMul(Transpose(Velocity(Layer(j))), r(j)),
        times(ell * a ** (N - 1) * (s - a**N), r(j - 1)),
        "And so do the transposes.",
        derived=rewrite(turned, rules["up from the input"]),
    )

    # The product rule, and the layers' velocities in it.
    d_product = differential(of(whole), variation(layer_differential))
    above, below = Chain(N, j + 1), Chain(j - 1, 1)
    term = MatMul(above, Differential(Layer(j)), below)
    page.step(
        Differential(whole),
        of(term).summed(j, 1, N).expr(j),
        "Product rule.",
        derived=d_product,
    )
    (coefficient, word, _) = d_product.summands(j)[0]
    summand = MatMul(coefficient, *(letter.expr for letter in word))
    rate = of(Transpose(r(N))) @ of(summand) @ of(r(0))
    velocity_of_layer = Rule.of(MatMul(Differential(Layer(j)), r(j - 1)), moved.expr())
    rate = rewrite(rewrite(rate, rules["up from the input"]), velocity_of_layer)
    rate = rewrite(rewrite(rate, rules["up to the output"]), rules["unit at j"])
    total = scalar(rate.summed(j, 1, N))
    page.step(
        Velocity(MatMul(Transpose(r(N)), W, r(0))),
        ell * N * a ** (2 * N - 2) * (s - a**N),
        "Every layer contributes the same, and there are N of them.",
        derived=total,
    )
    u = STRENGTH
    strength = rewrite_fully(of(Transpose(r(N))) @ of(whole) @ of(r(0)), [act[0], rules["unit"]])
    page.step(
        MatMul(Transpose(r(N)), W, r(0)),
        a**N,
        "The strength of the mode is the product over the layers: a is the N-th root of u.",
        derived=scalar(strength),
    )
    return total.subs(a, u ** (1 / N))


def layers_descend(page: Derivation) -> tuple[MatrixPolynomial, MatrixPolynomial]:
    """From the loss to the gradient in W, and by the chain rule to the velocity of layer j."""
    # 2 L = tr E Sigma E^T, E = W - S: a trace is an inner product with the identity.
    E = of(Chain(N, 1)) - of(S)
    square = E @ of(Sigma) @ E.T
    change = differential(square, lambda node: of(Differential(W)) if node == Chain(N, 1) else None)
    slope = read_gradient(change, W, Identity(width(N))) * Rational(1, 2)
    page.step(
        G,
        MatMul(MatAdd(Chain(N, 1), MatMul(-1, S)), Sigma),
        "The gradient of 1/2 tr (W - S) Sigma (W - S)^T.",
        derived=slope,
    )
    d_product = differential(of(Chain(N, 1)), variation(layer_differential))
    descent = -read_gradient(d_product, Layer(j), G)
    page.step(
        Velocity(Layer(j)),
        MatMul(-1, Transpose(Chain(N, j + 1)), G, Transpose(Chain(j - 1, 1))),
        "Chain rule, dL = <G, dW>.",
        derived=descent,
    )
    return descent, slope


def products_along_the_mode(page: Derivation) -> dict[str, Rule]:
    """W_{m:1} r_0 = a^m r_m and its kin, by induction on the number of layers."""

    def forward(i: Expr | int) -> Rule:
        return Rule.of(MatMul(Layer(i), r(as_index(i) - 1)), times(a, r(i)))

    def backward(i: Expr | int) -> Rule:
        return Rule.of(MatMul(Transpose(Layer(i)), r(i)), times(a, r(as_index(i) - 1)))

    m = Symbol("m", integer=True, positive=True)
    page.step(
        MatMul(Layer(1), r(0)),
        times(a, r(1)),
        "The first layer takes r_0 to a r_1.",
        derived=rewrite(of(MatMul(Layer(1), r(0))), forward(1)),
    )
    claim = Rule.of(MatMul(Chain(m, 1), r(0)), times(a**m, r(m)))
    page.step(
        MatMul(Layer(m + 1), Chain(m, 1), r(0)),
        times(a ** (m + 1), r(m + 1)),
        "One layer more: the claim for m layers, then layer m + 1.",
        derived=rewrite(
            of(Layer(m + 1)) @ rewrite(of(Chain(m, 1)) @ of(r(0)), claim), forward(m + 1)
        ),
    )
    page.step(
        MatMul(Transpose(Chain(m, 1)), Transpose(Layer(m + 1)), r(m + 1)),
        times(a ** (m + 1), r(0)),
        "Backwards in the same way: layer m + 1 first, then the claim for the m below it.",
        derived=rewrite(
            of(Transpose(Chain(m, 1)))
            @ rewrite(of(Transpose(Layer(m + 1))) @ of(r(m + 1)), backward(m + 1)),
            Rule.of(MatMul(Transpose(Chain(m, 1)), r(m)), times(a**m, r(0))),
        ),
    )
    # From the output, layer i of a network with m + i layers, m of them above it.
    i = Symbol("i", integer=True, positive=True)
    top = i + m
    above = Transpose(Chain(top, i + 1))
    page.step(
        MatMul(Transpose(Layer(i)), above, r(top)),
        times(a ** (m + 1), r(i - 1)),
        "From the output down: the claim for the m layers above, then layer i.",
        derived=rewrite(
            of(Transpose(Layer(i)))
            @ rewrite(of(above) @ of(r(top)), Rule.of(MatMul(above, r(top)), times(a**m, r(i)))),
            backward(i),
        ),
    )
    upward = Transpose(r(top))
    page.step(
        MatMul(upward, Chain(top, i + 1), Layer(i)),
        times(a ** (m + 1), Transpose(r(i - 1))),
        "The transpose of the same line.",
        derived=rewrite(
            rewrite(
                of(upward) @ of(Chain(top, i + 1)),
                Rule.of(MatMul(upward, Chain(top, i + 1)), times(a**m, Transpose(r(i)))),
            )
            @ of(Layer(i)),
            Rule.of(MatMul(Transpose(r(i)), Layer(i)), times(a, Transpose(r(i - 1)))),
        ),
    )
    above, below = Chain(N, j + 1), Chain(j - 1, 1)
    return {
        "up from the input": Rule.of(MatMul(below, r(0)), times(a ** (j - 1), r(j - 1))),
        "down to the input": Rule.of(MatMul(Transpose(below), r(j - 1)), times(a ** (j - 1), r(0))),
        "down from the output": Rule.of(MatMul(Transpose(above), r(N)), times(a ** (N - j), r(j))),
        "up to the output": Rule.of(
            MatMul(Transpose(r(N)), above), times(a ** (N - j), Transpose(r(j)))
        ),
        "up from layer j": Rule.of(MatMul(above, r(j)), times(a ** (N - j), r(N))),
        "unit": Rule.of(MatMul(Transpose(r(N)), r(N)), Identity(1)),
        "unit at j": Rule.of(MatMul(Transpose(r(j)), r(j)), Identity(1)),
    }


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
