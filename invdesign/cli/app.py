"""The application that the commands register with: shared options, errors, interruptions, JSON."""

from __future__ import annotations

import errno
import json
import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from invdesign.errors import InputError, ReadAs, quoted, shortened
from invdesign.io.paths import is_there
from invdesign.version import __version__

# what a user can fix: no room, no permission, no such path
FIXABLE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR}
FIXABLE |= {errno.ENOENT, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}
USAGE_ERROR: Any = typer.BadParameter.__base__  # click's, which newer typers carry inside
RESUMING = ("design", "dft", "evaluate", "generate", "predict-structure", "screen", "train")


def _resumes(ctx: Any) -> str:  # noqa: ANN401 - click's context
    return "; the same command resumes" if ctx.invoked_subcommand in RESUMING else ""


def _show_read_as(message: Warning | str, *_: Any, **__: Any) -> None:  # noqa: ANN401 - of any warning
    typer.echo(str(message), err=True)


class Sentences(TyperGroup):
    """A command group that reports a user's error as one sentence on stderr, with exit code 2."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's context, which typer carries inside
        """Run the command that was called."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of libraries, to their developers
                warnings.simplefilter("default", ReadAs)  # each once
                warnings.showwarning = _show_read_as
                return super().invoke(ctx)
        except InputError as error:
            typer.secho(str(error), err=True, fg="red")
            raise typer.Exit(2) from error
        except USAGE_ERROR as error:
            error.message = shortened(error.message, 300)
            raise
        except KeyboardInterrupt as error:
            typer.echo(f"stopped{_resumes(ctx)}.", err=True)
            raise typer.Exit(130) from error
        except OSError as error:
            if error.errno not in FIXABLE:
                raise
            where = f"{quoted(error.filename)}: " if error.filename else ""
            typer.secho(f"{where}{os.strerror(error.errno)}; fix it{_resumes(ctx)}.", err=True, fg="red")
            raise typer.Exit(2) from error


def panel(title: str) -> Callable[..., Any]:
    """Return ``typer.Option`` for options that the help shows in a panel of their own."""
    return partial(typer.Option, rich_help_panel=title)


target_option, budget_option = panel("Target"), panel("Budget")
GENERATORS = "gene-diffusion, crystal-vae, ion-exchange, prototypes, or a folder"

Clauses = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TARGET…",
        help='Property windows: "band_gap=1.5±0.25" (by PBE), "band_gap_experimental=1.1..1.6" (measured), '
        '"band_gap>3", "e_above_hull<0.05".',
        show_default=False,
    ),
]
Elements = Annotated[
    list[str] | None, target_option(help="Required elements: O or Li,Fe,O; halogens: one of them.")
]
Only = Annotated[list[str] | None, target_option(help="Only these elements: Li,Fe,P,O or alkali,O.")]
Exclude = Annotated[
    list[str] | None,
    target_option(help="Excluded elements and families: Pb,Cd, toxic, lanthanides, noble-metals."),
]
Abundant = Annotated[
    bool,
    target_option("--abundant", help="Exclude elements below 1 mg/kg in the crust, or from one country."),
]
Formula = Annotated[str | None, target_option(help="Exact formula: Li2FeSiO4.")]
Anonymous = Annotated[str | None, target_option(help="Anonymous formula: ABC3.")]
SpaceGroup = Annotated[
    list[str] | None, target_option(help="Space groups by number, symbol or range: 225,Pnma,195..206.")
]
NAtoms = Annotated[str | None, target_option(help="Number of atoms in the primitive cell: 5..20.")]
Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILES…",
        help="CIF, POSCAR, extxyz, XSF, JSON, CSV with a cif column, ASE .db, .traj, ZIP, or folders.",
        show_default=False,
    ),
]
Seed = Annotated[
    int | None, budget_option(help="Random seed; the same seed gives the same result. Default: 0.")
]
Workers = Annotated[int | None, budget_option(help="Number of processes. Default: one per core.")]
Potential = Annotated[
    str,
    typer.Option(
        help="Universal potential: chgnet, 7net-0, 7net-l3i5, a matgl folder, OWNER/NAME[@REVISION] on the "
        "hub, or ase:MODULE:CALLABLE."
    ),
]
Calibration = Annotated[
    str | None,
    typer.Option(
        help="Calibration of the potential's energies to the hull: name or folder. Default: the one made "
        "for the potential."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


class OneOfEach(TyperCommand):
    """A command that loses no value: an option that takes one is refused when it is given twice."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's context
        """Read the arguments.

        Raises:
            InputError: an option for one value has several.
        """
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        single = [one for one in order if not (one.multiple or getattr(one, "is_flag", True))]
        if twice := next((one for one in single if single.count(one) > 1), None):
            name = max(twice.opts, key=len)
            raise InputError(f"{name.lstrip('-')}: {name} takes one value and is given twice; give it once.")
        return super().parse_args(ctx, args)


class App(typer.Typer):
    """An application whose commands are :class:`OneOfEach`."""

    def command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - typer's
        """Register a command."""
        return super().command(*args, **{"cls": OneOfEach} | options)


app = App(
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
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Design inorganic crystals: from a target property to a shortlist worth computing.

    Start with `invdesign design "band_gap=1.5±0.25" --out run`. The `--help` of each command has examples.
    `--json` prints results for programs.
    """


def pieces(values: list[str] | None) -> list[str]:
    """Return the values of an option that is repeated, divided by commas, or both; a path stays whole."""
    return [
        piece.strip()
        for value in values or []
        for piece in ([value] if is_there(value) else value.split(","))
        if piece.strip()
    ]


def excluding(exclude: list[str] | None, *, abundant: bool) -> list[str]:
    """Return what is excluded, scarce elements where only abundant ones are wanted."""
    return [*(exclude or []), *(["scarce"] if abundant else [])]


def passed_on(options: dict[str, Any], *others: str) -> dict[str, Any]:
    """Return what a command hands to the function of its name: the options that were set, but for others."""
    return {name: v for name, v in options.items() if name not in others and v is not None and v != []}


def print_json(result: Any) -> None:  # noqa: ANN401 - anything that JSON holds
    """Print a result on stdout as one JSON document."""
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False, default=str))


def main() -> None:
    """Run the ``invdesign`` command."""
    try:
        app()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
