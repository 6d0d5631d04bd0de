"""The command line: what it prints, what it refuses, and its exit codes."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from flowsim import cli
from flowsim.problems import functions
from flowsim.studies import registry
from flowsim.studies.laws import FAMILIES
from flowsim.studies.registry import LAWS, STUDIES, Study


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(list(arguments))
    printed = capsys.readouterr()
    return caught.value.code, printed.out, printed.err


def test_the_module_loads_nothing_heavy():
    code = "import sys, flowsim.cli; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    heavy = {"jax", "numpy", "sympy", "matplotlib", "scipy", "xarray", "rich", "equinox"}
    assert not heavy & set(loaded)


def test_help_documents_the_exit_codes(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0
    for number in ("0 ", "1 ", "2 ", "3 ", "130"):
        assert f"\n    {number}" in out


def test_the_version_is_printed(capsys):
    from flowsim import __version__

    code, out, _ = call(capsys, "--version")
    assert code == 0
    assert __version__ in out


def test_studies_are_listed_with_their_paper(capsys):
    code, out, _ = call(capsys, "list")
    assert code == 0
    assert "gas-ethanol" in out
    assert "1802.06509" in out


# --- laws -----------------------------------------------------------------------------------------


def test_a_law_is_printed_with_what_it_presumes_and_conserves(capsys):
    code, out, _ = call(capsys, "derive", "deep-linear", "--depth", "3", "--output", "single")
    assert code == 0
    assert "dW/dt = -||W||^(4/3)*(G + 2*Pr_W(G))" in out
    for told in ("balanced:", "single output:", "Conserved", "Derivation", "check"):
        assert told in out


def test_a_law_of_symbolic_depth_with_decay(capsys):
    code, out, _ = call(capsys, "derive", "deep-linear", "--depth", "N", "--decay")
    assert code == 0
    assert "lambda" in out
    assert "exp(-2*lambda*t)" in out


def test_a_law_of_symbolic_depth_for_a_single_output(capsys):
    _, out, _ = call(capsys, "derive", "deep-linear", "--depth", "N", "--output", "single")
    assert "||W||^(2 - 2/N)" in out


def test_a_law_as_latex(capsys):
    code, out, _ = call(capsys, "derive", "deep-linear", "--depth", "2", "--latex")
    assert code == 0
    assert out.startswith(r"\begin{aligned}")
    assert r"\nabla L" in out


def test_a_formula_is_derived_with_all_that_is_asked_for(capsys, tmp_path):
    page = tmp_path / "new" / "law.html"
    code, out, _ = call(
        capsys, "derive", "u**2 * v", "--shape", "u:(), v:()",
        "--laws", "--closure", "--mirror", "--html", str(page),
    )  # fmt: skip
    assert code == 0
    assert "dw/dt = -4 * u**2 * v**2 * G - u**4 * G" in out
    for told in ("Conserved", "Can it be written in w alone", "Is it a mirror flow?", "Derivation"):
        assert told in out
    html = page.read_text(encoding="utf-8")
    assert html.count("<math") > 8
    assert "http" not in html.replace("http://www.w3.org", "")


def test_a_formula_as_latex_is_balanced(capsys):
    arguments = ("derive", "U @ diag(s) @ V.T", "--shape", "U:3x2, s:2, V:4x2", "--latex")
    code, out, _ = call(capsys, *arguments)
    assert code == 0
    assert out.count(r"\left") == out.count(r"\right")
    assert out.count("{") == out.count("}")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_derived_by_its_name(capsys, family):
    depth = ("--depth", "2") if family == "deep-linear" else ()
    code, out, _ = call(capsys, "derive", family, *depth)
    assert code == 0
    assert "/dt = " in out


def test_the_names_that_help_lists_are_the_families():
    assert set(LAWS) == set(FAMILIES)
    assert set(registry.FUNCTIONS) == set(functions.FUNCTIONS)


def test_the_sizes_that_help_lists_are_the_defaults():
    for name, family in FAMILIES.items():
        for size, value in family.sizes.items():
            numbers = value if isinstance(value, tuple) else (value,)
            assert name == "deep-linear" or f"{size}={','.join(map(str, numbers))}" in LAWS[name]


# --- wrong input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "gas-ethanl"), "Did you mean 'gas-ethanol'?"),
        (("derive", "deep-linaer", "--depth", "2"), "Did you mean 'deep-linear'?"),
        (("derive", "deep-linear", "--depth", "0"), "--depth is '0'"),
        (("derive", "deep-linear", "--depth", "__import__('os')"), "--depth is"),
        (("derive", "deep-linear"), "--depth is missing"),
        (("derive", "u**2 * v"), "--shape is missing"),
        (("derive", "u**2 * x", "--shape", "u:2, v:2"), "x"),
        (("derive", "u.real", "--shape", "u:2"), "character"),
        (("derive", "u**2 * v", "--shape", "u:2, v:3"), "(3,)"),
        (("derive", "u**2 * v", "--shape", "u:2, v:2", "--depth", "3"), "takes --shape"),
        (("derive", "diagonal", "--shape", "u:2"), "--shape is for formulas"),
        (("derive", "diagonal", "--size", "dpeth=3"), "Did you mean 'depth'?"),
        (("derive", "diagonal", "--size", "depth"), "write KEY=VALUE"),
        (("derive", "diagonal", "--size", "depth=2,3"), "one whole number"),
        (("derive", "cp", "--size", "dims=2,x"), "whole numbers parted by commas"),
        (("derive", "cp", "--depth", "2"), "cp has no depth"),
        (("derive", "u*v", "--shape", "u:2, v:2", "--decay", "--closure"), "without weight decay"),
        (("run", "gas-ethanol", "--steps", "0"), "--steps"),
        (("run", "gas-ethanol", "--steps", "many"), "--steps"),
        (("rnu",), "No such command"),
        (("completion", "dos"), "dos"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(capsys, arguments, message):
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("option", "value"), [("--p", "3"), ("--depth", "7"), ("--p", "two"), ("--depth", "")]
)
def test_wrong_options_of_a_study_stop_it_before_any_work(
    capsys, monkeypatch, tmp_path, option, value
):
    from flowsim.studies.gas_ethanol import agenda as module

    monkeypatch.setattr(module.GasEthanolPlan, "run", lambda *a, **k: pytest.fail("work began"))
    code, _, err = call(capsys, "run", "gas-ethanol", option, value, "--out", str(tmp_path / "out"))
    assert code == 2
    assert not (tmp_path / "out").exists()
    assert f"{option} is {value!r}" in err
    assert "this study has" in err


def test_missing_data_say_where_to_put_them(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("FLOWSIM_DATA", str(tmp_path))
    code, _, err = call(capsys, "run", "gas-ethanol", "--out", str(tmp_path / "out"))
    assert code == 2
    assert "FLOWSIM_DATA" in err
    assert str(tmp_path) in err


def test_a_folder_that_cannot_be_written_to_is_refused_before_any_work(capsys, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = call(capsys, "run", "gas-ethanol", "--out", str(tmp_path / "file" / "below"))
    assert code == 2
    assert "cannot be written to" in err


# --- exit codes of runs ---------------------------------------------------------------------------


class Outcome:
    """What a study gives, made up."""

    def __init__(self, interrupted=False, failures=None, unfinished=None):
        self.interrupted = interrupted
        self.failures = failures or {}
        self.unfinished = unfinished or {}

    def tables(self):
        from flowsim.reporting import Table

        return (
            Table("What came out", ("Name:", "value"), (("yes: well", "1.5"),), note="A note."),
        )

    def to_xarray(self):
        import xarray as xr

        return xr.Dataset({"x": ("i", [1.0, 2.0])})

    def report(self, path):
        path.write_text("<!DOCTYPE html>")
        return path


@pytest.fixture
def study(monkeypatch):
    """A study whose outcome is given; returns the function that gives it."""

    def stand_in(work):
        plan = SimpleNamespace(pages=lambda: iter(["dW/dt = -G"]), run=work)
        module = SimpleNamespace(plan=lambda **options: plan)
        monkeypatch.setitem(sys.modules, "flowsim_made_up_study", module)
        made_up = Study("made-up", "nothing", "none", "flowsim_made_up_study", ("steps",))
        monkeypatch.setitem(STUDIES, "gas-ethanol", made_up)

    return stand_in


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome(), 0),
        (Outcome(failures={"a run": "It blew up."}), 1),
        (Outcome(unfinished={"a run": "It stopped."}), 3),
        (Outcome(failures={"a": "x"}, unfinished={"b": "y"}), 1),
        (Outcome(interrupted=True, unfinished={"b": "y"}), 130),
    ],
)
def test_exit_codes_say_how_a_study_ended_and_everything_is_saved(
    capsys, study, tmp_path, outcome, expected
):
    study(lambda progress: outcome)
    code, out, err = call(capsys, "run", "gas-ethanol", "--out", str(tmp_path))
    assert code == expected
    assert (tmp_path / "made-up.nc").is_file()
    assert (tmp_path / "report.html").is_file()
    for told in ("dW/dt = -G", "What came out", "✓ well", "A note.", "report.html", "made-up.nc"):
        assert told in out
    for text in (*outcome.failures.values(), *outcome.unfinished.values()):
        assert text in err


def test_an_option_that_a_study_does_not_take_is_refused(capsys, study, tmp_path):
    study(lambda progress: pytest.fail("work began"))
    code, _, err = call(capsys, "run", "gas-ethanol", "--p", "2", "--out", str(tmp_path))
    assert code == 2
    assert "has no option --p" in err


def test_progress_off_a_terminal_is_plain_lines(capsys, study, tmp_path):
    from flowsim.studies.jobs import Job, run_jobs

    jobs = [Job("a", "first run", lambda report: report(0.5), 1.0)]
    study(lambda progress: (run_jobs(jobs, progress), Outcome())[1])
    code, out, _ = call(capsys, "run", "gas-ethanol", "--out", str(tmp_path))
    assert code == 0
    assert "1/1 first run: done" in out
    assert "\x1b" not in out


# --- completion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_how_to_switch_it_on(capsys, shell):
    code, out, _ = call(capsys, "completion", shell)
    assert code == 0
    assert f"_FLOWSIM_COMPLETE={shell}_source" in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [("flowsim run g", "gas-ethanol"), ("flowsim derive d", "deep-linear"), ("flowsim r", "run")],
)
def test_names_are_completed(words, expected):
    environment = {
        **os.environ,
        "_FLOWSIM_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    command = [sys.executable, "-c", "from flowsim.cli import main; main()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert expected in done.stdout
