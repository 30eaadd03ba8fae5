"""The command ``generate``: proposals of a generator, before any relaxation."""

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
    shown_progress,
)
from invdesign.errors import InputError

if TYPE_CHECKING:
    from invdesign.core.candidate import Candidate


Number = Annotated[int, typer.Option("-n", "--n", help="How many.", rich_help_panel="Effort")]
Generator = Annotated[str, typer.Option(help=f"{GENERATORS}.")]
Guidance = Annotated[
    list[str] | None,
    typer.Option(
        help="How strongly conditions are followed: 2 for all, band_gap=3 for one; may be repeated. Those "
        "not named: E above hull 2, reported 4, other windows 0.5."
    ),
]
Temperature = Annotated[
    float | None, typer.Option(help="Of the draws: lower is likelier, higher more varied.", min=0.01)
]
Draws = Annotated[
    int | None,
    typer.Option(
        help="Genes drawn for each proposal, of which the quick rank takes the likeliest hits; 1: as drawn. "
        "Default: 8 where a property is asked for, else 1.",
        rich_help_panel="Effort",
    ),
]
Known = Annotated[
    bool,
    typer.Option(
        "--include-known", help="Let proposals of known composition be; else others are drawn in their place."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder for a table, one extxyz, a CIF each, not relaxed; without it genes alone."),
]


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
    n: Number = 20,
    seed: Seed = None,
    generator: Generator = "gene-diffusion",
    guidance: Guidance = None,
    temperature: Temperature = None,
    draws: Draws = None,
    include_known: Known = False,
    out: Out = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Propose crystals for a target: not relaxed, and neither stable nor new for sure.

    What is asked of elements, formula, space group and atoms is always kept. Property windows guide the
    learned generators, and of several genes the one that the quick rank finds likeliest to meet them is
    proposed; they are no promise. In place of repeated genes and known compositions others are drawn, in up
    to three rounds; what is left of them then stays. Leaves proposals.csv, proposals.extxyz, cifs/ and
    run.json in the output folder, which `invdesign evaluate` reads. The same command resumes.

    **Examples**

    invdesign generate "band_gap>3" --elements O -n 1000 --out oxides

    invdesign generate --anonymous ABC3 --space-group 221 --generator ion-exchange -n 50 --out perovskites

    invdesign generate "band_gap=1.5±0.25" --guidance band_gap=2 --temperature 0.9 --json
    """
    from invdesign.api import generate
    from invdesign.core.target import parse_target

    conditions: dict[str, Any] = {"elements": elements, "only": only, "exclude": exclude, "formula": formula}
    conditions |= {"anonymous": anonymous, "space_group": space_group, "n_atoms": n_atoms}
    options = {"guidance": guidance and _guidance(guidance), "temperature": temperature}
    options = {name: value for name, value in options.items() if value is not None}
    how: dict[str, Any] = {"generator": generator, "options": options, "seed": seed or 0, "draws": draws}
    how |= {"include_known": include_known, "workers": workers}
    asked, files = parse_target(target or [], **conditions), out is not None
    if files:
        typer.echo(f"Asked for: {asked.words()}.", err=True)
    with shown_progress(show=files) as progress:
        candidates = generate(asked, n, structures=files, out=out, progress=progress, **how)
    limits = {"hhi"} if asked.hhi_max is not None else set()
    if idle := sorted(asked.windows.keys() - candidates[0].origin.conditions.keys() | limits):
        typer.echo(
            f"{generator} is not guided by {', '.join(idle)}: its genes are drawn as without it.", err=True
        )
    if as_json or out is None:
        _print(candidates, as_json=as_json)
        return
    different = len({candidate.gene.hash for candidate in candidates})
    repeated = f" of {different} genes" if different < n else ""
    typer.echo(f"{out}: {n} proposals{repeated} in proposals.csv, proposals.extxyz and cifs/", err=True)


def _print(candidates: list[Candidate], *, as_json: bool) -> None:
    from invdesign.analysis.generate import record_of

    if as_json:
        print_json([record_of(candidate) for candidate in candidates])
        return
    for candidate in candidates:
        typer.echo(f"{candidate.gene.formula:20s} {candidate.gene}")


def _guidance(given: list[str]) -> float | dict[str, float]:
    """``2`` as a number, ``band_gap=2`` by condition."""
    named = {name: weight for name, _, weight in (text.rpartition("=") for text in given)}
    try:
        weights = {name: float(weight) for name, weight in named.items()}
    except ValueError:
        weights = {}
    if not weights or ("" in weights and len(given) > 1):
        raise InputError(
            f"guidance: {' '.join(given)!r} is neither a number nor such as band_gap=2; give one of them."
        )
    if min(weights.values()) < 0:
        raise InputError(
            f"guidance: {' '.join(given)} would steer away from the target; give 0 or more, such as 2."
        )
    return weights.get("", weights)
