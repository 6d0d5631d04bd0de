"""The project's commands, each sufficient on a machine that has only Python 3.11 or newer.

    python3 tasks.py run [ARGS ...]    set up, then: flowsim run gas-ethanol ARGS
    python3 tasks.py test [ARGS ...]   set up, then lint, types, layers, proofs, and: pytest ARGS
    python3 tasks.py pin               resolve the dependencies afresh and rewrite constraints.txt

`run` and `test` make an isolated environment in .venv beside this file, install the versions that
constraints.txt pins, and reuse the environment until something it was made from changes.
Standard library only.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "made-by-tasks.txt"
CONSTRAINTS = ROOT / "constraints.txt"
HEADER = """\
# The one version file: the versions that `python3 tasks.py run` and `... test` install.
# Written by `python3 tasks.py pin`; do not edit by hand.
"""
BACKEND = ("hatchling", "editables")  # what an editable build by hatchling needs
PIP_INSTALL = ("python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")


def programs(environment: Path) -> Path:
    """Folder of an environment's programs."""
    return environment / ("Scripts" if os.name == "nt" else "bin")


def step(name: str, *command: str, environment: Path = VENV, cwd: Path | None = ROOT) -> None:
    """Run a program of the environment; when it fails, exit with its code."""
    print(f"== {name}", flush=True)
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    env["VIRTUAL_ENV"] = str(environment)
    env["PATH"] = os.pathsep.join([str(programs(environment)), env.get("PATH", os.defpath)])
    process = subprocess.Popen([programs(environment) / command[0], *command[1:]], env=env, cwd=cwd)
    while process.returncode is None:
        try:
            process.wait()
        except KeyboardInterrupt:
            continue  # the program has got the signal too and ends in its own way
    if code := process.returncode:
        print(f"== {name}: failed with exit code {code}", file=sys.stderr)
        sys.exit(code if code > 0 else 128 - code)  # a negative code is the signal that ended it


def create(environment: Path) -> None:
    """Make an empty environment, replacing what stands there."""
    if any(importlib.util.find_spec(module) is None for module in ("venv", "ensurepip")):
        sys.exit(
            "This Python cannot make environments: its module venv or ensurepip is missing.\n"
            "On Debian and Ubuntu install the package python3-venv, then run this again."
        )
    import venv

    print(f"== create {environment}", flush=True)
    try:
        venv.create(environment, clear=True, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"The environment {environment} could not be made: {error}")


def fingerprint() -> str:
    """Checksum of all that an environment depends on."""
    parts = [CONSTRAINTS.read_bytes(), (ROOT / "pyproject.toml").read_bytes()]
    parts += [sys.version.encode(), str(ROOT).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def setup(target: str) -> None:
    """Make `.venv` hold `target`, `.` or `.[test]`, in the pinned versions."""
    if VENV.exists() and not STAMP.exists():
        sys.exit(f"{VENV} was not made, or not finished, by tasks.py: remove it, then run again.")
    current = fingerprint()
    made_from, installed = (*STAMP.read_text().split(), "", "")[:2] if STAMP.exists() else ("", "")
    if made_from != current:
        create(VENV)
        STAMP.write_text(f"{current}\n")
    elif installed in (target, ".[test]"):
        return
    # The build backend is pinned like everything else: it is installed first and used as it is.
    step("install the build backend", *PIP_INSTALL, "-c", str(CONSTRAINTS), *BACKEND)
    options = ("-c", str(CONSTRAINTS), "--no-build-isolation")
    step(f"install {target} (minutes, the first time)", *PIP_INSTALL, *options, "-e", target)
    STAMP.write_text(f"{current} {target}\n")


def run(*arguments: str) -> None:
    """Run the main job in the caller's folder, so that a relative `--out` means what it says."""
    setup(".")
    step("flowsim run gas-ethanol", "flowsim", "run", "gas-ethanol", *arguments, cwd=None)


def test(*arguments: str) -> None:
    """Run every check; pytest comes last, so that its closing line ends the output."""
    setup(".[test]")
    step("ruff check", "ruff", "check", ".")
    step("ruff format --check", "ruff", "format", "--check", ".")
    step("lint-imports", "lint-imports")
    step("basedpyright flowsim", "basedpyright", "flowsim")
    step("derivations", "python", "-m", "derivations")
    step("pytest", "python", "-m", "pytest", "-n", "2", *arguments)


def pin() -> None:
    """Resolve the dependencies without constraints and record the versions chosen."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "venv"
        create(fresh)
        target = f"{ROOT}[test]"
        step("resolve", *PIP_INSTALL, *BACKEND, "-e", target, environment=fresh)
        listing = [programs(fresh) / "python", "-m", "pip", "list", "--format=freeze"]
        listing += [f"--exclude={name}" for name in ("flowsim", "pip", "setuptools")]
        pins = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split()
    CONSTRAINTS.write_text(HEADER + "\n".join(sorted(pins, key=str.lower)) + "\n")
    print(f"== {len(pins)} versions written to {CONSTRAINTS.name}")


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 (an older Python gets a sentence, not a traceback)
        sys.exit(f"flowsim needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    tasks = {"run": run, "test": test, "pin": pin}
    if len(sys.argv) < 2 or sys.argv[1] not in tasks or (sys.argv[1] == "pin" and sys.argv[2:]):
        sys.exit(__doc__)
    tasks[sys.argv[1]](*sys.argv[2:])
