"""Progress and tables in the terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

from flowsim.reporting.blocks import VERDICTS, Table, split_verdict
from flowsim.studies.jobs import Job

_SECONDS_BETWEEN_LINES = 10.0
_WIDE, _MANY, _LOG_WIDTH = 110, 5, 120
_STYLES = {"yes": "green", "no": "red"}


class Watch:
    """Counts what is done of all jobs, by their expected costs, and estimates the time left."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lock = threading.Lock()
        self.parts: dict[str, float] = {}
        self.costs: dict[str, float] = {}
        self.finished = 0
        self.start = time.monotonic()

    def planned(self, jobs: Sequence[Job]) -> None:
        """Note the jobs."""
        self.costs = {job.key: job.cost for job in jobs}
        self.parts = dict.fromkeys(self.costs, 0.0)

    def began(self, job: Job) -> None:
        """Show that a job begins."""

    def reached(self, job: Job, part: float) -> None:
        """Note a part done."""
        with self.lock:
            self.parts[job.key] = min(1.0, max(self.parts[job.key], part))
        self.shown(job)

    def ended(self, job: Job, problem: str | None) -> None:
        """Note that a job has ended."""
        with self.lock:
            self.parts[job.key] = 1.0
            self.finished += 1
        self.closed(job, problem)

    def stopping(self) -> None:
        """Say that it takes a moment."""
        self.console.print("Stopping; what is finished is saved. Ctrl-C again gives that up.")

    def shown(self, job: Job) -> None:
        """Show a job's part."""

    def closed(self, job: Job, problem: str | None) -> None:
        """Show a job's end."""

    @property
    def done(self) -> float:
        """The part of all work that is done."""
        total = sum(self.costs.values())
        return sum(self.costs[k] * part for k, part in self.parts.items()) / total if total else 1.0

    @property
    def left(self) -> str:
        """The time left, in words."""
        done, spent = self.done, time.monotonic() - self.start
        if done < 0.03 or spent < 3:
            return "estimating the time left"
        seconds = spent * (1 - done) / done
        return f"{seconds / 60:.0f} min left" if seconds > 90 else f"{seconds:.0f} s left"


class Bars(Watch):
    """A bar for all work and one for each running job, redrawn in place."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(progress.console)
        self.progress = progress
        self.bars: dict[str, TaskID] = {}
        self.all = progress.add_task("all", total=1.0, note="")

    def began(self, job: Job) -> None:
        """Add a bar."""
        self.bars[job.key] = self.progress.add_task(job.title, total=1.0, note="")

    def shown(self, job: Job) -> None:
        """Move the bars."""
        if job.key in self.bars:
            self.progress.update(self.bars[job.key], completed=self.parts[job.key])
        note = f"{self.finished}/{len(self.costs)} runs, {self.left}"
        self.progress.update(self.all, completed=self.done, note=note)

    def closed(self, job: Job, problem: str | None) -> None:
        """Take the job's bar away."""
        bar = self.bars.pop(job.key, None)
        if bar is not None:
            self.progress.remove_task(bar)
        self.shown(job)


class Lines(Watch):
    """A line for each run that ends, and now and then how far it is: for logs."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.last = time.monotonic()

    def shown(self, job: Job) -> None:
        """Say how far it is, not too often."""
        now = time.monotonic()
        with self.lock:
            if now - self.last < _SECONDS_BETWEEN_LINES:
                return
            self.last = now
        self._say(f"{100 * self.done:.0f} % done, {self.left}")

    def closed(self, job: Job, problem: str | None) -> None:
        """Say that a run has ended."""
        self.last = time.monotonic()
        end = "done" if problem is None else "stopped"
        self._say(f"{self.finished}/{len(self.costs)} {job.title}: {end}")

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)


@contextmanager
def watch(console: Console) -> Iterator[Watch]:
    """Progress with the time left on a terminal, plain lines elsewhere."""
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bars(progress)


def show_table(console: Console, table: Table) -> None:
    """Print a report's table; where it is too wide, the words of its last column stand below."""
    numbers = [not column.endswith(":") for column in table.columns]
    below = console.width < _WIDE and sum(numbers) > _MANY and not numbers[-1]
    kept = len(table.columns) - below
    shown = RichTable(
        title=table.title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for column, number in zip(table.columns[:kept], numbers, strict=False):
        shown.add_column(
            column.removesuffix(":"), justify="right" if number else "left", no_wrap=number
        )
    for row in table.rows:
        shown.add_row(*map(_marked, row[:kept]))
    console.print()
    console.print(shown)
    if below:
        for row in table.rows:
            head = ", ".join(f"{c} {v}" for c, v in zip(table.columns[:2], row[:2], strict=True))
            console.print(Text.assemble(f"{head}: ", _marked(row[-1])))
    if table.note:
        console.print(Text(table.note.replace("`", ""), style="dim"))
    console.print()


def make_console() -> Console:
    """A console of the terminal's width, or of a width that suits a log."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_LOG_WIDTH)


def _marked(cell: str) -> Text:
    verdict, words = split_verdict(cell)
    if not verdict:
        return Text(words.replace("`", ""))
    mark = VERDICTS[f"{verdict}: "]
    return Text.assemble((f"{mark} ", _STYLES[verdict]), words.replace("`", ""))
