"""The command ``screen``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invdesign.cli.app import Json, Workers, app, panel, print_json
from invdesign.errors import InputError, no_such_file, quoted
from invdesign.io.paths import is_there
from invdesign.io.progress import shown_progress

if TYPE_CHECKING:
    from invdesign.composition.oxidation_states import ChargeRules
    from invdesign.screening.api import Screened, ScreenedRows, Tally

space_option, gate_option = panel("Space"), panel("Gates")
charge_option, output_option = panel("Charge balance"), panel("Output")
SPACE = ("elements", "n_elements", "max_atoms", "anonymous", "cations", "anions")
PASSED_ON = (
    *("like", "like_n", "column", "rejected", "parquet", "top", "workers"),
    *("novelty", "min_stability", "min_probability", "states"),
)

Formulas = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FORMULAS…",
        help="Formulas, or one file of them: text, CSV, Parquet; - reads standard input.",
        show_default=False,
    ),
]
Elements = Annotated[list[str] | None, space_option(help="Allowed elements: Cu,Zn,Sn,S,Se or alkali,O.")]
NElements = Annotated[list[str] | None, space_option(help="Number of elements. Default: 2..4.")]
MaxAtoms = Annotated[
    int | None, space_option(help="Maximum number of atoms in the reduced formula. Default: 12.")
]
Anonymous = Annotated[list[str] | None, space_option(help="Anonymous formulas: ABX3,AB2X4.")]
Cations = Annotated[list[str] | None, space_option(help="Allowed cations.")]
Anions = Annotated[list[str] | None, space_option(help="Allowed anions.")]
Require = Annotated[list[str] | None, space_option(help="Required elements; of a family, one: halogens.")]
Like = Annotated[str | None, space_option(help="Substitute the ions of this known compound: CsPbI3.")]
LikeN = Annotated[int, space_option(min=1, help="Maximum number of formulas from --like.")]
Target = Annotated[
    list[str] | None, gate_option(help='As for design: "band_gap=1.5±0.3", "exclude=toxic,scarce hhi<2500".')
]
Novelty = Annotated[str, gate_option(help="Compositions that are new, any, or known.")]
NoCharges = Annotated[bool, gate_option("--no-charges", help="Skip the charge balance.")]
NoEstimates = Annotated[bool, gate_option("--no-estimates", help="Skip all predictions.")]
MinStability = Annotated[
    float, gate_option(help="Minimum probability of a compound with E above hull below the limit.")
]
MinProbability = Annotated[float, gate_option(help="Minimum probability that all property windows are met.")]
States = Annotated[str, charge_option(help="Report oxidation states: likeliest, all, none.")]
StatesSet = Annotated[
    str | None,
    charge_option(
        "--oxidation-states",
        help="icsd24, icsd16, smact14, pymatgen_sp, wiki or a file. Default: ICSD 2024, filtered as below.",
    ),
]
Consensus = Annotated[int, charge_option(help="Minimum number of reports of a state.")]
Commonality = Annotated[str, charge_option(help="low, medium, high, main, or minimum percentage of reports.")]
Zero = Annotated[bool, charge_option("--include-zero", help="Allow neutral atoms.")]
NoPauling = Annotated[
    bool, charge_option("--no-pauling", help="Allow cations that are more electronegative than anions.")
]
NoAlloys = Annotated[bool, charge_option("--no-alloys", help="Balance the charges of alloys, too.")]
Mixed = Annotated[
    bool | None,
    charge_option(
        "--mixed-valence/--no-mixed-valence",
        help="Allow several oxidation states per element. Default: yes, with --smact no.",
        show_default=False,
    ),
]
Metallicity = Annotated[float | None, charge_option(help="Pass metals from this metallicity score of smact.")]
Smact = Annotated[
    bool,
    charge_option("--smact", help="Verdict of smact_validity."),
]
Out = Annotated[
    Path | None, output_option(help="Output folder: screened.csv, best.csv, faults.csv, run.json.")
]
Parquet = Annotated[bool, output_option("--parquet", help="Write screened.parquet in place of CSV.")]
Rejected = Annotated[
    bool | None,
    output_option(
        "--rejected/--no-rejected",
        help="Report rejected formulas, too. Default: yes for given formulas, no for a space.",
        show_default=False,
    ),
]
Top = Annotated[int, output_option(min=1, help="Number of likeliest hits in best.csv.")]
Shard = Annotated[
    str | None, output_option(help="i/n: screen this part of n; the outputs of all parts form one table.")
]
Column = Annotated[str | None, output_option(help="Column of the file that holds the formulas.")]


@app.command("screen")
def screen_command(
    formulas: Formulas = None,
    elements: Elements = None,
    n_elements: NElements = None,
    max_atoms: MaxAtoms = None,
    anonymous: Anonymous = None,
    cations: Cations = None,
    anions: Anions = None,
    require: Require = None,
    like: Like = None,
    like_n: LikeN = 10_000,
    target: Target = None,
    novelty: Novelty = "any",
    no_charges: NoCharges = False,
    no_estimates: NoEstimates = False,
    min_stability: MinStability = 0.0,
    min_probability: MinProbability = 0.1,
    states: States = "likeliest",
    oxidation_states: StatesSet = None,
    consensus: Consensus = 3,
    commonality: Commonality = "low",
    include_zero: Zero = False,
    no_pauling: NoPauling = False,
    no_alloys: NoAlloys = False,
    mixed_valence: Mixed = None,
    metallicity: Metallicity = None,
    smact: Smact = False,
    out: Out = None,
    parquet: Parquet = False,
    rejected: Rejected = None,
    top: Top = 100,
    shard: Shard = None,
    column: Column = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Screen formulas before any structure: charge balance, novelty, stability, band gaps, supply.

    The formulas come from a list, a composition space, or ion substitution. With --out any number of them
    takes constant memory, and the same command resumes. Without --out, rows go to the terminal (--json: one
    object per line).

    **Examples**

    invdesign screen CuInS2 Na3PS4 MgO2

    invdesign screen formulas.csv --target "band_gap=1.5±0.3 exclude=toxic" --out screened

    invdesign screen --elements Cu,Zn,Sn,S,Se --n-elements 2..4 --max-atoms 12 --out kesterites

    invdesign screen --like CsPbI3 --novelty new --target exclude=toxic --out perovskites
    """
    given = locals()
    from invdesign.api import parse_target, screen
    from invdesign.composition.oxidation_states import SMACT_COMBINATIONS, ChargeRules

    space = {name: given[name] for name in SPACE if given[name]}
    space |= {"required": require} if require else {}
    rules = ChargeRules(
        oxidation_states_set=oxidation_states,
        consensus=consensus,
        include_zero=include_zero,
        commonality=_commonality(commonality),
        use_pauling_test=not no_pauling,
        include_alloys=not no_alloys,
        check_metallicity=metallicity is not None,
        metallicity_threshold=0.7 if metallicity is None else metallicity,
        mixed_valence=not smact if mixed_valence is None else mixed_valence,
        mixed_valence_combinations=SMACT_COMBINATIONS if smact else None,
        truncate_fractions=smact,
    )
    source = _source(formulas or [])
    if column is not None and not isinstance(source, str):
        raise InputError(f"column: {quoted(column)} is of no file; give one, or leave it out.")
    options = {name: given[name] for name in PASSED_ON}
    options |= {"space": space or None, "shard": _shard(shard), "target": target or ()}
    by_smact = smact or rules != ChargeRules()
    options |= {"rules": None if no_charges else rules if by_smact else "likeliest"}
    options |= {"estimates": not no_estimates}
    sought = "hit" if parse_target(target or ()).windows else "stable"
    if out is None:
        _print(screen(source, **options), rules if by_smact else None, sought, as_json=as_json)
        return
    with shown_progress() as progress:
        found = screen(source, out=out, progress=progress, **options)
    _report(found, sought, parquet=parquet, as_json=as_json)


def _report(found: Screened, sought: str, *, parquet: bool, as_json: bool) -> None:
    """Print counts, the best rows and the files of a screening."""
    if as_json:
        print_json({"out": str(found.out), "tally": found.tally.as_json(), "best": found.best})
        return
    _show_tally(found.tally)
    for row in found.best[:5]:
        typer.echo(_line(row, sought))
    left = "screened.parquet" if parquet else "screened.csv"
    best = f", best.csv ({len(found.best)} likeliest)" if found.best else ""
    faults = f", faults.csv ({found.tally.faults})" if found.tally.faults else ""
    typer.echo(f"{found.out}: {left} ({found.tally.rows} rows){best}{faults}, run.json")


def _source(texts: list[str]) -> str | list[str] | None:
    """Return a file, ``-`` for standard input, or formulas."""
    from invdesign.composition.spelling import report_another_meaning

    if not texts:
        return None
    if len(texts) == 1 and (texts[0] == "-" or is_there(texts[0])):
        return texts[0]
    for one in texts:
        if one == "-" or Path(one).is_file():
            raise InputError(f"formulas: {one!r} is given with others; give one file alone, or formulas.")
        if Path(one).suffix.lower() in {".csv", ".txt", ".gz", ".tsv", ".parquet"}:
            raise no_such_file(one, "text, CSV or Parquet with formulas, or formulas")
        if one.isupper():
            report_another_meaning(one)
    return texts


def _commonality(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        i, n = map(int, text.split("/"))
    except ValueError as error:
        raise InputError(f"shard: {text!r} is not i/n; write 2/8 for the second of eight parts.") from error
    return i, n


def _print(rows: ScreenedRows, rules: ChargeRules | None, sought: str, *, as_json: bool) -> None:
    """Print rows as they come; counts at the end, on stderr."""
    from invdesign.filters.charge_balance import charge_balance

    for row in rows:
        if as_json:
            typer.echo(json.dumps(row, ensure_ascii=False, allow_nan=False))
            continue
        if row["verdict"] == "charge balance":
            row["states"] = charge_balance(row["formula"], rules).reason
        typer.echo(_line(row, sought))
    faults = [f"line {line}: {fault}" for line, fault in sorted(rows.tally.fault_lines.items())]
    if faults and not rows.tally.formulas:
        raise InputError(faults[0])
    for fault in faults:
        typer.secho(fault, err=True, fg="red")
    if (more := rows.tally.faults - len(faults)) > 0:
        typer.secho(f"… and {more} more faults; --out FOLDER writes them all.", err=True, fg="red")
    if rows.tally.formulas > 1 and not as_json:
        _show_tally(rows.tally)


def _line(row: dict[str, Any], sought: str) -> str:
    """Return a row as one line; ``sought`` is what its probability is of: a hit, or a stable compound."""
    shown = [f"{row.get('given') or row['formula']:16s} {row['verdict']:14s}"]
    if row.get("p_hit") is not None:
        shown.append(f"{sought} {row['p_hit']:4.0%}")
    words_of = {"e_above_hull": "hull", "band_gap": "PBE gap", "band_gap_experimental": "measured"}
    for name, words in words_of.items():
        if row.get(name) is not None:
            shown.append(f"{words} {row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]")
    if row.get("known") is not None:
        shown.append(f"known: {row['known']}")
    if row.get("verdict") == "charge balance":
        return "  ".join([*shown, row["states"]])
    return "  ".join([*shown, *(text for text in (row.get("charge"), row.get("states")) if text)])


def _show_tally(tally: Tally) -> None:
    """Print the funnel on stderr."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("gate")
    for heading in ("in", "passed", "core s"):
        table.add_column(heading, justify="right")
    for gate, entered in tally.entered.items():
        table.add_row(gate, f"{entered:,}", f"{tally.passed[gate]:,}", f"{tally.seconds[gate]:.1f}")
    console = Console(stderr=True)
    console.print(table)
    others = {"faults": tally.faults, "repeats": tally.repeats, "blank or comment": tally.skipped}
    if tally.deduplication_incomplete:
        console.print("too many different formulas to remember: later repeats were screened again")
    if counts := ", ".join(f"{name}: {n:,}" for name, n in others.items() if n):
        console.print(counts, highlight=False)
