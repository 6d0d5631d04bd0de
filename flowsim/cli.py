"""The command line. Everything heavy is imported inside the commands: help must be instant."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from flowsim._errors import DatasetError, FlowsimError, InputError
from flowsim.studies.registry import FUNCTIONS, LAWS, STUDIES

if TYPE_CHECKING:
    from flowsim.studies.registry import Outcome, Study

OK, FAILED, USAGE, EARLY, INTERRUPTED = 0, 1, 2, 3, 130
SHELLS = ("bash", "zsh", "fish")

_EPILOG = """\
\b
Exit codes:
  0    done
  1    a run failed; what else was computed is saved
  2    wrong usage or wrong input
  3    a run ended early, and was saved with its reason
  130  interrupted by Ctrl-C; what was finished is saved
"""


class Name(click.ParamType):
    """One of a few names, completed by the shell; the nearest is offered for a wrong one."""

    name = "name"

    def __init__(self, what: str, names: Iterable[str], also: str = "") -> None:
        self.what, self.names, self.also = what, tuple(names), also

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or fail with the nearest one."""
        if value in self.names:
            return value
        close = difflib.get_close_matches(str(value), self.names, n=1, cutoff=0.4)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        known = ", ".join(self.names)
        self.fail(
            f"There is no {self.what} {value!r}.{hint} Known: {known}.{self.also}", param, ctx
        )

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        """Names that begin as typed."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(name) for name in self.names if name.startswith(incomplete)]


class Law(Name):
    """A family's name, or anything else, which is then a formula."""

    name = "law"

    def __init__(self) -> None:
        super().__init__("law", LAWS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return a name or a formula; a name that is nearly one of the families' is answered."""
        looks_named = str(value).replace("-", "").isalpha() and len(str(value)) > 3
        near = difflib.get_close_matches(str(value), self.names, n=1, cutoff=0.6)
        return super().convert(value, param, ctx) if looks_named and near else str(value)


def _families() -> str:
    """What formulas may use and the families built in, for the help of `derive`."""
    width = max(map(len, LAWS))
    families = "\n".join(f"  {n:{width}}  {what}" for n, what in LAWS.items())
    return (
        "\b\nFormulas use + - * / ** (entry by entry), @ and .T, numbers, and\n"
        f"  {', '.join(FUNCTIONS[:7])},\n  {', '.join(FUNCTIONS[7:])}.\n\n"
        f"\b\nFamilies:\n{families}"
    )


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flowsim", prog_name="flowsim")
def cli() -> None:
    """A laboratory for gradient flow: derive, lower, integrate, descend, compare."""


@cli.command("list")
def list_studies() -> None:
    """List the studies that `flowsim run` knows."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("Study", "What it does", "Paper"):
        table.add_column(heading)
    for study in STUDIES.values():
        table.add_row(study.name, study.description, study.paper)
    Console(highlight=False).print(table)


@cli.command(epilog=_families())
@click.argument("law", metavar="FORMULA|FAMILY", type=Law())
@click.option("--shape", metavar="'u:3, U:3x2'", help="Shapes of the factors of a formula.")
@click.option("--depth", metavar="N", help="Depth of a family; deep-linear takes N for a symbol.")
@click.option(
    "--size", "sizes", multiple=True, metavar="KEY=VALUE",
    help="A size of a family, such as d=3 or widths=2,3,1; repeat it for several.",
)  # fmt: skip
@click.option(
    "--output", type=click.Choice(["any", "single"]), default="any", show_default=True,
    help="Whether a deep linear network has any number of outputs or a single one.",
)  # fmt: skip
@click.option("--decay", is_flag=True, help="With weight decay lambda on the factors.")
@click.option("--laws", is_flag=True, help="Search for what is conserved, for every loss.")
@click.option("--closure", is_flag=True, help="Decide whether w moves by a law of its own.")
@click.option("--mirror", is_flag=True, help="Decide whether it is a mirror flow.")
@click.option("--latex", is_flag=True, help="Print LaTeX instead of plain text.")
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write a page with the formulas typeset, as well.",
)  # fmt: skip
def derive(
    law: str,
    shape: str | None,
    depth: str | None,
    sizes: tuple[str, ...],
    output: str,
    decay: bool,
    laws: bool,
    closure: bool,
    mirror: bool,
    latex: bool,
    html: Path | None,
) -> None:
    """Derive a law of motion and print it with its derivation.

    FORMULA is a parametrization in text, such as 'U @ diag(s) @ V.T', with the shapes of its
    factors in --shape; FAMILY is one that is built in.
    """
    from flowsim.reporting import derivation
    from flowsim.studies.laws import derive_family, derive_text

    single = output == "single"
    if law in LAWS:
        pairs = dict(_pair(size) for size in sizes)
        if shape is not None:
            raise click.UsageError(f"--shape is for formulas; {law} takes --size KEY=VALUE.")
        found = derive_family(law, depth=depth, sizes=pairs, single=single, decay=decay)
    else:
        if depth is not None or sizes or single:
            raise click.UsageError("A formula takes --shape, not --depth, --size or --output.")
        found = derive_text(law, shape, decay=decay)
    sections = derivation.law_sections(
        found, laws=laws, closes=closure, mirrors=mirror, single=single
    )
    page = derivation.latex_page if latex else derivation.text_page
    click.echo(page(sections))
    if html is not None:
        _writable(html.parent)
        derivation.write_law_page(sections, html, title=f"The law of {law}")
        click.echo(f"\npage    {html}")


def _pair(size: str) -> tuple[str, str]:
    key, equals, value = size.partition("=")
    if not equals:
        raise click.UsageError(f"--size {size}: write KEY=VALUE, such as d=3.")
    return key.strip(), value.replace(" ", "")


@cli.command()
@click.argument("study", type=Name("study", STUDIES))
@click.option("--p", metavar="2,4", help="Exponents of the loss.  [default: all of the study]")
@click.option("--depth", metavar="1,2,3", help="Depths.  [default: all of the study]")
@click.option(
    "--steps", type=click.IntRange(min=10), metavar="N",
    help="Steps of every descent.  [default: the study's]",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Folder for the results.  [default: flowsim-out/STUDY]",
)  # fmt: skip
def run(study: str, p: str | None, depth: str | None, steps: int | None, out: Path | None) -> None:
    """Run a study: its laws, its runs, a table, a netCDF file and an HTML report."""
    chosen = STUDIES[study]
    options = {"p": p, "depth": depth, "steps": steps}
    for name, value in options.items():
        if value is not None and name not in chosen.options:
            raise click.UsageError(f"The study {study} has no option --{name}.")
    folder = out if out is not None else Path("flowsim-out") / study
    sys.exit(_run(chosen, {n: v for n, v in options.items() if n in chosen.options}, folder))


@cli.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print how to switch on tab completion in a shell."""
    line = {
        "bash": 'eval "$(_FLOWSIM_COMPLETE=bash_source flowsim)"',
        "zsh": 'eval "$(_FLOWSIM_COMPLETE=zsh_source flowsim)"',
        "fish": "_FLOWSIM_COMPLETE=fish_source flowsim | source",
    }[shell]
    file = {
        "bash": "~/.bashrc",
        "zsh": "~/.zshrc",
        "fish": "~/.config/fish/completions/flowsim.fish",
    }
    click.echo(f"# Add this line to {file[shell]}, then open a new shell:\n{line}")


def _run(study: Study, options: dict[str, Any], folder: Path) -> int:
    """Run a study and return the exit code."""
    from flowsim.studies.terminal import make_console, show_table, watch

    console = make_console()
    with console.status("Loading and deriving"):
        plan = study.plan(**options)
    _writable(folder)
    for page in plan.pages():
        console.print(page, markup=False, soft_wrap=True)
        console.print()
    with watch(console) as progress:
        outcome = plan.run(progress)
    data, report = folder / f"{study.name}.nc", folder / "report.html"
    _save(outcome, data, report)
    for table in outcome.tables():
        show_table(console, table)
    for what, texts in (("failed", outcome.failures), ("ended early", outcome.unfinished)):
        for title, text in texts.items():
            _complain(f"{title} {what}: {text}")
    console.print(f"data    {data}", soft_wrap=True, markup=False)
    console.print(f"report  {report}", soft_wrap=True, markup=False)
    if outcome.interrupted:
        _complain("Interrupted; what was finished is saved.")
        return INTERRUPTED
    return FAILED if outcome.failures else EARLY if outcome.unfinished else OK


def _save(outcome: Outcome, data: Path, report: Path) -> None:
    from flowsim.trajectory.storage import write_netcdf

    write_netcdf(outcome.to_xarray(), data)
    outcome.report(report)


def _writable(folder: Path) -> None:
    """Make the folder, before any work starts."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".flowsim-write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise click.BadParameter(
            f"{folder} cannot be written to: {error.strerror}.", param_hint="'--out'"
        ) from None


def _complain(text: str) -> None:
    click.secho(text, fg="red", err=True)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code; the entry point ``flowsim``."""
    try:
        code = cli.main(args=arguments, prog_name="flowsim", standalone_mode=False)
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and error.ctx is not None:
            click.echo(error.ctx.get_usage(), err=True)
        _complain(f"Error: {error.format_message()}")
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _complain("Interrupted.")
        sys.exit(INTERRUPTED)
    except (InputError, DatasetError) as error:
        _complain(f"Error: {error}")
        sys.exit(USAGE)
    except FlowsimError as error:
        _complain(f"Error: {error}")
        sys.exit(FAILED)
    sys.exit(code if isinstance(code, int) else OK)


if __name__ == "__main__":
    main()
