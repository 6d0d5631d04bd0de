"""What the project promises as a package: versions, contents, lazy imports, commands, licence."""

import ast
import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [
    line
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
MODULES = sorted((ROOT / "flowsim").rglob("*.py"))


def direct_requirements():
    """Everything that pyproject.toml asks for, the build backend included."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    # The benchmarks' peers are pinned where they are named.
    extras = [group for n, group in PROJECT["optional-dependencies"].items() if n != "benchmarks"]
    return [
        Requirement(text) for group in (PROJECT["dependencies"], build, *extras) for text in group
    ]


def run_python(code):
    """Run code in a fresh interpreter and return what it prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


# --- one version ----------------------------------------------------------------------------------


def test_the_version_is_the_one_in_pyproject():
    assert run_python("import flowsim; print(flowsim.__version__)") == PROJECT["version"]
    assert metadata.version("flowsim") == PROJECT["version"]


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("CITATION.cff", r"^version: (\S+)$"), ("CHANGELOG.md", r"^## \[?(\d\S*?)\]?(?:\s|$)")],
)
def test_the_version_is_repeated_correctly(name, pattern):
    found = re.search(pattern, (ROOT / name).read_text(), re.MULTILINE)
    assert found is not None
    assert found[1].strip("\"'") == PROJECT["version"]


# --- imports --------------------------------------------------------------------------------------


def test_importing_flowsim_loads_neither_jax_nor_matplotlib():
    code = "import sys, flowsim; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    assert not {"jax", "jaxlib", "matplotlib"} & set(run_python(code).split())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_inner_modules_do_not_import_the_public_names(path):
    """`import flowsim`, or a public name from it, inside the package would be a cycle."""
    taken = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            taken += [alias.name for alias in node.names if alias.name == "flowsim"]
        elif isinstance(node, ast.ImportFrom) and node.module == "flowsim":
            inner = ROOT / "flowsim"
            taken += [
                alias.name
                for alias in node.names
                if not (inner / f"{alias.name}.py").exists()
                and not (inner / alias.name).is_dir()
                and alias.name != "__version__"
            ]
    assert taken == []


# --- what is shipped ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that the build backend makes from the tree as it stands."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    info = f"flowsim-{PROJECT['version']}.dist-info"
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"flowsim", info}
    modules = {str(path.relative_to(ROOT)) for path in MODULES}
    assert modules <= set(wheel.namelist())


def test_the_wheel_states_the_licence(wheel):
    info = f"flowsim-{PROJECT['version']}.dist-info"
    described = wheel.read(f"{info}/METADATA").decode()
    assert "\nLicense-Expression: Apache-2.0\n" in described
    shipped = wheel.read(f"{info}/licenses/LICENSE").decode()
    assert "Apache License" in shipped
    assert "Version 2.0, January 2004" in shipped
    assert "END OF TERMS AND CONDITIONS" in shipped


@pytest.mark.parametrize(
    "name", ["gas_ethanol/gas_ethanol_2565.npz", "acc2018/acc2018_fig_digitised.csv"]
)
def test_data_are_the_files_that_their_notes_describe(name):
    path = ROOT / "data" / name
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    assert checksum in (path.parent / "README.md").read_text()


# --- one version file, two commands ---------------------------------------------------------------


def test_pins_are_versions_without_addresses():
    assert [pin for pin in PINS if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", pin)] == []
    names = [canonicalize_name(pin.split("==")[0]) for pin in PINS]
    assert len(names) == len(set(names))


def test_every_direct_requirement_is_pinned_within_its_bounds():
    pinned = {canonicalize_name(n): v for n, v in (pin.split("==") for pin in PINS)}
    missing = [str(r) for r in direct_requirements() if canonicalize_name(r.name) not in pinned]
    assert missing == []
    outside = [
        str(r)
        for r in direct_requirements()
        if not r.specifier.contains(pinned[canonicalize_name(r.name)])
    ]
    assert outside == []


def test_tasks_needs_only_the_standard_library():
    imported = set()
    for node in ast.walk(ast.parse((ROOT / "tasks.py").read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert imported <= sys.stdlib_module_names


def test_an_unknown_task_prints_the_usage_and_fails():
    command = [sys.executable, str(ROOT / "tasks.py"), "deploy"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "python3 tasks.py test" in done.stderr


def test_the_readme_and_ci_give_the_same_command():
    readme = (ROOT / "README.md").read_text()
    assert "python3 tasks.py run\n" in readme
    assert "python3 tasks.py test\n" in readme
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "python3 tasks.py test"


def test_links_in_the_readme_lead_somewhere():
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / "README.md").read_text())
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
