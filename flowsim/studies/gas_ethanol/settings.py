"""What the study runs: step sizes, steps, records and the choices behind them."""

from __future__ import annotations

import dataclasses

import numpy as np

from flowsim._checks import check_count, nearest
from flowsim._errors import InputError
from flowsim._types import FloatArray

EXPONENTS = (2, 4)
DEPTHS = (1, 2, 3)
#: Least loss mean |x·w - y|^p on the standardised data.
OPTIMUM = {2: 0.0999862925, 4: 0.2214169}
#: Step sizes of the published curves; not stated there, fitted to them, one number a curve.
PUBLISHED_RATE = {
    (2, 1): 1e-2, (2, 2): 1e-3, (2, 3): 5e-4,
    (4, 1): 4.6e-3, (4, 2): 3.6e-4, (4, 3): 1.75e-4,
}  # fmt: skip
#: Step sizes of descent: the published ones for p = 2; for p = 4, where fixed-step descent is not
#: stable at those, about the largest that reach 10^6 steps.
DESCENT_RATE = {**PUBLISHED_RATE, (4, 1): 1e-3, (4, 2): 2e-4, (4, 3): 7e-5}
#: Iterations that the published curves cover, and so the flow time, t = η times this.
HORIZON = 1_000_000
#: Steps of descent where the caller does not say.
DEFAULT_STEPS = {2: HORIZON, 4: 20_000}
#: Iterations at which flows and published curves are laid side by side.
TABLED = (20_000, 100_000, 200_000, 300_000, 500_000, 700_000, 900_000)
START_SCALE = 0.01
EDGE_RATE = 2e-3
EDGE_DEPTH = 2


@dataclasses.dataclass(frozen=True)
class Baseline:
    """An adaptive optimizer beside descent, for p = 4.

    Attributes
    ----------
    name
        Its name.
    depth
        Depth of the network.
    parameters
        Its settings.
    grid
        The settings that were tried. This one gave the least loss after 20,000 steps of those that
        were still finite after 100,000.
    curve
        Panel and curve of the published values.
    """

    name: str
    depth: int
    parameters: dict[str, float]
    grid: str
    curve: tuple[str, str]


_ADAM_GRID = "learning rates 3e-4, 1e-3, 3e-3, 1e-2"
BASELINES = (
    Baseline(
        "AdaGrad", 1, {"learning_rate": 1e-2, "initial_accumulator_value": 0.1},
        "learning rates 3e-3, 1e-2, 3e-2, 0.1, 0.5", ("L4_adaptive", "AdaGrad"),
    ),
    Baseline(
        "AdaDelta", 1, {"learning_rate": 1e-2, "rho": 0.95, "eps": 1e-6},
        "learning rates 3e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.3, 1, 3; from 2e-2 up it diverges within "
        "100,000 steps", ("L4_adaptive", "AdaDelta"),
    ),
    # For depth 1 the rate 2e-3 was tried too: 0.061 after 20,000 steps in place of 0.066.
    *(Baseline("Adam", depth, {"learning_rate": 1e-3}, _ADAM_GRID, ("L4_Adam", str(depth)))
      for depth in DEPTHS),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options of the study, checked.

    Attributes
    ----------
    exponents, depths
        Which p and which depths.
    steps
        Steps of every descent, or None for the defaults.
    seed
        Seed of the direction of the start.
    rtol
        Relative tolerance of the flows.
    """

    exponents: tuple[int, ...] = EXPONENTS
    depths: tuple[int, ...] = DEPTHS
    steps: int | None = None
    seed: int = 0
    rtol: float = 1e-8

    def descent_steps(self, p: int) -> int:
        """Steps of descent for an exponent."""
        return DEFAULT_STEPS[p] if self.steps is None else self.steps

    @property
    def edge(self) -> bool:
        """Whether the run at the edge of stability is among them."""
        return 2 in self.exponents and EDGE_DEPTH in self.depths

    @property
    def baselines(self) -> tuple[Baseline, ...]:
        """The adaptive optimizers to run."""
        return tuple(b for b in BASELINES if b.depth in self.depths) if 4 in self.exponents else ()

    def start(self, d: int) -> FloatArray:
        """The end-to-end start, of norm 0.01, shape (d,): a Gaussian direction."""
        direction = np.random.default_rng(self.seed).standard_normal(d)
        return START_SCALE * direction / np.linalg.norm(direction)


def check_settings(*, p: str | None, depth: str | None, steps: int | None) -> Settings:
    """Return the settings that options as typed stand for.

    Raises
    ------
    InputError
        If an exponent or a depth is none of the study's, or ``steps`` is no number of steps.
    """
    return Settings(
        exponents=_choices("--p", p, EXPONENTS),
        depths=_choices("--depth", depth, DEPTHS),
        steps=None if steps is None else check_count("--steps", steps, at_least=10),
    )


def recorded_iterations(steps: int) -> np.ndarray:
    """Iterations at which descent is recorded: even in the logarithm, and even."""
    spaced = np.geomspace(1, steps, 120), np.linspace(0, steps, 101)
    tabled = [k for k in TABLED if k <= steps]
    return np.unique(np.concatenate([*spaced, tabled]).round().astype(np.int64))


def flow_iterations(also: float) -> FloatArray:
    """Iterations at which the flow is recorded, ``also`` among them where it is in reach."""
    spaced = np.geomspace(20, HORIZON, 24).round()
    even = np.arange(1, 11) * (HORIZON / 10)
    times = np.unique(np.concatenate([[0.0], spaced, even, TABLED, [also]]))
    return times[times <= HORIZON]


def _choices(name: str, given: str | None, known: tuple[int, ...]) -> tuple[int, ...]:
    if given is None:
        return known
    words = [word.strip() for word in given.split(",")]
    for word in words:
        if word not in map(str, known):
            listed = ", ".join(map(str, known))
            raise InputError(
                f"{name} is {given!r}: this study has {listed}, one of them or several parted by "
                f"commas.{nearest(word, map(str, known)) if word else ''}"
            )
    return tuple(sorted({int(word) for word in words}))
