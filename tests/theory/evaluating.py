"""Numbers from the records' expressions, by a reading of their own, and tight integration."""

import numpy as np
from scipy.integrate import solve_ivp
from sympy import MatAdd, MatMul, MatrixSymbol, Transpose

from flowsim.symbolic.nodes import FrobeniusNorm, Projection


def evaluate(expr, arrays, numbers):
    """A matrix expression at arrays by the names of matrices, and numbers by symbol."""

    def scalar(c):
        norms = {n: np.linalg.norm(matrix(n.matrix)) for n in c.atoms(FrobeniusNorm)}
        return float(c.xreplace(norms).subs(numbers))

    def matrix(e):
        match e:
            case MatrixSymbol():
                return arrays[e.name]
            case Transpose():
                return matrix(e.arg).T
            case Projection():
                w, g = (matrix(a) for a in e.args)
                return w * np.sum(w * g) / np.sum(w * w)
            case MatAdd():
                return sum(matrix(a) for a in e.args)
            case MatMul():
                c, (first, *others) = e.as_coeff_matrices()
                product = scalar(c) * matrix(first)
                for factor in others:
                    product = product @ matrix(factor)
                return product
        raise TypeError(e)

    return matrix(expr)


def flow(field, start, t, **settings):
    """The state at time t, or a dense solution, by DOP853 at the tightest useful tolerance."""
    start = np.asarray(start, dtype=float)
    run = solve_ivp(field, (0, t), start, method="DOP853", rtol=1e-13, atol=1e-15, **settings)
    assert run.success
    return run.sol if settings.get("dense_output") else run.y[:, -1]
