"""Commands that propose crystals: ``design`` and ``generate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invdesign.cli.app import app, print_json, shown_progress

if TYPE_CHECKING:
    from invdesign.campaign import CampaignResult

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
Exclude = Annotated[str | None, typer.Option(help="Must not be there: Pb,Cd.", rich_help_panel="Target")]
Formula = Annotated[str | None, typer.Option(help="Exactly: Li2FeSiO4.", rich_help_panel="Target")]
Anonymous = Annotated[str | None, typer.Option(help="Formula type: ABC3.", rich_help_panel="Target")]
SpaceGroup = Annotated[
    str | None, typer.Option(help="Numbers, symbols, ranges: 225,Pnma,195..206.", rich_help_panel="Target")
]
NAtoms = Annotated[
    str | None, typer.Option(help="Atoms in the primitive cell: 5..20.", rich_help_panel="Target")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command("design")
def design_command(
    target: Clauses = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; default: run.")] = None,
    elements: Elements = None,
    only: Only = None,
    exclude: Exclude = None,
    formula: Formula = None,
    anonymous: Anonymous = None,
    space_group: SpaceGroup = None,
    n_atoms: NAtoms = None,
    config: Annotated[
        Path | None, typer.Option(help="Campaign as YAML; what is given here adds to it.")
    ] = None,
    n: Annotated[
        int | None, typer.Option("-n", "--n", help="Genes to generate.", rich_help_panel="Effort")
    ] = None,
    n_relax: Annotated[
        int | None,
        typer.Option(help="Candidates to relax, the best of the quick rank.", rich_help_panel="Effort"),
    ] = None,
    n_shortlist: Annotated[
        int | None, typer.Option(help="Candidates to hand on.", rich_help_panel="Effort")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same.", rich_help_panel="Effort")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes; default: one per core.", rich_help_panel="Effort")
    ] = None,
    include_known: Annotated[
        bool,
        typer.Option("--include-known", help="List known materials too, marked.", rich_help_panel="Target"),
    ] = False,
    generator: Annotated[
        str | None, typer.Option(help="Generator: name or folder.", rich_help_panel="Parts")
    ] = None,
    potential: Annotated[
        str | None, typer.Option(help="chgnet, a matgl folder, or a hub name.", rich_help_panel="Parts")
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(help="The potential's calibration: name or folder.", rich_help_panel="Parts"),
    ] = None,
    hull: Annotated[
        str | None, typer.Option(help="Reference hull: name, folder or CSV.", rich_help_panel="Parts")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No live funnel.")] = False,
    as_json: Json = False,
) -> None:
    """Go from a target to a shortlist of relaxed, stable, novel crystals.

    Leaves shortlist.csv, cifs/, candidates.db, funnel.png and run.json in the output folder. Stop it at any
    moment: the same command resumes.

    **Examples**

    invdesign design "band_gap=1.5±0.25" --out run

    invdesign design "band_gap>3" --elements O --exclude Pb,Cd --out wide-gap-oxides

    invdesign design --formula Li2FeSiO4 --n 2048 --n-relax 200 --out cathode
    """
    from invdesign.api import design

    options: dict[str, Any] = {
        "elements": elements,
        "only": only,
        "exclude": exclude,
        "formula": formula,
        "anonymous": anonymous,
        "space_group": space_group,
        "n_atoms": n_atoms,
        "out": out,
        "n_genes": n,
        "n_relax": n_relax,
        "n_shortlist": n_shortlist,
        "seed": seed,
        "workers": workers,
        "include_known": include_known or None,
        "generator": generator,
        "potential": potential,
        "calibration": calibration,
        "hull": hull,
    }
    given = {name: value for name, value in options.items() if value is not None}
    result = design(target or [], config=config, progress=not quiet, **given)
    if as_json:
        print_json(_as_json(result))
    else:
        _show(result)


def _as_json(result: CampaignResult) -> dict[str, Any]:
    from invdesign.report.table import row_of

    return {
        "out": str(result.out),
        "message": result.message,
        "shortlist": [row_of(candidate) for candidate in result.shortlist],
        "funnel": result.funnel.as_json(),
    }


def _show(result: CampaignResult) -> None:
    from rich.console import Console
    from rich.table import Table

    from invdesign.properties import PROPERTIES, STABILITY
    from invdesign.report.table import NOVELTY

    table = Table(
        box=None, pad_edge=False, header_style="bold", caption="[ , ]: 90 %", caption_justify="left"
    )
    names = [name for name in PROPERTIES if any(name in c.properties for c in result.shortlist)]
    shown = [name for name in names if name in {*result.config.target.windows, STABILITY}]
    for heading in ("", "formula", "group", "hit", *(_heading(name) for name in shown)):
        table.add_column(heading, justify="left" if heading == "formula" else "right", no_wrap=True)
    table.add_column("novelty")
    for candidate in result.shortlist:
        estimates = [candidate.properties[name] for name in shown]
        table.add_row(
            str(candidate.provenance["rank"]),
            candidate.gene.formula,
            str(candidate.gene.space_group),
            f"{candidate.provenance['p_hit']:.0%}",
            *(f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]" for e in estimates),
            NOVELTY[int(candidate.verdicts["novelty"].figure or 0)],
        )
    console = Console()
    if result.shortlist:
        console.print(table)
    console.print(f"\n{result.message}", highlight=False)
    console.print(f"{result.out}: shortlist.csv, cifs/, candidates.db, funnel.png, run.json", highlight=False)


def _heading(name: str) -> str:
    from invdesign.properties import PROPERTIES

    return f"{PROPERTIES[name].words}, {PROPERTIES[name].unit}"


@app.command("generate")
def generate_command(
    target: Clauses = None,
    elements: Elements = None,
    only: Only = None,
    exclude: Exclude = None,
    formula: Formula = None,
    anonymous: Anonymous = None,
    space_group: SpaceGroup = None,
    n_atoms: NAtoms = None,
    n: Annotated[int, typer.Option("-n", "--n", help="How many.", min=1)] = 20,
    seed: Annotated[int, typer.Option(help="The same seed gives the same.", min=0)] = 0,
    generator: Annotated[str, typer.Option(help="Generator: name or folder.")] = "gene-diffusion",
    out: Annotated[
        Path | None, typer.Option(help="Folder for one CIF each, not relaxed; without it genes alone.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Sample crystals from a generator, unjudged: its raw output, off-target and unbalanced ones included.

    **Examples**

    invdesign generate "band_gap>3" --elements O --n 100 --json

    invdesign generate --anonymous ABC3 --space-group 221 --n 50 --out raw
    """
    from invdesign.api import generate

    with shown_progress(show=out is not None) as progress:
        candidates = generate(
            target or [],
            n,
            seed=seed,
            generator=generator,
            structures=out,
            progress=progress,
            elements=elements,
            only=only,
            exclude=exclude,
            formula=formula,
            anonymous=anonymous,
            space_group=space_group,
            n_atoms=n_atoms,
        )
    if as_json:
        print_json(
            [
                {
                    "gene": str(candidate.gene),
                    "formula": candidate.gene.formula,
                    "n_atoms": candidate.gene.n_atoms,
                    **candidate.provenance,
                }
                for candidate in candidates
            ]
        )
        return
    for candidate in candidates:
        typer.echo(f"{candidate.gene.formula:20s} {candidate.gene}")
