"""Jobs side by side: what fails is noted, what is interrupted stops, the rest is kept."""

import threading

import pytest

from flowsim._errors import InputError
from flowsim.studies import jobs as jobs_module
from flowsim.studies.jobs import Job, Silence, run_jobs


def job(key, work, cost=1.0):
    return Job(key, key.upper(), work, cost)


class Ear(Silence):
    def __init__(self):
        self.heard = []

    def began(self, job):
        self.heard.append(("began", job.key))

    def reached(self, job, part):
        self.heard.append((job.key, part))

    def ended(self, job, problem):
        self.heard.append(("ended", job.key, problem))


def test_values_come_in_the_order_given_and_costly_jobs_first():
    ear = Ear()
    done = run_jobs(
        [job("a", lambda report: report(0.5) or 1, 1.0), job("b", lambda report: 2, 9.0)],
        ear,
        workers=1,
    )
    assert list(done.values.items()) == [("a", 1), ("b", 2)]
    assert not done.interrupted
    assert [told[1] for told in ear.heard if told[0] == "began"] == ["b", "a"]
    assert ("a", 0.5) in ear.heard


def test_a_job_that_fails_leaves_the_others():
    def fail(report):
        raise InputError("no such thing")

    done = run_jobs([job("a", fail), job("b", lambda report: 2)], Silence())
    assert done.values == {"b": 2}
    assert done.failures == {"a": "no such thing"}


def test_a_fault_of_ours_ends_the_whole():
    def fault(report):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_jobs([job("a", fault)], Silence())


def test_ctrl_c_stops_running_jobs_where_they_report_and_keeps_the_finished(monkeypatch):
    first_done, heard = threading.Event(), []

    def quick(report):
        first_done.set()
        return 1

    def endless(report):
        while True:
            try:
                report(0.1)
            except KeyboardInterrupt:
                heard.append("stopped")
                return "what it has"

    pauses = iter([True])

    def interrupting(waiting, **options):
        if next(pauses, False):
            first_done.wait(5)
            raise KeyboardInterrupt
        return plain_wait(waiting, **options)

    plain_wait = jobs_module.wait
    monkeypatch.setattr(jobs_module, "wait", interrupting)
    done = run_jobs(
        [job("a", quick, 9.0), job("b", endless, 8.0), job("c", endless, 1.0)], Silence()
    )
    assert done.interrupted
    assert done.values["a"] == 1
    assert done.values["b"] == "what it has"
    assert heard[0] == "stopped"


def test_one_press_that_arrives_twice_does_not_lose_what_is_finished(monkeypatch):
    started = threading.Event()

    def endless(report):
        while True:
            started.set()
            report(0.1)

    pauses = iter([True, True])

    def interrupting(waiting, **options):
        if next(pauses, False):
            started.wait(5)
            raise KeyboardInterrupt
        return plain_wait(waiting, **options)

    plain_wait = jobs_module.wait
    monkeypatch.setattr(jobs_module, "wait", interrupting)
    done = run_jobs([job("a", endless)], Silence(), workers=1)
    assert done.interrupted
    assert done.values == {}
    assert done.failures == {}
