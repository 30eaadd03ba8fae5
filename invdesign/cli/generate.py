"""The command ``generate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    passed_on,
    pieces,
    print_json,
)
from invdesign.errors import InputError, quoted
from invdesign.io.progress import shown_progress

if TYPE_CHECKING:
    from invdesign.core.candidate import Candidate
    from invdesign.io.tables import Results


Number = Annotated[int, budget_option("-n", "--n", help="Number of proposals.")]
Generator = Annotated[str, typer.Option(help=f"{GENERATORS}.")]
Guidance = Annotated[
    list[str] | None,
    typer.Option(
        help="Guidance weight: 2 for all conditions, band_gap=3 for one; repeatable. Defaults: E above hull "
        "2, reported 4, other windows 0.5."
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(help="Sampling temperature: low for likely genes, high for diverse ones.", min=0.01),
]
Draws = Annotated[
    int | None,
    budget_option(
        help="Draw this many genes per proposal; pre-ranking keeps the likeliest hit. Default: 8 with a "
        "property window, else 1."
    ),
]
Novelty = Annotated[
    str,
    typer.Option(
        help="new: new compositions and new structures of known ones; any; known: known crystals. Others are "
        "replaced."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder for proposals.csv, proposals.extxyz and CIFs. Without it: genes only."),
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
    abundant: Abundant = False,
    n: Number = 20,
    seed: Seed = None,
    generator: Generator = "gene-diffusion",
    guidance: Guidance = None,
    temperature: Temperature = None,
    draws: Draws = None,
    novelty: Novelty = "new",
    out: Out = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Generate crystals for a target: not relaxed, not guaranteed to be stable or novel.

    Conditions on elements, formula, space group and atoms are always met. Property windows guide the learned
    generators, and pre-ranking proposes the likeliest hits among several genes. Repeated genes and known
    crystals are replaced in up to three further rounds. The output folder gets proposals.csv,
    proposals.extxyz, cifs/ and run.json; `invdesign evaluate` reads it. The same command resumes.

    **Examples**

    invdesign generate "band_gap>3" --elements O -n 1000 --out oxides

    invdesign generate --anonymous ABC3 --space-group 221 --generator ion-exchange -n 50 --out perovskites

    invdesign generate "band_gap=1.5±0.25" --guidance band_gap=2 --temperature 0.9 --json
    """
    exclude = excluding(exclude, abundant=abundant)
    given = locals()
    from invdesign.api import CONDITIONS, generate, parse_target

    conditions = {name: given[name] for name in CONDITIONS & given.keys()}
    settings = passed_on(
        given, *CONDITIONS, "target", "abundant", "n", "guidance", "temperature", "out", "as_json"
    )
    settings["options"] = passed_on(
        {"guidance": guidance and _guidance(guidance), "temperature": temperature}
    )
    parsed, files = parse_target(target or [], **conditions), out is not None
    if files:
        typer.echo(f"Target: {parsed.describe()}.", err=True)
    with shown_progress(show=files) as progress:
        candidates = generate(parsed, n, structures=files, out=out, progress=progress, **settings)
    idle = sorted(parsed.guiding_windows.keys() - candidates[0].origin.conditions.keys())
    if idle := [*idle, *["dimensionality"] * (parsed.dimensionality != (0, 3))]:
        typer.echo(
            f"{generator} is not guided by {', '.join(idle)}; its genes are drawn without this condition.",
            err=True,
        )
    if as_json or out is None:
        _print(candidates, as_json=as_json)
        return
    different = len({candidate.gene.hash for candidate in candidates})
    repeated = f" of {different} genes" if different < n else ""
    typer.echo(f"{out}: {n} proposals{repeated} in proposals.csv, proposals.extxyz and cifs/", err=True)


def _print(candidates: Results[Candidate], *, as_json: bool) -> None:
    from invdesign.analysis.generate import record_of

    if as_json:
        print_json([record_of(candidate) for candidate in candidates])
        return
    for candidate in candidates:
        typer.echo(f"{candidate.gene.formula:20s} {candidate.gene}")


def _guidance(given: list[str]) -> float | dict[str, float]:
    """Parse ``2`` as a number, ``band_gap=2`` by condition."""
    pairs = [text.rpartition("=") for text in pieces(given)]
    named = {name: weight for name, _, weight in pairs}
    try:
        weights = {name: float(weight) for name, weight in named.items()}
    except ValueError:
        weights = {}
    if len(weights) < len(pairs) or not weights or ("" in weights and len(weights) > 1):
        raise InputError(
            f"guidance: {quoted(' '.join(given))} is no number nor CONDITION=NUMBER; give 2, or band_gap=2."
        )
    if min(weights.values()) < 0:
        raise InputError(
            f"guidance: {quoted(' '.join(given))} would steer away from the target; give 0 or more."
        )
    return weights.get("", weights)
