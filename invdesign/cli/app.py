"""The application that the commands register with: how errors, interruptions and results are shown."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from invdesign.errors import InputError
from invdesign.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# what a user can mend: no room, no right, no such place
USERS_OWN = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR}
USERS_OWN |= {errno.ENOENT, errno.EEXIST}


RESUMING = ("design", "dft", "evaluate", "generate", "predict-structure", "screen", "train")


def _resumes(ctx: Any) -> str:  # noqa: ANN401 - click's context
    return "; the same command resumes" if ctx.invoked_subcommand in RESUMING else ""


class Sentences(TyperGroup):
    """A command group whose users' errors are one sentence on stderr and exit code 2."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's context, which typer carries inside
        """Run the command that was called."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            typer.secho(str(error), err=True, fg="red")
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.echo(f"stopped{_resumes(ctx)}.", err=True)
            raise typer.Exit(130) from error
        except OSError as error:
            if error.errno not in USERS_OWN:
                raise
            where = f"{error.filename!r}: " if error.filename else ""
            typer.secho(f"{where}{os.strerror(error.errno)}; mend it{_resumes(ctx)}.", err=True, fg="red")
            raise typer.Exit(2) from error


Potential = Annotated[
    str, typer.Option(help="chgnet, a matgl folder, a hub name (NAME@REVISION), or ase:MODULE:CALLABLE.")
]

Clauses = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TARGET…",
        help='What is wanted: "band_gap=1.5±0.25", "band_gap=1.2..1.8", "band_gap>3", "e_above_hull<0.05".',
        show_default=False,
    ),
]
Elements = Annotated[str | None, typer.Option(help="Must be there: O or Li,Fe,O.", rich_help_panel="Target")]
Only = Annotated[str | None, typer.Option(help="Nothing else may be there.", rich_help_panel="Target")]
Exclude = Annotated[
    str | None, typer.Option(help="Must not be there: Pb,Cd, toxic, radioactive.", rich_help_panel="Target")
]
Formula = Annotated[str | None, typer.Option(help="Exactly: Li2FeSiO4.", rich_help_panel="Target")]
Anonymous = Annotated[str | None, typer.Option(help="Formula type: ABC3.", rich_help_panel="Target")]
SpaceGroup = Annotated[
    str | None, typer.Option(help="Numbers, symbols, ranges: 225,Pnma,195..206.", rich_help_panel="Target")
]
NAtoms = Annotated[
    str | None, typer.Option(help="Atoms in the primitive cell: 5..20.", rich_help_panel="Target")
]
Seed = Annotated[
    int | None, typer.Option(help="The same seed gives the same; default: 0.", rich_help_panel="Effort")
]
Workers = Annotated[
    int | None, typer.Option(help="Processes; default: one per core.", rich_help_panel="Effort")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
GENERATORS = "gene-diffusion, crystal-vae, ion-exchange, prototypes or a folder"

app = typer.Typer(
    name="invdesign",
    cls=Sentences,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"invdesign {__version__}")
        raise typer.Exit


@app.callback()
def invdesign(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Inverse design of inorganic crystals: from a target property to a shortlist worth computing.

    Start with `invdesign design "band_gap=1.5±0.25" --out run`. Each command's `--help`
    has an example; `--json` prints the result for machines.
    """


def print_json(result: Any) -> None:  # noqa: ANN401 - anything that JSON holds
    """Print a result on stdout as one JSON document."""
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False, default=str))


LINE_SHARE, LINE_SECONDS = 0.1, 30.0  # between lines where there is no terminal


@contextmanager
def shown_progress(*, show: bool = True) -> Iterator[Callable[[float, str], None]]:
    """A function that shows the share done and a message on stderr: a bar on a terminal, else some lines."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    plain = show and not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=plain or not show) as bar:
        task = bar.add_task("", total=1.0)
        last_share, last_time = 0.0, time.monotonic()

        def told(share: float, message: str) -> None:
            nonlocal last_share, last_time
            bar.update(task, completed=share, description=message)
            now = time.monotonic()
            due = share - last_share >= LINE_SHARE or now - last_time >= LINE_SECONDS
            if plain and (due or last_share < share >= 1):
                console.print(f"{share:4.0%} {message}", highlight=False)
                last_share, last_time = share, now

        yield told


def main() -> None:
    """Entry point of the ``invdesign`` command."""
    import warnings

    # what libraries tell their developers; ours are verdicts and sentences
    warnings.simplefilter("ignore")
    try:
        app()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
