r"""The modified equation of gradient descent and of the heavy ball.

Gradient descent with step h follows the flow of
:math:`f_1 + h f_2 + h^2 f_3 + h^3 f_4` with an error of order :math:`h^4` at fixed time; the heavy
ball of momentum :math:`\lambda` follows its own two terms with an error of order :math:`h^2`, once
it is on the slow manifold.  With :math:`g = \nabla L` and :math:`H = \nabla^2 L`.

References
----------
D. Barrett, B. Dherin, Implicit gradient regularization, ICLR 2021, arXiv:2009.11162 (the first
correction); N. Kovachki, A. Stuart, JMLR 2021, arXiv:1906.04285 (momentum).
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportReturnType=false
from __future__ import annotations

from sympy import Expr, MatAdd, MatMul, MatrixExpr, Rational

from flowsim.symbolic.integrability import SIZE
from flowsim.symbolic.modified import STEP
from flowsim.symbolic.trees import ElementaryDifferential, Tree
from flowsim.theory.records import Theorem

__all__ = ["THEOREMS", "modified_equation"]

# g, H g, H^2 g, T[g, g], H^3 g, H T[g, g], T[g, H g]
_G: Tree = ()
_HG: Tree = ((),)
_HHG: Tree = (((),),)
_TGG: Tree = ((), ())
_HHHG: Tree = ((((),),),)
_HTGG: Tree = (((), ()),)
_TGHG: Tree = ((), ((),))


def _modified_equation(N: Expr | int | None = None, *, momentum: Expr | None = None) -> MatrixExpr:
    r"""State the field; the depth plays no part, for nothing is presumed of the loss.

    Without momentum

    .. math:: -g - \tfrac h2 H g - h^2 \bigl(\tfrac13 H^2 g + \tfrac1{12} T[g, g]\bigr)
              - h^3 \bigl(\tfrac14 H^3 g + \tfrac1{12} H\, T[g, g] + \tfrac1{12} T[g, H g]\bigr) ,

    with it :math:`-\frac1{1-\lambda} g - \frac h2 \frac{1+\lambda}{(1-\lambda)^3} H g`.
    """
    if momentum is not None:
        nu = 1 / (1 - momentum)
        terms = [(-nu, _G), (-STEP * nu**3 * (1 + momentum) / 2, _HG)]
    else:
        terms = [
            (Rational(-1), _G),
            (-STEP / 2, _HG),
            (-(STEP**2) / 3, _HHG),
            (-(STEP**2) / 12, _TGG),
            (-(STEP**3) / 4, _HHHG),
            (-(STEP**3) / 12, _HTGG),
            (-(STEP**3) / 12, _TGHG),
        ]
    return MatAdd(*(MatMul(c, ElementaryDifferential(tree, SIZE)) for c, tree in terms))


modified_equation = Theorem(
    name="modified equation",
    title="Gradient descent with step h follows -grad L - (h/4) grad |grad L|^2 and higher terms; "
    "the next two are no gradients.",
    statement=_modified_equation,
    hypotheses=(
        "L has five continuous derivatives.",
        "h is small against 1 over the largest curvature; time is fixed and counted as k h.",
        "With momentum, which is fixed as h tends to 0, the start lies on the slow manifold.",
    ),
    citation="Barrett, Dherin 2021, arXiv:2009.11162, for h; Hairer, Lubich, Wanner, Geometric "
    "Numerical Integration, chapter IX",
    proof="derivations/modified_equation.py",
)

#: The theorems of this module.
THEOREMS: tuple[Theorem, ...] = (modified_equation,)
