r"""Decoupled starts: factors that are diagonal in one set of bases, and the target with them.

Balanced factors are *decoupled* from each other's modes where there are orthonormal columns
:math:`R_0, R_1, \dots, R_N` with

.. math::

    W_j = R_j \operatorname{diag}(a) R_{j-1}^\top, \qquad
    \Phi R_0 = R_N \operatorname{diag}(s), \qquad \Phi^\top R_N = R_0 \operatorname{diag}(s), \qquad
    \Sigma R_0 = R_0 \operatorname{diag}(\ell).

Gradient flow keeps all of this, and each product :math:`u = a^N` moves by itself.

A mode too weak for float64 to see in the product is still seen in the factors, where it is the N-th
root of itself; so strengths are measured there. What cannot be told from 0 there either is left at
0. The flow magnifies round-off near saddles, and :meth:`Modes.valid_until` says up to when that is
not seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from flowsim.theory.linear_networks import ROUND_OFF, product
from flowsim.theory.mode_solutions import mode, mode_time
from flowsim.theory.quadratic import Quadratic

__all__ = ["Modes", "decouple"]

#: Weights that mix target, start and curvature: two modes that differ come apart in one of them.
_MIXTURES = ((1.0, 0.618, 0.317, 0.211), (1.0, -0.414, 0.732, -0.236), (0.377, 1.0, -0.572, 0.449))
#: Relative size in a factor below which round-off hides a mode.
_FLOOR = 1e-14
#: What may be lost, relative to the target, before a solution calls itself invalid.
_LOST = 1e-8


@dataclass(frozen=True, eq=False)
class Modes:
    """A start taken apart into its modes, strongest first.

    Attributes
    ----------
    left, right : numpy.ndarray
        Singular vectors as columns, shapes (k, r) and (d, r).
    strength : numpy.ndarray
        u at time 0 of each mode, the product over the layers, not negative; shape (r,).
    target : numpy.ndarray
        What each mode is learned to, s, of either sign; shape (r,).
    curvature : numpy.ndarray
        Second moment of the inputs along each mode, shape (r,).
    uncertainty : numpy.ndarray
        Relative uncertainty of the strengths, shape (r,).
    hidden : float
        Strength of a mode that may be there unseen; 0 where there is none.
    noise : float
        By how much the factors differ from diagonal ones, round-off and all.
    depth : int
        The number of factors, N.
    """

    left: np.ndarray
    right: np.ndarray
    strength: np.ndarray
    target: np.ndarray
    curvature: np.ndarray
    uncertainty: np.ndarray
    hidden: float
    noise: float
    depth: int

    def values(self, t: np.ndarray) -> np.ndarray:
        """The strengths at times of shape (T,), shape (r, T)."""
        rows = [
            mode(t, u0=u, s=s, N=self.depth, curvature=ell)
            for u, s, ell in zip(self.strength, self.target, self.curvature, strict=True)
        ]
        return np.array(rows).reshape(len(rows), len(t))

    def valid_until(self, loss: Quadratic) -> float:
        """Time up to which round-off in the factors has not grown to be seen in the product."""
        until = [math.inf]
        size = float(np.linalg.norm(loss.target, 2))
        # What is not on the way to be learned, and along which input at most.
        rest = loss.target - (self.left * np.maximum(self.target, 0.0)) @ self.right.T
        unlearned = float(np.linalg.norm(rest, 2))
        ell = float(np.linalg.norm(loss.curvature, 2))
        if self.hidden and 0 < self.hidden < _LOST * unlearned and ell > 0:
            learned = mode_time(_LOST * unlearned, u0=self.hidden, s=unlearned, N=self.depth)
            until.append(float(learned) / ell)
        for i in range(len(self.strength)):
            until.append(self._weak_until(i))
            if unlearned > max(ROUND_OFF * size, self.target[i]) and self.noise and ell > 0:
                until.append(self._saddle_until(i, unlearned, ell, _LOST * size))
        return min(until)

    def _weak_until(self, i: int) -> float:
        """When the uncertainty of a weak start is seen: it is carried along as the velocity is."""
        u, s, ell, a = self.strength[i], self.target[i], self.curvature[i], 2.0 - 2.0 / self.depth
        turn = a * s / (1.0 + a)
        gain = _LOST * s / (u * self.uncertainty[i]) * (u**a * (s - u))
        if not (u < turn and ell > 0) or turn**a * (s - turn) <= gain:
            return math.inf
        low, high = math.log(u), math.log(turn)
        for _ in range(60):
            middle = 0.5 * (low + high)
            x = math.exp(middle)
            low, high = (middle, high) if x**a * (s - x) < gain else (low, middle)
        return float(mode_time(max(math.exp(low), u), u0=u, s=s, N=self.depth)) / ell

    def _saddle_until(self, i: int, unlearned: float, ell: float, seen: float) -> float:
        r"""When a mode gives way to a stronger one that it could carry instead.

        A rotation of the mode towards an unlearned direction of strength S grows at the rate
        :math:`\ell u^{1-2/N} (S - u)`, with + where the mode is the mirror image of its target.
        The integral is taken on a grid, which is enough for an estimate.
        """
        u, s, N = self.strength[i], self.target[i], self.depth
        scale = 1.0 / (ell * (unlearned + u) * max(u, abs(s)) ** (1.0 - 2.0 / N))
        t = scale * np.concatenate([[0.0], np.geomspace(1e-3, 1e12, 1500)])
        x = mode(t, u0=u, s=s, N=N, curvature=self.curvature[i])
        rate = ell * x ** (1.0 - 2.0 / N) * (unlearned - math.copysign(1.0, s) * x)
        growth = np.concatenate([[0.0], np.cumsum(0.5 * (rate[1:] + rate[:-1]) * np.diff(t))])
        with np.errstate(divide="ignore"):
            size = math.log(self.noise) + (1.0 - 1.0 / N) * np.log(np.maximum(x, u)) + growth
        late = np.flatnonzero(size > math.log(seen))
        return float(t[max(late[0] - 1, 0)]) if late.size else math.inf


def decouple(factors: tuple[np.ndarray, ...], loss: Quadratic) -> Modes | str:
    """Take balanced factors apart into modes, or say in a sentence why that is not possible.

    Parameters
    ----------
    factors
        W_1, ..., W_N.
    loss
        Target and curvature of the loss.
    """
    complaint = ""
    for weights in _MIXTURES:
        found = _along(_right_basis(factors, loss, weights), factors, loss)
        if isinstance(found, Modes):
            return found
        complaint = found
    return complaint


def _right_basis(
    factors: tuple[np.ndarray, ...], loss: Quadratic, weights: tuple[float, ...]
) -> np.ndarray:
    """Right singular vectors, (d, r), common to target, start and curvature if there are such."""
    phi, sigma = loss
    W = product(factors)
    parts = [phi, W, phi @ sigma, W @ sigma]
    mixed = sum(c * A / (np.linalg.norm(A) or 1.0) for c, A in zip(weights, parts, strict=True))
    # Modes that differ by little in the product are told apart by the first factor as well.
    return np.linalg.svd(mixed, full_matrices=False)[2].T


def _along(V: np.ndarray, factors: tuple[np.ndarray, ...], loss: Quadratic) -> Modes | str:
    phi, sigma = loss
    size = np.abs(factors[0]).max() or 1.0
    strengths = size * np.linalg.norm(factors[0] / size @ V, axis=0)
    order = np.argsort(-strengths, kind="stable")
    V, strengths = V[:, order], strengths[order]
    # No more modes than the narrowest layer carries; those below the floor are left out.
    room = min(min(W.shape) for W in factors)
    shown = strengths > _FLOOR * max(np.linalg.norm(W, 2) for W in factors)
    count = min(int(np.count_nonzero(shown)), room)
    left_out = strengths[count:]
    hidden = float(left_out.max()) if count < room and left_out.size else 0.0
    V, a = V[:, :count], strengths[:count]

    R, doubt, noise = V, np.zeros(count), 0.0
    for j, W in enumerate(factors, start=1):
        Q, T = np.linalg.qr(W @ R)
        sign = np.where(np.diag(T) < 0, -1.0, 1.0)
        new, across = Q * sign, np.linalg.norm(np.triu(T, 1), axis=0)
        unlike = np.abs(np.abs(np.diag(T)) - a)
        rest = np.linalg.norm(W - (new * a) @ R.T)
        if rest > ROUND_OFF * np.linalg.norm(W) or (unlike > 1e-9 * a + 10.0 * across).any():
            return (
                f"The start is not balanced and decoupled: W_{j} differs by {rest:.2g} from a "
                "matrix that is diagonal in the singular bases of the target with the strengths of "
                "W_1."
            )
        doubt, noise = np.maximum(doubt, across + np.finfo(float).eps * a), max(noise, rest)
        R = new

    s = np.einsum("ki,kd,di->i", R, phi, V)
    size = np.linalg.norm(phi)
    off = max(np.linalg.norm(phi @ V - R * s), np.linalg.norm(phi.T @ R - V * s))
    if off > ROUND_OFF * size:
        return f"The target is not diagonal in the singular bases of the start, by {off:.2g}."
    curvature = np.einsum("di,de,ei->i", V, sigma, V)
    off = np.linalg.norm(sigma @ V - V * curvature)
    if off > ROUND_OFF * np.linalg.norm(sigma):
        return f"The inputs do not share the modes of the start: their second moment, by {off:.2g}."
    N = len(factors)
    curvature = np.maximum(curvature, 0.0)
    return Modes(R, V, a**N, s, curvature, 8.0 * N * doubt / a, hidden**N, float(noise), N)
