"""What kind of stationary point a state is at: minimum, flat valley, or saddle plateau.

A small gradient alone says little: a flow from near a saddle lingers there, and leaves. And the
Hessian where the flow is now is not the Hessian where it is going: at distance δ from a stationary
point both the gradient and the error of an eigenvalue are of order δ. So the state is first moved
to the stationary point by regularised Newton steps, (H + μ)⁻¹ applied to -∇ℓ, with μ twice the
largest negative curvature. Near a minimum they converge, and negative curvature that came from
residuals alone goes with the gradient; where it stays, the point is a saddle. What second order
cannot tell (zero eigenvalues) is told by the loss itself along the valley floor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from flowsim._checks import check_real
from flowsim._errors import InputError
from flowsim._precision import in_float64
from flowsim._threads import one_blas_thread
from flowsim._types import FloatArray, PyTree
from flowsim.curvature.landscape import Landscape, Model, least_shift, rounding, unit
from flowsim.lowering import VectorField, as_field
from flowsim.lowering.fields import EndToEndField
from flowsim.problems import FunctionProblem, Problem

MINIMUM, FLAT_VALLEY = "minimum", "flat valley"
SADDLE_PLATEAU, NOT_STATIONARY = "saddle plateau", "not stationary"

_NEWTON_STEPS = 6
_RADII = (1e-3, 0.03)  # how far, as fractions of the size of the state
_STEADY = 0.3  # relative change of λ_min in a Newton step under which it is strictly positive
_LASTING = 0.7  # fraction of a negative λ_min that stays when it is a saddle's


@dataclasses.dataclass(frozen=True)
class Stationary:
    """What is known of a state as a stationary point of a loss.

    Attributes
    ----------
    kind
        ``"minimum"``, ``"flat valley"``, ``"saddle plateau"`` or ``"not stationary"``.
    gradient
        The norm of the gradient at the state.
    lambda_min, lambda_max
        Extreme eigenvalues of the Hessian at the stationary point near it; at the state itself
        where it is not stationary.
    zero, negative
        How many eigenvalues are zero to the resolution, and negative beyond it; None above 1500
        parameters, where only the extreme ones are computed.
    escape_rate
        The rate -λ_min at which the flow leaves a saddle; 0 where it leaves more slowly than any
        exponential; None where there is no saddle.
    sentence
        The finding and what it rests on.
    """

    kind: str
    gradient: float
    lambda_min: float
    lambda_max: float
    zero: int | None
    negative: int | None
    escape_rate: float | None
    sentence: str


@in_float64
def classify_stationary(
    problem: Problem | FunctionProblem | VectorField | Callable,
    theta: PyTree,
    *,
    gradient: float | None = 1e-6,
    t: float = 0.0,
) -> Stationary:
    r"""Tell a minimum from a flat valley, a saddle plateau, and a state that is not stationary.

    The eigenvalues of the Hessian at the stationary point near ``theta`` decide where they can:

    - λ_min < 0 beyond the resolution: saddle plateau, which the flow leaves at the rate -λ_min;
    - λ_min > 0 beyond it, and steady under Newton's steps: a strict minimum.

    The resolution is 1e-12 of the largest modulus up to 1500 parameters, 1e-7 for a NumPy field,
    whose Hessian is differenced, and 2e-6 by Lanczos above. A minimum with λ_min/λ_max = 1e-9 is
    therefore strict where the Hessian is decomposed, and a flat valley to the resolution where it
    is not. For what is below the resolution the loss is looked at along its flattest directions,
    at 0.1 % and 3 % of the size of the state, minimised over all other directions (so that a curved
    valley is followed, and descent along a curve is met):

    - descent beyond rounding: saddle plateau, though second order does not show it;
    - a direction along which the loss is constant to rounding: flat valley;
    - rises along all of them: minimum, of fourth order say. The directions are a sample: this is
      evidence, not proof, and the sentence says so.

    Parameters
    ----------
    problem
        A problem, the field of a gradient flow, or a function ``(t, y, args) -> dy/dt`` that is
        one. With rates the Hessian is taken in the coordinates in which the flow is a gradient
        flow.
    theta
        The state, a pytree like the problem's parameters.
    gradient
        The norm up to which a gradient counts as small, absolute, in the units of the loss; None
        takes it for small whatever it is.
    t
        The time at which a field is evaluated.

    Returns
    -------
    Stationary

    Raises
    ------
    InputError
        For a law on the end-to-end parameter, whose Jacobian is not a Hessian.

    Examples
    --------
    >>> import numpy as np, flowsim as fs
    >>> monkey = fs.Problem.from_function(lambda w: w[0] ** 3 - 3 * w[0] * w[1] ** 2, np.zeros(2))
    >>> classify_stationary(monkey, np.zeros(2)).kind
    'saddle plateau'
    """
    threshold = np.inf if gradient is None else check_real("gradient", gradient, at_least=0.0)
    field = as_field(problem)
    refuse_end_to_end("problem", field)
    if isinstance(problem, (Problem, FunctionProblem)):
        theta = field.start(theta)
    with one_blas_thread():
        return _classify(Landscape(field, theta, t), threshold)


def refuse_end_to_end(name: str, field: VectorField) -> None:
    """Refuse a law on the end-to-end parameter, whose flow is preconditioned by the state."""
    if isinstance(field, EndToEndField) and not isinstance(field.about.parent, Problem):
        if field.net.depth == 1:
            return
        raise InputError(
            f"{name} needs the Hessian of a loss, and this field is a law on the end-to-end "
            "parameter, whose Jacobian is none. Pass the Problem, or lower the law with "
            "strategy='factors'."
        )


def _classify(land: Landscape, threshold: float) -> Stationary:
    g = land.gradient(land.x)
    size = float(np.linalg.norm(g))
    if not size <= threshold:
        model = land.model(land.x)
        return _finding(NOT_STATIONARY, size, model, f"|∇| = {size:.3g} is above {threshold:.3g}.")
    x, model, path = _polish(land, g)
    low = model.lowest
    if low < -model.cut:
        sentence = (
            f"|∇| = {size:.3g} and λ_min = {low:.3g}, which stays where the gradient goes to zero: "
            f"the flow leaves in a time of about 1/|λ_min| = {-1 / low:.3g} for each factor e."
        )
        return _finding(SADDLE_PLATEAU, size, model, sentence, -low)
    if path.slides:
        sentence = (
            f"|∇| = {size:.3g} falls off without a stationary point near: Newton's steps do not "
            "shorten. The loss goes on falling towards a limit that it does not attain."
        )
        return _finding(NOT_STATIONARY, size, model, sentence)
    if low > 3 * least_shift(model) and path.steady:
        sentence = f"|∇| = {size:.3g} and λ_min = {low:.3g} > 0: a strict minimum."
        return _finding(MINIMUM, size, model, sentence)
    return _look_along(land, x, model, path, size)


@dataclasses.dataclass(frozen=True)
class _Path:
    """How Newton's method came: whether λ_min settled, whether steps did not shorten, how far on.

    ``left`` is the length of the last step, as far as the stationary point may still be.
    """

    steady: bool
    slides: bool
    left: float


def _polish(land: Landscape, g: FloatArray) -> tuple[FloatArray, Model, _Path]:
    """Regularised Newton steps while they halve the gradient and negative curvature gives way."""
    x, model = land.x, land.model(land.x)
    steps: list[float] = []
    steady = True
    for _ in range(_NEWTON_STEPS):
        size = float(np.linalg.norm(g))
        if size <= rounding(model, x, 0.0) or model.scale == 0:
            break
        negative = max(0.0, -model.lowest)
        step = model.solve(-g, least_shift(model))
        ahead = land.gradient(x + step)
        if not np.linalg.norm(ahead) < 0.5 * size:
            ahead_low = land.curvature(x + step, model.bottom)
            steady = steady and abs(ahead_low - model.lowest) <= _STEADY * abs(model.lowest)
            break
        new = land.model(x + step)
        if negative > model.cut and not -new.lowest < _LASTING * negative:
            break
        steady = abs(new.lowest - model.lowest) <= _STEADY * abs(new.lowest)
        x, g, model = x + step, ahead, new
        steps.append(float(np.linalg.norm(step)))
    slides = len(steps) > 2 and steps[-1] > 0.95 * steps[-2] > 0.9 * steps[-3]
    return x, model, _Path(steady, slides, steps[-1] if steps else 0.0)


def _look_along(
    land: Landscape, x: FloatArray, model: Model, path: _Path, size: float
) -> Stationary:
    """Decide by the loss along the flattest directions, where eigenvalues do not."""
    rng = np.random.default_rng(0)
    extent = float(np.linalg.norm(x)) or 1.0
    near = max(_RADII[0] * extent, 30 * path.left)
    # What a nearby minimum that Newton's steps have not quite reached may still lie below.
    slack = 10 * float(np.linalg.norm(land.gradient(x))) * path.left
    flat = 0
    tried = 0
    for d in _directions(land, x, model, near, rng):
        for sign in (1.0, -1.0):
            tried += 1
            for far in (1.0, _RADII[1] / _RADII[0]):
                change, resolved = _along_the_floor(land, x, model, sign * far * near, d)
                if change < -(resolved + slack):
                    sentence = (
                        f"|∇| = {size:.3g} and no eigenvalue of the Hessian is negative, but the "
                        f"loss falls by {-change:.3g} at a distance of {far * near:.3g}: a saddle "
                        "of higher order, which the flow leaves more slowly than any exponential."
                    )
                    return _finding(SADDLE_PLATEAU, size, model, sentence, 0.0)
                if far == 1.0 and abs(change) <= resolved + slack:
                    flat += 1
    looked = f"{tried} rays of least curvature, to a distance of {_RADII[1] / _RADII[0] * near:.3g}"
    if flat:
        sentence = (
            f"|∇| = {size:.3g}, and of {looked}, none shows descent and along {flat} the loss is "
            "constant to rounding."
        )
        return _finding(FLAT_VALLEY, size, model, sentence)
    sentence = (
        f"|∇| = {size:.3g}. λ_min = {model.lowest:.3g} does not decide; the loss rises along all "
        f"of {looked}. A sample of directions is evidence for a minimum, not proof."
    )
    return _finding(MINIMUM, size, model, sentence)


def _directions(
    land: Landscape, x: FloatArray, model: Model, near: float, rng: np.random.Generator
) -> list[FloatArray]:
    """Flattest directions, and those in which the gradient beside the point then pulls."""
    directions = model.eigenvectors()
    for _ in range(model.looks):
        directions.append(model.flatten(rng.normal(size=x.size)))
        pull = -land.gradient(x + near * directions[-1])
        directions.append(model.flatten(unit(pull)))
    return [d for d in directions if np.any(d)]


def _along_the_floor(
    land: Landscape, x: FloatArray, model: Model, r: float, d: FloatArray
) -> tuple[float, float]:
    """The change of the loss from x to the lowest point at r along d, and how much is no news.

    No news is rounding, what is left of the way to the floor, and curvature below the resolution.
    Lowest in the plane through x + r d orthogonal to d, by Newton's method from x + r d.
    """
    z, excess, shift = x + r * d, 0.0, least_shift(model)
    for _ in range(model.floor_steps if model.scale > 0 else 0):
        g = _across(land.gradient(z), d)
        if np.linalg.norm(g) <= rounding(model, x, 0.0):
            break
        there = model.moved(land, z)
        step = _across(there.solve(-g, max(shift, 2 * max(0.0, -there.lowest)), fixed=d), d)
        ahead = _across(land.gradient(z + step), d)
        if np.linalg.norm(ahead) < np.linalg.norm(g):
            z, excess = z + step, abs(float(ahead @ step))
        elif shift < model.scale:
            shift = 1e3 * shift
        else:
            break
    change, steepest = land.rise(x, z)
    return change, rounding(model, z, steepest) * abs(r) + 2 * excess + model.cut * r * r


def _across(v: FloatArray, d: FloatArray) -> FloatArray:
    return v - d * (d @ v)


def _finding(
    kind: str, size: float, model: Model, sentence: str, escape_rate: float | None = None
) -> Stationary:
    zero, negative = model.counts
    return Stationary(
        kind=kind,
        gradient=size,
        lambda_min=model.lowest,
        lambda_max=model.highest,
        zero=zero,
        negative=negative,
        escape_rate=escape_rate,
        sentence=sentence,
    )
