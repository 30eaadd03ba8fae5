"""The command ``design``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invdesign.cli.app import (
    GENERATORS,
    Anonymous,
    Clauses,
    Elements,
    Exclude,
    Formula,
    Json,
    NAtoms,
    Only,
    Seed,
    SpaceGroup,
    Workers,
    app,
    print_json,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from invdesign.campaign import CampaignConfig, CampaignResult
    from invdesign.campaign.active_learning.round import Round
    from invdesign.core.candidate import Candidate
    from invdesign.core.funnel import Yield


Out = Annotated[Path | None, typer.Option(help="Folder of the results; default: run.")]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="Formulas to make structures of: a screening's folder or table, any CSV, Parquet or text.",
        rich_help_panel="Target",
    ),
]
Config = Annotated[Path | None, typer.Option(help="Campaign as YAML; what is given here adds to it.")]
Risk = Annotated[
    float | None,
    typer.Option(
        "--max-hhi",
        help="Supply risk, of production and of reserves: 0 to 10000; above 2500 counts as concentrated.",
        rich_help_panel="Target",
    ),
]
Abundance = Annotated[
    float | None,
    typer.Option(
        "--min-abundance",
        help="Of every element in the earth's crust, mg/kg: 1 leaves out Ag, Te, In, Pt, …",
        rich_help_panel="Target",
    ),
]
Known = Annotated[
    bool, typer.Option("--include-known", help="List known materials too, marked.", rich_help_panel="Target")
]
Genes = Annotated[int | None, typer.Option("-n", "--n", help="Genes to generate.", rich_help_panel="Effort")]
Relaxed = Annotated[
    int | None,
    typer.Option(help="Candidates to relax, the best of the quick rank.", rich_help_panel="Effort"),
]
Shortlisted = Annotated[int | None, typer.Option(help="Candidates to hand on.", rich_help_panel="Effort")]
Generators = Annotated[
    list[str] | None,
    typer.Option(
        help=f"{GENERATORS}; may be repeated: several share the relaxations by their yield.",
        rich_help_panel="Parts",
    ),
]
PotentialPart = Annotated[
    str | None, typer.Option(help="chgnet, a matgl folder, or a hub name.", rich_help_panel="Parts")
]
Calibration = Annotated[
    str | None, typer.Option(help="The potential's calibration: name or folder.", rich_help_panel="Parts")
]
Hull = Annotated[
    str | None, typer.Option(help="Reference hull: name, folder or CSV.", rich_help_panel="Parts")
]
Check = Annotated[
    str | None,
    typer.Option(
        help="Gates beyond the hull, seconds a candidate: phonons (imaginary modes), md (2 ps at 300 K).",
        rich_help_panel="Parts",
    ),
]
Continue = Annotated[
    Path | None,
    typer.Option(
        "--continue",
        help="Folder of a finished campaign with DFT results: learn from them and choose what is next.",
        rich_help_panel="Next round",
    ),
]
Choose = Annotated[
    str | None,
    typer.Option(
        help="hits (the default): the likeliest; information: what tells most about the others.",
        rich_help_panel="Next round",
    ),
]
CONTINUING = {"n_genes", "n_relax", "n_shortlist", "workers"}


@app.command("design")
def design_command(
    target: Clauses = None,
    out: Out = None,
    elements: Elements = None,
    only: Only = None,
    exclude: Exclude = None,
    formula: Formula = None,
    from_: From = None,
    anonymous: Anonymous = None,
    space_group: SpaceGroup = None,
    n_atoms: NAtoms = None,
    max_hhi: Risk = None,
    min_abundance: Abundance = None,
    config: Config = None,
    n: Genes = None,
    n_relax: Relaxed = None,
    n_shortlist: Shortlisted = None,
    seed: Seed = None,
    workers: Workers = None,
    include_known: Known = False,
    generator: Generators = None,
    potential: PotentialPart = None,
    calibration: Calibration = None,
    hull: Hull = None,
    check: Check = None,
    continue_: Continue = None,
    choose: Choose = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No live funnel.")] = False,
    as_json: Json = False,
) -> None:
    """Go from a target to a shortlist of relaxed, stable, novel crystals.

    Leaves shortlist.csv, shortlist.json, cifs/, candidates.db, funnel.png and run.json in the output folder.
    Stop it at any moment: the same command resumes.

    **Examples**

    invdesign design "band_gap=1.5±0.25" --out run

    invdesign design "band_gap>3" --elements O --exclude toxic --max-hhi 2500 --out wide-gap-oxides

    invdesign design --formula Li2FeSiO4 --n 2048 --n-relax 200 --out cathode

    invdesign design "band_gap=1.5±0.3" --from screened --out absorbers

    invdesign design "band_gap=1.5±0.25" --check phonons,md --out checked

    invdesign design --continue run --choose hits --n-shortlist 10
    """
    from invdesign.api import design, next_round

    conditions = {"elements": elements, "only": only, "exclude": exclude, "formula": formula}
    conditions |= {"anonymous": anonymous, "space_group": space_group, "n_atoms": n_atoms}
    effort = {"n_genes": n, "n_relax": n_relax, "n_shortlist": n_shortlist, "seed": seed, "workers": workers}
    parts = {"generator": generator or None, "potential": potential, "calibration": calibration}
    parts |= {"hull": hull, "check": check}
    options: dict[str, Any] = {
        "from_": from_,
        **conditions,
        **effort,
        **parts,
        "out": out,
        "include_known": include_known or None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    limits = {"hhi<": max_hhi, "abundance>": min_abundance}
    clauses = [*(target or []), *(f"{name}{limit}" for name, limit in limits.items() if limit is not None)]
    if continue_ is not None or choose is not None:
        _refuse(continue_, sorted(given.keys() - CONTINUING), own_target=bool(clauses or config))
        chosen = next_round(continue_, choose=choose or "hits", progress=not quiet, **given)  # type: ignore[arg-type]
        _show_round(chosen, as_json=as_json)
        return
    result = design(clauses, config=config, progress=not quiet, **given)
    if as_json:
        print_json(_as_json(result))
    else:
        _show(result)


def _refuse(run: Path | None, options: Sequence[str], *, own_target: bool) -> None:
    """What a round after the first takes from the campaign that it continues."""
    from invdesign.errors import InputError

    if run is None:
        raise InputError(
            "choose: it is for the rounds after the first; give --continue FOLDER of a finished campaign."
        )
    if options or own_target:
        named = ", ".join([*(["target"] if own_target else []), *(name.strip("_") for name in options)])
        raise InputError(f"continue: the campaign's own target and parts are used; leave out {named}.")


def _show_round(chosen: Round, *, as_json: bool) -> None:
    from rich.console import Console

    from invdesign.report.shortlist_csv import row_of

    if as_json:
        print_json(
            {
                "out": str(chosen.out),
                "message": chosen.message,
                "learned": chosen.lines(),
                "shortlist": [row_of(candidate) for candidate in chosen.shortlist],
            }
        )
        return
    console = Console()
    for line in chosen.lines():
        console.print(line, highlight=False, soft_wrap=True)
    console.print()
    _print_shortlist(chosen.shortlist, chosen.config, console)
    console.print(f"\n{chosen.message}", highlight=False)
    console.print(f"{chosen.out}: shortlist.csv, shortlist.json, cifs/, run.json", highlight=False)


def _as_json(result: CampaignResult) -> dict[str, Any]:
    from invdesign.report.shortlist_csv import row_of

    return {
        "out": str(result.out),
        "message": result.message,
        "shortlist": [row_of(candidate) for candidate in result.shortlist],
        "funnel": result.funnel.as_json(),
        "generators": [own.as_json() for own in result.yields],
    }


def _print_shortlist(shortlist: Sequence[Candidate], config: CampaignConfig, console: Console) -> None:
    from rich.table import Table

    from invdesign.core.properties import PROPERTIES, STABILITY
    from invdesign.io.console import print_whole
    from invdesign.report.shortlist_csv import NOVELTY

    table = Table(
        box=None, pad_edge=False, header_style="bold", caption="[ , ]: 90 %", caption_justify="left"
    )
    names = [name for name in PROPERTIES if any(name in c.properties for c in shortlist)]
    shown = [name for name in names if name in {*config.target.windows, STABILITY}]
    for heading in ("", "formula", "group", "hit", *(_heading(name) for name in shown)):
        table.add_column(heading, justify="left" if heading == "formula" else "right", no_wrap=True)
    table.add_column("novelty")
    for candidate in shortlist:
        estimates = [candidate.properties[name] for name in shown]
        table.add_row(
            str(candidate.selection.rank),
            candidate.gene.formula,
            str(candidate.gene.space_group),
            f"{candidate.selection.p_hit:.0%}",
            *(f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]" for e in estimates),
            NOVELTY[int(candidate.verdicts["novelty"].figure or 0)],
        )
    if shortlist:
        print_whole(table, console)


def _show(result: CampaignResult) -> None:
    from rich.console import Console

    from invdesign.io.console import print_whole

    console = Console()
    _print_shortlist(result.shortlist, result.config, console)
    if len(result.yields) > 1:
        console.print()
        print_whole(_yields(result.yields), console)
    console.print(f"\n{result.message}", highlight=False)
    files = "shortlist.csv, shortlist.json, cifs/, candidates.db, funnel.png, run.json"
    console.print(f"{result.out}: {files}", highlight=False)


def _yields(yields: Sequence[Yield]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("generator")
    for heading in ("genes", "relaxed", "under the limit", "shortlisted", "core s"):
        table.add_column(heading, justify="right")
    for own in yields:
        counts = (own.genes, own.relaxed, own.survivors, own.shortlisted)
        table.add_row(own.generator, *map(str, counts), f"{own.core:.0f}")
    return table


def _heading(name: str) -> str:
    from invdesign.core.properties import PROPERTIES

    return f"{PROPERTIES[name].words}, {PROPERTIES[name].unit}"
