r"""The balanced law as preconditioned gradient flow, and the spectrum of the preconditioner.

With vec stacking columns, :math:`\operatorname{vec}(A X B) = (B^\top \otimes A)
\operatorname{vec} X`.  So a law that is linear in the gradient G reads
:math:`\operatorname{vec} \dot W = -P_W \operatorname{vec} G`, and the preconditioner is read off
its words.  With the singular value decomposition :math:`W = \sum_r \sigma_r u_r v_r^\top`, its
eigenvectors are :math:`\operatorname{vec}(u_r v_q^\top)`, for a full set of left and of right
singular vectors; singular values beyond min(k, d) are 0.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportIndexIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from dataclasses import dataclass

from sympy import (
    Expr,
    Identity,
    IndexedBase,
    Integer,
    KroneckerProduct,
    MatAdd,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    S,
    Sum,
    Symbol,
    Transpose,
)

from flowsim.symbolic import scalars
from flowsim.symbolic.certify import CertificationError, certify
from flowsim.symbolic.nodes import FrobeniusNorm, MatrixSum, PSDPower
from flowsim.symbolic.rewriting import Rule, rewrite
from flowsim.symbolic.words import MatrixPolynomial, Range, Word

__all__ = ["Preconditioner", "precondition", "sigma"]

#: The singular values of W, ``sigma[1]`` the first.
sigma = IndexedBase("sigma", nonnegative=True)

_FORMS = ("sum", "quotient")


@dataclass(frozen=True)
class Preconditioner:
    r"""The matrix :math:`P_W` in :math:`\operatorname{vec} \dot W = -P_W \operatorname{vec} G`.

    Attributes
    ----------
    depth : sympy.Expr
        N.
    matrix : sympy.MatrixExpr
        :math:`\sum_{j=1}^N (W^\top W)^{\frac{j-1}N} \otimes (W W^\top)^{\frac{N-j}N}`, acting on
        columns stacked.
    eigenvectors : str
        LaTeX of the eigenvectors.
    along, across : sympy.Expr
        With one output: the eigenvalue along w, :math:`N\|w\|^{2-2/N}`, and across it,
        :math:`\|w\|^{2-2/N}`.
    """

    depth: Expr
    matrix: MatrixExpr
    _index: Symbol
    _terms: tuple[tuple[Expr, Expr, Expr, Range | None], ...]
    _norm: Expr

    eigenvectors = r"\operatorname{vec}(u_r v_q^{\top})"

    def eigenvalue(self, r: Expr | int, q: Expr | int, *, form: str = "quotient") -> Expr:
        r"""Return the eigenvalue at :math:`\operatorname{vec}(u_r v_q^\top)`.

        Parameters
        ----------
        r, q : int or sympy.Expr
            Indices of the left and of the right singular vector.
        form : {"quotient", "sum"}
            ``"sum"``: :math:`\sum_j \sigma_r^{2(N-j)/N} \sigma_q^{2(j-1)/N}`, right for all
            singular values (with :math:`0^0 = 1`).  ``"quotient"``: the same in closed form,
            :math:`(\sigma_r^2 - \sigma_q^2) / (\sigma_r^{2/N} - \sigma_q^{2/N})`, for
            :math:`\sigma_r \neq \sigma_q`; it becomes :math:`N \sigma_r^{2-2/N}` for r = q.

        Returns
        -------
        sympy.Expr
            In ``sigma[r]`` and ``sigma[q]``.
        """
        if form not in _FORMS:
            raise ValueError(f"form must be one of {_FORMS}, got {form!r}")
        x, y = sigma[r], sigma[q]
        if form == "sum":
            return self._eigenvalue(x, y)
        if r == q:
            return self.depth * x ** (2 - 2 / self.depth)
        return (x**2 - y**2) / (x ** (2 / self.depth) - y ** (2 / self.depth))

    @property
    def along(self) -> Expr:
        """With one output, the eigenvalue along w."""
        return self.depth * self._norm ** (2 - 2 / self.depth)

    @property
    def across(self) -> Expr:
        """With one output, the eigenvalue on everything orthogonal to w."""
        return self._norm ** (2 - 2 / self.depth)

    def closed_form(self, x: Expr, y: Expr) -> Expr:
        r"""Sum the eigenvalue at unequal positive singular values x and y, by telescoping.

        With :math:`a = x^{2/N}` and :math:`b = y^{2/N}` the terms are :math:`t_j = a^{N-j} b^{j-1}`
        and :math:`(a - b)\, t_j = F_{j-1} - F_j` for :math:`F_j = a^{N-j} b^j`.

        Raises
        ------
        flowsim.symbolic.certify.CertificationError
            If a term of the preconditioner does not telescope.
        """
        N, j = self.depth, self._index
        a, b = x ** (2 / N), y ** (2 / N)

        def F(i: Expr) -> Expr:
            return a ** (N - i) * b**i

        total: Expr = S.Zero
        for c, p, q, over in self._terms:
            term = (a - b) * c * x ** (2 * p) * y ** (2 * q)
            if over is None:
                total += term
            else:
                certify(F(j - 1) - F(j), term, name="telescoping sum of an eigenvalue")
                total += F(over.lower - 1) - F(over.upper)
        return scalars.normal(total) / (a - b)

    def certify_equal(self, x: Expr) -> None:
        r"""Certify the eigenvalue :math:`N x^{2-2/N}` at two singular values equal to x > 0."""
        total: Expr = S.Zero
        for c, p, q, over in self._terms:
            count = 1 if over is None else over.upper - over.lower + 1
            total += count * c * x ** (2 * p) * x ** (2 * q)
        certify(self.depth * x ** (2 - 2 / self.depth), total, name="equal singular values")

    def _eigenvalue(self, x: Expr, y: Expr) -> Expr:
        total: Expr = S.Zero
        for c, a, b, over in self._terms:
            term = c * x ** (2 * a) * y ** (2 * b)
            total += term if over is None else Sum(term, (self._index, *over))
        return total


def precondition(
    law: MatrixPolynomial, W: MatrixSymbol, G: MatrixSymbol, N: Expr, index: Symbol
) -> Preconditioner:
    """Read the preconditioner off the balanced law, and certify its eigenvalues.

    Parameters
    ----------
    law : MatrixPolynomial
        The balanced law; the terms with G are used.
    W, G : sympy.MatrixSymbol
        The end-to-end parameter and the gradient there.
    N : sympy.Expr
        The depth.
    index : sympy.Symbol
        The symbol to sum over.

    Raises
    ------
    CertificationError
        If a term of the law is not a power of ``W*W.T`` times G times a power of ``W.T*W``, or the
        closed forms of the eigenvalues do not agree with the sum.
    """
    products, exponents = [], []
    for c, word, over in law.summands(index):
        place = next((i for i, letter in enumerate(word) if letter.node == G), None)
        if place is None:
            continue
        left, right = word[:place], word[place + 1 :]
        term = KroneckerProduct(_matrix(right, W.cols), _matrix(left, W.rows))
        products.append(term if over is None else MatrixSum(term, index, *over))
        a = _exponent(left, MatMul(W, Transpose(W)))
        b = _exponent(right, MatMul(Transpose(W), W))
        exponents.append((-c, a, b, over))
    if any(c != 1 for c, *_ in exponents):
        raise CertificationError("preconditioner", S.One, exponents[0][0], S.Zero)
    matrix = products[0] if len(products) == 1 else MatAdd(*products)
    result = Preconditioner(N, matrix, index, tuple(exponents), FrobeniusNorm(W))
    _certify_eigenvectors(W)
    x, y = (Symbol(name, positive=True) for name in ("sigma_r", "sigma_q"))
    certify((x**2 - y**2) / (x ** (2 / N) - y ** (2 / N)), result.closed_form(x, y))
    result.certify_equal(x)
    return result


def _certify_eigenvectors(W: MatrixSymbol) -> None:
    """W^T u = s v and W v = s u give W W^T u = s^2 u and v^T W^T W = s^2 v^T."""
    s = Symbol("s", nonnegative=True)
    u, v = MatrixSymbol("u", W.rows, Integer(1)), MatrixSymbol("v", W.cols, Integer(1))
    of = MatrixPolynomial.of
    left, right = Rule.of(MatMul(W, v), MatMul(s, u)), Rule.of(W.T * u, MatMul(s, v))
    twice = rewrite(rewrite(of(MatMul(W, W.T, u)), right), left)
    certify(of(u) * s**2, twice, name="left singular vectors")
    twice = rewrite(rewrite(of(MatMul(W.T, W, v)), left), right)
    certify(of(v) * s**2, twice, name="right singular vectors")


def _matrix(word: Word, size: Expr) -> MatrixExpr:
    if not word:
        return Identity(size)
    return word[0].expr if len(word) == 1 else MatMul(*(letter.expr for letter in word))


def _exponent(word: Word, base: MatrixExpr) -> Expr:
    """Return p of a word that is a single power of the base."""
    if not word:
        return S.Zero
    node = word[0].node
    if len(word) > 1 or not isinstance(node, PSDPower) or node.base != base:
        raise CertificationError("preconditioner", base, _matrix(word, base.rows), S.Zero)
    return scalars.normal(node.exponent)
