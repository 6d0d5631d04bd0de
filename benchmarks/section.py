"""What a part of the benchmarks hands over: numbers, tables, bars, and what was left out."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Point, cheapest, cost_at, of, work_precision
from benchmarks.ours import AUTO
from benchmarks.problems import Task
from benchmarks.references import load
from benchmarks.rivals import Rival

RESULTS = Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Bar:
    """A ratio that is asked for: ``measured`` at least, or at most, ``asked``.

    ``measured`` is None where a rival has no result at that error; ``note`` then says whose.
    """

    problem: str
    what: str
    asked: float
    at_least: bool
    measured: float | None
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether it is reached; None where it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.asked if self.at_least else self.measured <= self.asked


@dataclasses.dataclass
class Section:
    """One part's results, as they are kept in ``results/`` and shown on the page.

    Attributes
    ----------
    points, titles
        Work and precision, and what each task is called.
    tables
        Captions and rows.
    bars, left_out, notes
        Bars, rivals left out with the reason, sentences for the page.
    """

    points: list[Point] = dataclasses.field(default_factory=list)
    titles: dict[str, str] = dataclasses.field(default_factory=dict)
    tables: list[tuple[str, list[dict[str, Any]]]] = dataclasses.field(default_factory=list)
    bars: list[Bar] = dataclasses.field(default_factory=list)
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    stamp: dict[str, Any] = dataclasses.field(default_factory=dict)

    def compete(
        self, task: Task, rivals: Sequence[Rival], *, rtols: Sequence[float], seconds: float
    ) -> None:
        """Measure rivals on a task and keep the points."""
        print(f"-- {task.name}", flush=True)
        began = time.perf_counter()
        points, left_out = work_precision(task, rivals, load(task), rtols=rtols, seconds=seconds)
        self.points += points
        self.titles[task.name] = task.title
        for rival, why in left_out.items():
            self.left_out.setdefault(rival, why)
        print(f"   {time.perf_counter() - began:.0f} s", flush=True)

    def rivals(self, task: str, *, ours: bool) -> list[str]:
        """Labels of flowsim's rivals, or of the others, that have points on a task."""
        labels = dict.fromkeys(p.rival for p in self.points if p.task == task)
        return [label for label in labels if label.startswith("flowsim") == ours]

    def bar_fewer(
        self, problem: str, task: str, than: str, error: float, asked: float, cost: str
    ) -> None:
        """Ask that auto is so many times cheaper than a rival at an error."""
        ours = cost_at(of(self.points, task, AUTO), error, cost)
        theirs = cost_at(of(self.points, task, than), error, cost)
        ratio = None if ours is None or theirs is None else theirs / ours
        missing = AUTO if ours is None else than
        note = f"{missing} does not reach {error:g}" if ratio is None else ""
        what = f"{cost} of {than} over auto's at error {error:g}"
        self.bars.append(Bar(problem, what, asked, True, ratio, note))

    def bar_best(self, problem: str, task: str, error: float, cost: str = "seconds") -> None:
        """Ask that auto is within 1.2 of the best fixed choice, and not behind the best peer."""
        auto = cost_at(of(self.points, task, AUTO), error, cost)
        fixed = [label for label in self.rivals(task, ours=True) if label != AUTO]
        for group, name, asked in (
            (fixed, "best fixed choice of ours", 1.2),
            (self.rivals(task, ours=False), "best peer", 1.0),
        ):
            best = cheapest(self.points, task, group, error, cost)
            ratio = None if auto is None or best is None else auto / best[1]
            note = "no rival reaches it" if best is None else f"best: {best[0]}"
            if auto is None:
                note = f"auto does not reach {error:g}; {note}"
            what = f"{cost} of auto over the {name}'s at error {error:g}"
            self.bars.append(Bar(problem, what, asked, False, ratio, note))

    def save(self, name: str) -> None:
        """Keep the results."""
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps(dataclasses.asdict(self), indent=1, default=float)
        (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name: str) -> Section | None:
        """The kept results, or None."""
        file = RESULTS / f"{name}.json"
        if not file.exists():
            return None
        kept = json.loads(file.read_text(encoding="utf-8"))
        kept["points"] = [Point(**point) for point in kept["points"]]
        kept["bars"] = [Bar(**bar) for bar in kept["bars"]]
        return cls(**kept)
