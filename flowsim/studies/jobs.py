"""Independent jobs side by side in threads: JAX's compiled loops leave the interpreter free.

A job reports its progress now and then, and is stopped there when the study is interrupted: the
report raises ``KeyboardInterrupt`` in the job's own thread, which integrators and optimizers answer
by returning what they have.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Protocol

from flowsim._errors import FlowsimError

#: Takes the part of a job that is done, from 0 to 1.
Report = Callable[[float], None]
_POLL_SECONDS = 0.2
_SAME_PRESS_SECONDS = 1.0  # a second signal within it is the first one again


class Progress(Protocol):
    """Hears of the progress of jobs; called from the threads that run them."""

    def planned(self, jobs: Sequence[Job]) -> None:
        """All jobs, before the first begins."""

    def began(self, job: Job) -> None:
        """A job begins."""

    def reached(self, job: Job, part: float) -> None:
        """A job has done a part of its work."""

    def ended(self, job: Job, problem: str | None) -> None:
        """A job has ended, with a problem or without."""

    def stopping(self) -> None:
        """Ctrl-C was heard; running jobs end when they report next."""


class Silence:
    """Progress that nobody watches."""

    def planned(self, jobs: Sequence[Job]) -> None:
        """Say nothing."""

    def began(self, job: Job) -> None:
        """Say nothing."""

    def reached(self, job: Job, part: float) -> None:
        """Say nothing."""

    def ended(self, job: Job, problem: str | None) -> None:
        """Say nothing."""

    def stopping(self) -> None:
        """Say nothing."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A piece of work that depends on no other.

    Attributes
    ----------
    key, title
        Its name, for the program and for the reader.
    work
        Does it, and calls its argument with the part done.
    cost
        Expected seconds; the costly ones go first, and the time left is estimated by it.
    """

    key: str
    title: str
    work: Callable[[Report], Any]
    cost: float


@dataclasses.dataclass(frozen=True)
class Finished:
    """What became of the jobs: values by key, in the order given, and what went wrong."""

    values: dict[str, Any]
    failures: dict[str, str]
    interrupted: bool


def run_jobs(jobs: Sequence[Job], progress: Progress, *, workers: int = 2) -> Finished:
    """Run jobs in threads, the costly ones first.

    A job that raises a :class:`FlowsimError` is noted and the others go on; any other exception
    ends the whole. On Ctrl-C the running jobs are told to stop, and what is there is returned.
    """
    cancelled = threading.Event()
    progress.planned(jobs)

    def run(job: Job) -> Any:
        if cancelled.is_set():
            raise KeyboardInterrupt
        progress.began(job)

        def report(part: float) -> None:
            progress.reached(job, part)
            if cancelled.is_set():
                raise KeyboardInterrupt

        problem = None
        try:
            return job.work(report)
        except BaseException as error:
            problem = str(error) or type(error).__name__
            raise
        finally:
            progress.ended(job, problem)

    with ThreadPoolExecutor(max_workers=workers) as pool:
        order = sorted(jobs, key=lambda job: -job.cost)
        futures: dict[str, Future] = {job.key: pool.submit(run, job) for job in order}
        try:
            _wait(futures)
        except KeyboardInterrupt:
            cancelled.set()
            progress.stopping()
            _drain(futures)
        except BaseException:
            cancelled.set()
            raise
    values, failures = {}, {}
    for job in jobs:
        error = futures[job.key].exception()
        if error is None:
            values[job.key] = futures[job.key].result()
        elif isinstance(error, FlowsimError):
            failures[job.key] = str(error)
    return Finished(values, failures, cancelled.is_set())


def _drain(futures: dict[str, Future]) -> None:
    """Wait for jobs that were told to stop; another Ctrl-C, typed on purpose, ends the wait."""
    began = time.monotonic()
    while True:
        try:
            return _wait(futures)
        except KeyboardInterrupt:
            if time.monotonic() - began > _SAME_PRESS_SECONDS:
                raise


def _wait(futures: dict[str, Future]) -> None:
    """Wait for all, awake often enough to hear Ctrl-C; raise what is no fault of the input."""
    waiting = set(futures.values())
    while waiting:
        done, waiting = wait(waiting, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            error = future.exception()
            if error is not None and not isinstance(error, (FlowsimError, KeyboardInterrupt)):
                raise error
