"""Two scalar weights, from any start: the strength of the mode in closed form.

The loss is L(a, b) = 1/2 (ab - s)^2.  Gradient flow conserves c = a^2 - b^2, and the product
u = ab moves by u' = (s - u) sqrt(c^2 + 4 u^2): unequal weights learn faster.  The square root goes
away in the variable y = (a + b)^2 / c, in which the equation is a Riccati equation with constant
coefficients,

    y' = -(c/2) (y - y_+) (y - y_-),      y_+- = (2 s +- gamma) / c,      gamma^2 = 4 s^2 + c^2.

The cross ratio (y - y_+) / (y - y_-) of such an equation decays exponentially; solve for y, and
u = (c/4) (y - 1/y).  (For c > 0, y is the exponential of the hyperbolic angle of Saxe et al.)
"""

from __future__ import annotations

from sympy import (
    Derivative,
    Expr,
    Function,
    Integer,
    Rational,
    Symbol,
    cancel,
    diff,
    exp,
    fraction,
    together,
)

from flowsim.symbolic.certify import Derivation, certify
from flowsim.theory import Theorem
from flowsim.theory.modes import IMBALANCE, RATE, TARGET, TIME, Y_START, two_weights

THEOREM = two_weights

a, b = Symbol("a", real=True), Symbol("b", real=True)
s, c, gamma, t = TARGET, IMBALANCE, RATE, TIME


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for all a and b of different size.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    loss = Rational(1, 2) * (a * b - s) ** 2
    flow = {a: -diff(loss, a), b: -diff(loss, b)}

    def velocity(quantity: Expr) -> Expr:
        """Differentiate along the flow, by the chain rule."""
        return sum((diff(quantity, x) * v for x, v in flow.items()), Integer(0))

    def dot(name: str) -> Expr:
        return Derivative(Function(name)(t), t)

    imbalance, product, square = a**2 - b**2, a * b, (a + b) ** 2
    page.step(dot("a"), (s - a * b) * b, "Gradient descent on the loss.", derived=flow[a])
    page.step(dot("b"), (s - a * b) * a, "And for the other weight.", derived=flow[b])
    page.step(dot("c"), Integer(0), "a^2 - b^2 is conserved.", derived=velocity(imbalance))
    page.step(
        dot("u"), (s - product) * (a**2 + b**2), "The product, u = ab.", derived=velocity(product)
    )
    page.step(
        (a**2 + b**2) ** 2,
        imbalance**2 + 4 * product**2,
        "Its speed in terms of u and c: a^2 + b^2 = sqrt(c^2 + 4 u^2).",
        derived=(a**2 + b**2) ** 2,
    )
    # y as a function of the weights, and u and the velocity of y as functions of y.
    y_of = square / imbalance
    y = Symbol("y", real=True)
    page.step(
        product,
        imbalance / 4 * (y_of - 1 / y_of),
        "With y = (a + b)^2 / c the product is u = (c/4) (y - 1/y).",
        derived=product,
    )
    u_of_y = c / 4 * (y - 1 / y)
    riccati = 2 * (s - u_of_y) * y
    page.step(
        dot("y"),
        riccati.subs({y: y_of, c: imbalance}),
        "y moves at the rate 2 (s - u) y.",
        derived=together(velocity(y_of)),
    )
    above, below = (2 * s + gamma) / c, (2 * s - gamma) / c
    page.step(
        dot("y"),
        riccati,
        "Its two points of rest, with gamma^2 = 4 s^2 + c^2.",
        derived=without_square_of_gamma(-c / 2 * (y - above) * (y - below)),
    )

    # The cross ratio.
    k_of_y = (y - above) / (y - below)
    k, kappa = Symbol("k", real=True), Symbol("kappa", real=True)
    rest_form = -c / 2 * (y - above) * (y - below)
    page.step(
        dot("k"),
        -gamma * k_of_y,
        "k = (y - y_+)/(y - y_-) decays at the rate gamma, k = kappa e^(-gamma t).",
        derived=together(diff(k_of_y, y) * rest_form),
    )
    y_of_k = (above - k * below) / (1 - k)
    page.step(
        k_of_y,
        k,
        "Solved for y: this is k at y = (y_+ - k y_-)/(1 - k).",
        derived=cancel(together(k_of_y.subs(y, y_of_k))),
    )
    decayed = kappa * exp(-gamma * t)
    y_of_t = y_of_k.subs(k, decayed).subs(kappa, k_of_y.subs(y, Y_START))
    derived = u_of_y.subs(y, y_of_t)
    page.step(
        Function("u")(Integer(0)),
        u_of_y.subs(y, Y_START),
        "So u is known as a function of time; it starts where it should.",
        derived=cancel(together(derived.subs(t, 0))),
    )
    # e^(-gamma t) is as good as a number of its own here.
    stated, e = theorem.statement(Integer(2)), Symbol("e", positive=True)
    stated, derived = (x.subs(exp(-gamma * t), e) for x in (stated, derived))
    numerator, _ = fraction(together(stated - derived))
    certify(numerator.expand(), Integer(0), name=theorem.name)
    return page


def without_square_of_gamma(expression: Expr) -> Expr:
    """Put 4 s^2 + c^2 for gamma^2 in a polynomial in gamma."""
    return together(expression).expand().subs(gamma**2, 4 * s**2 + c**2)


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
