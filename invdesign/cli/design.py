"""The command ``design``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invdesign.cli.app import (
    GENERATORS,
    Abundant,
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
    budget_option,
    excluding,
    panel,
    passed_on,
    pieces,
    print_json,
    target_option,
)
from invdesign.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from invdesign.campaign import CampaignConfig, CampaignResult
    from invdesign.campaign.active_learning.round import Round
    from invdesign.core.candidate import Candidate
    from invdesign.core.funnel import GeneratorTally

component_option, next_option = panel("Components"), panel("Next round")
MOST_KNOWN = 5  # rows on the terminal

Out = Annotated[Path | None, typer.Option(help="Output folder. Default: run.")]
From = Annotated[
    Path | None,
    target_option(
        "--from", help="Make structures of these formulas: output of screen, any CSV, Parquet or text."
    ),
]
Config = Annotated[Path | None, typer.Option(help="Read the campaign from YAML; options override it.")]
Risk = Annotated[
    float | None,
    target_option(
        "--max-hhi",
        help="Maximum supply risk (HHI of production and of reserves, 0 to 10000; above 2500 is high).",
    ),
]
Abundance = Annotated[
    float | None,
    target_option(
        "--min-abundance",
        help="Minimum crustal abundance of each element, mg/kg; 1 excludes Ag, Te, In, Pt, …",
    ),
]
Dimensionality = Annotated[
    str | None,
    target_option(help="Directions of connection: 2..3 for layers and frameworks, 1 chains, 0 molecules."),
]
Novelty = Annotated[
    str | None,
    target_option(
        help="new: new compositions and new structures of known ones (default); any; known: known crystals "
        "alone. What is known and does what is asked is in known.csv in any case."
    ),
]
Undivided = Annotated[
    bool, budget_option("--no-diversity", help="List what differs by like elements or as polymorph by rows.")
]
Genes = Annotated[int | None, budget_option("-n", "--n", help="Number of genes to generate.")]
Relaxed = Annotated[
    int | None, budget_option(help="Number of candidates to relax, the best of the pre-ranking.")
]
Shortlisted = Annotated[int | None, budget_option(help="Shortlist size.")]
Generators = Annotated[
    list[str] | None,
    component_option(help=f"{GENERATORS}. Repeat it for several; they share the relaxations by their yield."),
]
Potential = Annotated[
    str | None,
    component_option(
        help="Universal potential: chgnet, 7net-0, 7net-l3i5, a matgl folder, or OWNER/NAME on the hub."
    ),
]
Calibration = Annotated[str | None, component_option(help="Calibration of the potential: name or folder.")]
Finish = Annotated[
    str | None,
    component_option(
        help="Potential that relaxes those of most worth again and places them: 7net-0, 7net-l3i5, or none."
    ),
]
Hull = Annotated[str | None, component_option(help="Reference hull: name, folder or CSV.")]
Check = Annotated[
    list[str] | None,
    component_option(
        help="Extra stability checks, seconds per candidate: phonons (imaginary modes), md (2 ps at 300 K)."
    ),
]
Continue = Annotated[
    Path | None,
    next_option(
        "--continue",
        help="Continue this finished campaign: correct its models with its DFT results and choose what to "
        "compute next.",
    ),
]
Choose = Annotated[
    str | None,
    next_option(
        help="Choose by worth (hits, the default), or the most informative candidates (information)."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Hide the live funnel.")]
OTHERS = (
    *("target", "no_diversity", "abundant", "max_hhi", "min_abundance", "config", "n"),
    *("continue_", "choose", "quiet", "as_json"),
)
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
    dimensionality: Dimensionality = None,
    abundant: Abundant = False,
    max_hhi: Risk = None,
    min_abundance: Abundance = None,
    config: Config = None,
    n: Genes = None,
    n_relax: Relaxed = None,
    n_shortlist: Shortlisted = None,
    no_diversity: Undivided = False,
    seed: Seed = None,
    workers: Workers = None,
    novelty: Novelty = None,
    generator: Generators = None,
    potential: Potential = None,
    calibration: Calibration = None,
    finish: Finish = None,
    hull: Hull = None,
    check: Check = None,
    continue_: Continue = None,
    choose: Choose = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Design relaxed, stable, novel crystals for a target.

    The output folder gets shortlist.csv, shortlist.json, known.csv (known materials that already do what is
    asked), cifs/, candidates.db, funnel.png and run.json. You can stop at any time: the same command resumes.

    **Examples**

    invdesign design "band_gap=1.5±0.25" --out run

    invdesign design "band_gap>3" --elements O --exclude toxic,lanthanides --abundant --out wide-gap-oxides

    invdesign design --formula Li2FeSiO4 --n 2048 --n-relax 200 --out cathode

    invdesign design "band_gap=1.5±0.3" --from screened --out absorbers

    invdesign design "band_gap=1.5±0.25" --check phonons,md --out checked

    invdesign design --continue run --choose hits --n-shortlist 10
    """
    exclude = excluding(exclude, abundant=abundant)
    options = passed_on(locals(), *OTHERS)
    from invdesign.api import design, next_round

    options |= {name: found for name in ("generator", "check") if (found := pieces(options.get(name)))}
    options |= {"diverse": False} if no_diversity else {}
    options |= {"n_genes": n} if n is not None else {}
    limits = {"hhi<": max_hhi, "abundance>": min_abundance}
    clauses = [*(target or []), *(f"{name}{limit}" for name, limit in limits.items() if limit is not None)]
    if continue_ is not None or choose is not None:
        if continue_ is None:
            raise InputError("choose: needs --continue FOLDER of a finished campaign.")
        refused = [*(["target"] if clauses or config else []), *sorted(options.keys() - CONTINUING)]
        if refused:
            raise InputError(
                "continue: the target and components of the campaign are used; leave out "
                f"{', '.join(name.strip('_') for name in refused)}."
            )
        _show_round(
            next_round(continue_, choose=choose or "hits", progress=not quiet, **options), as_json=as_json
        )
        return
    result = design(clauses, config=config, progress=not quiet, **options)
    if as_json:
        print_json(_as_json(result))
    else:
        _show(result)


def _show_round(chosen: Round, *, as_json: bool) -> None:
    from rich.console import Console

    if as_json:
        print_json(
            {
                "out": str(chosen.out),
                "message": chosen.message,
                "learned": chosen.lines(),
                "shortlist": chosen.rows(),
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
    return {
        "out": str(result.out),
        "message": result.message,
        "known": result.known,
        "shortlist": result.rows(),
        "funnel": result.funnel.as_json(),
        "generators": [entry.as_json() for entry in result.yields],
    }


def _print_shortlist(shortlist: Sequence[Candidate], config: CampaignConfig, console: Console) -> None:
    from rich.table import Table

    from invdesign.campaign.ideas import LAYERS
    from invdesign.core.properties import GAPS, PROPERTIES, STABILITY
    from invdesign.crystal.dimensionality import WORDS
    from invdesign.filters.novelty import novelty_word
    from invdesign.io.console import print_whole
    from invdesign.report.shortlist_csv import doubts

    table = Table(
        box=None, pad_edge=False, header_style="bold", caption="[ , ]: 90 %", caption_justify="left"
    )
    names = [name for name in PROPERTIES if any(name in c.properties for c in shortlist)]
    asked = {*config.target.windows, STABILITY}
    asked |= GAPS if asked & GAPS else set()
    shown = [name for name in names if name in asked]
    for heading in ("", "formula", "group", "worth", "hit", *(_heading(name) for name in shown)):
        table.add_column(heading, justify="left" if heading == "formula" else "right", no_wrap=True)
    table.add_column("novelty")
    connected = config.target.dimensionality != (0, 3) or any(
        c.selection and c.selection.dimensionality < LAYERS for c in shortlist
    )
    grouped = any(c.selection and c.selection.members for c in shortlist)
    doubtful = any(map(doubts, shortlist))
    for heading in [*["connected"] * connected, *["members"] * grouped, *["doubts"] * doubtful]:
        table.add_column(heading)
    for candidate in shortlist:
        estimates, selection = [candidate.properties[name] for name in shown], candidate.selection
        assert selection is not None  # noqa: S101 - shortlisted
        table.add_row(
            str(selection.rank),
            candidate.gene.formula,
            str(candidate.gene.space_group),
            "–" if selection.worth is None else f"{selection.worth:.0%}",
            f"{selection.p_hit:.0%}",
            *(f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]" for e in estimates),
            novelty_word(candidate.verdicts["novelty"]),
            *[WORDS[selection.dimensionality]] * connected,
            *[_few(selection.members)] * grouped,
            *["; ".join(doubts(candidate))] * doubtful,
        )
    if shortlist:
        print_whole(table, console)


def _few(members: str, most: int = 3) -> str:
    """Return the first of a list, and how many more there are."""
    names = members.split(", ")
    return ", ".join(names[:most]) + (f" + {len(names) - most}" if len(names) > most else "")


def _show(result: CampaignResult) -> None:
    from rich.console import Console

    from invdesign.io.console import print_whole

    console = Console()
    _print_known(result.known, console)
    _print_shortlist(result.shortlist, result.config, console)
    if len(result.yields) > 1:
        console.print()
        print_whole(_yields(result.yields), console)
    console.print(f"\n{result.message}", highlight=False)
    files = "shortlist.csv, shortlist.json, known.csv, cifs/, candidates.db, funnel.png, run.json"
    console.print(f"{result.out}: {files}", highlight=False)


def _print_known(known: Sequence[dict[str, Any]], console: Console) -> None:
    """Show the best known materials that already do what was asked."""
    from rich.table import Table

    from invdesign.core.properties import PBE_GAP
    from invdesign.io.console import print_whole

    if not known:
        return
    n, shown = len(known), known[:MOST_KNOWN]
    words = f"{n} known material{'s' * (n > 1)} already do{'es' * (n == 1)} this"
    console.print(f"{words}{f', the first {len(shown)} of known.csv' if n > len(shown) else ''}:")
    table = Table(box=None, pad_edge=False, header_style="bold")
    headings = ("PBE gap, eV", "predicted", "measured", "E above hull, eV/atom")
    for heading in ("formula", "id", "group", *headings, "source"):
        table.add_column(heading, justify="left" if heading in {"formula", "id", "source"} else "right")
    for row in shown:
        columns = ("band_gap_reported", PBE_GAP, "band_gap_measured", "e_above_hull_reported")
        table.add_row(
            *(row["formula"], row["ids"].split()[0], str(row["space_group"])),
            *("–" if (number := row.get(name, "")) == "" else f"{number:.2f}" for name in columns),
            row["source"],
        )
    print_whole(table, console)
    console.print()


def _yields(yields: Sequence[GeneratorTally]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("generator")
    for heading in ("genes", "relaxed", "below the limit", "shortlisted", "core s"):
        table.add_column(heading, justify="right")
    for entry in yields:
        counts = (entry.genes, entry.relaxed, entry.survivors, entry.shortlisted)
        table.add_row(entry.generator, *map(str, counts), f"{entry.core:.0f}")
    return table


def _heading(name: str) -> str:
    from invdesign.core.properties import PROPERTIES

    return f"{PROPERTIES[name].words}, {PROPERTIES[name].unit}"
