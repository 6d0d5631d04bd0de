"""Fields with exact solutions. Their numbers are arrays: one compiled program serves all."""

import equinox as eqx
import numpy as np
from scipy.integrate import quad

ON_SCIPY = ("RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA")


class Polynomial(eqx.Module):
    """y' = c1 y + c2 y^2 + c3 y^3, entry by entry."""

    c: np.ndarray  # (3,)

    def __init__(self, *c):
        self.c = np.array(c, float)

    def __call__(self, t, y, args):
        return y * (self.c[0] + y * (self.c[1] + y * self.c[2]))


DECAY = Polynomial(-1.0, 0.0, 0.0)  # y = y0 exp(-t)
LOGISTIC = Polynomial(1.0, -1.0, 0.0)  # y = 1 / (1 + (1/y0 - 1) exp(-t))
SQUARE = Polynomial(0.0, 1.0, 0.0)  # y = y0 / (1 - y0 t)
CUBE = Polynomial(0.0, 0.0, 1.0)  # y = y0 / sqrt(1 - 2 y0^2 t)


def logistic(y0, t):
    return 1 / (1 + (1 / y0 - 1) * np.exp(-t))


def half_time(N, u0, s):
    """Time at which u' = N u^{2-2/N} (s - u) comes from u0 to s/2."""
    if N == 2:
        return (np.log(s - u0) - np.log(u0)) / (2 * s)
    # In a = u^{1/N}: a' = a^{N-1} (s - a^N), split off the pole at zero.
    a0, a1 = u0 ** (1 / N), (s / 2) ** (1 / N)
    pole = (a0 ** (2 - N) - a1 ** (2 - N)) / ((N - 2) * s)
    return pole + quad(lambda a: a / (s * (s - a**N)), a0, a1, epsabs=0, epsrel=1e-13)[0]
