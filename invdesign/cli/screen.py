"""The command ``screen``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invdesign.cli.app import Json, Workers, app, print_json, shown_progress
from invdesign.errors import InputError

if TYPE_CHECKING:
    from invdesign.composition.oxidation_states import ChargeRules
    from invdesign.screening.api import Rows, Screened, Tally

SPACE, GATES, CHARGES, OUTPUT = "Space", "Gates", "Charge balance", "Output"

Formulas = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FORMULAS…",
        help="Formulas, or one file of them: text, CSV, Parquet; - reads standard input.",
        show_default=False,
    ),
]
Elements = Annotated[
    str | None, typer.Option(help="That may be there: Cu,Zn,Sn,S,Se.", rich_help_panel=SPACE)
]
NElements = Annotated[str | None, typer.Option(help="2..4 if not given.", rich_help_panel=SPACE)]
MaxAtoms = Annotated[
    int | None, typer.Option(help="Of the reduced formula; 12 if not given.", rich_help_panel=SPACE)
]
Anonymous = Annotated[str | None, typer.Option(help="Formula types: ABX3,AB2X4.", rich_help_panel=SPACE)]
Cations = Annotated[str | None, typer.Option(help="Of the positive part.", rich_help_panel=SPACE)]
Anions = Annotated[str | None, typer.Option(help="Of the negative part.", rich_help_panel=SPACE)]
Require = Annotated[str | None, typer.Option(help="Elements of every formula.", rich_help_panel=SPACE)]
Like = Annotated[
    str | None, typer.Option(help="A known compound whose ions are exchanged: CsPbI3.", rich_help_panel=SPACE)
]
LikeN = Annotated[int, typer.Option(min=1, help="Most formulas like it.", rich_help_panel=SPACE)]
Target = Annotated[
    list[str] | None,
    typer.Option(help='As for design: "band_gap=1.5±0.3", "exclude=toxic hhi<2500".', rich_help_panel=GATES),
]
Novel = Annotated[bool, typer.Option("--novel", help="Reject what is known.", rich_help_panel=GATES)]
NoCharges = Annotated[
    bool, typer.Option("--no-charges", help="Do not look at charges.", rich_help_panel=GATES)
]
NoEstimates = Annotated[
    bool, typer.Option("--no-estimates", help="Predict nothing: arithmetic alone.", rich_help_panel=GATES)
]
MinStability = Annotated[
    float,
    typer.Option(help="Least probability of a compound under the limit of height.", rich_help_panel=GATES),
]
MinProbability = Annotated[
    float, typer.Option(help="Least probability that all windows are met.", rich_help_panel=GATES)
]
States = Annotated[
    str, typer.Option(help="Oxidation states told: likeliest, all, none.", rich_help_panel=CHARGES)
]
StatesSet = Annotated[
    str | None,
    typer.Option(
        "--oxidation-states",
        help="icsd24, icsd16, smact14, pymatgen_sp, wiki or a file; default: ICSD 2024, filtered as below.",
        rich_help_panel=CHARGES,
    ),
]
Consensus = Annotated[int, typer.Option(help="Least reports of a state.", rich_help_panel=CHARGES)]
Commonality = Annotated[
    str, typer.Option(help="low, medium, high, main, or least % of reports.", rich_help_panel=CHARGES)
]
Zero = Annotated[bool, typer.Option("--include-zero", help="Atoms may be neutral.", rich_help_panel=CHARGES)]
NoPauling = Annotated[
    bool,
    typer.Option("--no-pauling", help="Cations may be the more electronegative.", rich_help_panel=CHARGES),
]
NoAlloys = Annotated[
    bool, typer.Option("--no-alloys", help="Metals alone must balance too.", rich_help_panel=CHARGES)
]
NoMixed = Annotated[
    bool, typer.Option("--no-mixed-valence", help="One state an element.", rich_help_panel=CHARGES)
]
Metallicity = Annotated[
    float | None, typer.Option(help="Smact's score from which metals pass.", rich_help_panel=CHARGES)
]
Smact = Annotated[
    bool,
    typer.Option("--smact", help="As smact also where ours differs on purpose.", rich_help_panel=CHARGES),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder: screened.csv, best.csv, faults.csv, run.json.", rich_help_panel=OUTPUT),
]
Parquet = Annotated[
    bool, typer.Option("--parquet", help="screened.parquet in place of CSV.", rich_help_panel=OUTPUT)
]
Rejected = Annotated[
    bool | None,
    typer.Option(
        "--rejected/--no-rejected",
        help="Rows of what did not pass, too; by default of formulas, not of a space.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Top = Annotated[int, typer.Option(min=1, help="Likeliest hits in best.csv.", rich_help_panel=OUTPUT)]
Shard = Annotated[
    str | None,
    typer.Option(help="i/n: this part of n, whose outputs follow one another.", rich_help_panel=OUTPUT),
]
Column = Annotated[str | None, typer.Option(help="Column of the formulas.", rich_help_panel=OUTPUT)]


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
    novel: Novel = False,
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
    no_mixed_valence: NoMixed = False,
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
    """Judge formulas before any structure: charges, known or not, stability, band gaps, supply.

    Of a list, or of every formula of a space. With --out any number, in flat memory; the same command
    resumes. Without, rows go to the terminal (--json: one object a line).

    **Examples**

    invdesign screen CuInS2 Na3PS4 MgO2

    invdesign screen formulas.csv --target "band_gap=1.5±0.3 exclude=toxic" --out screened

    invdesign screen --elements Cu,Zn,Sn,S,Se --n-elements 2..4 --max-atoms 12 --out kesterites

    invdesign screen --like CsPbI3 --novel --target exclude=toxic --out perovskites
    """
    from invdesign.composition.oxidation_states import SMACT_COMBINATIONS, ChargeRules
    from invdesign.screening.api import screen, screen_to

    fields = {
        "elements": elements,
        "n_elements": n_elements,
        "max_atoms": max_atoms,
        "anonymous": anonymous,
        "cations": cations,
        "anions": anions,
        "required": require,
    }
    space = {name: value for name, value in fields.items() if value is not None}
    rules = ChargeRules(
        oxidation_states_set=oxidation_states,
        consensus=consensus,
        include_zero=include_zero,
        commonality=_commonality(commonality),
        use_pauling_test=not no_pauling,
        include_alloys=not no_alloys,
        check_metallicity=metallicity is not None,
        metallicity_threshold=0.7 if metallicity is None else metallicity,
        mixed_valence=not no_mixed_valence,
        mixed_valence_combinations=SMACT_COMBINATIONS if smact else None,
        truncate_fractions=smact,
    )
    _check(out, formulas or [], column=column, parquet=parquet)
    source: dict[str, Any] = {"formulas": _source(formulas or []), "space": space or None, "like": like}
    judged: dict[str, Any] = {
        "target": target or (),
        "rejected": rejected,
        "rules": None if no_charges else rules,
        "novel": novel,
        "estimates": not no_estimates,
        "min_stability": min_stability,
        "min_probability": min_probability,
        "states": states,
    }
    source |= {"like_n": like_n, "column": column, "shard": _shard(shard)}
    if out is None:
        rows = screen(**source, **judged, workers=workers or 1)
        _print(rows, rules, as_json=as_json)
        return
    with shown_progress() as progress:
        found = screen_to(
            out, **source, **judged, parquet=parquet, top=top, workers=workers, progress=progress
        )
    _report(found, parquet=parquet, as_json=as_json)


def _report(found: Screened, *, parquet: bool, as_json: bool) -> None:
    """What a screening left in its folder."""
    if as_json:
        print_json({"out": str(found.out), "tally": found.tally.as_json(), "best": found.best})
        return
    _show_tally(found.tally)
    for row in found.best[:5]:
        typer.echo(_line(row))
    left = "screened.parquet" if parquet else "screened.csv"
    best = f", best.csv ({len(found.best)} likeliest)" if found.best else ""
    faults = f", faults.csv ({found.tally.faults})" if found.tally.faults else ""
    typer.echo(f"{found.out}: {left} ({found.tally.rows} rows){best}{faults}, run.json")


def _check(out: Path | None, formulas: list[str], *, column: str | None, parquet: bool) -> None:
    """Options that would do nothing.

    Raises:
        InputError: one of them.
    """
    if parquet and out is None:
        raise InputError("parquet: there is no folder to write to; give --out FOLDER.")
    if column is not None and not isinstance(_source(formulas), str):
        raise InputError(f"column: {column!r} is of no file; give one, or leave it out.")


def _source(given: list[str]) -> str | list[str] | None:
    """A file, standard input, or formulas."""
    if not given:
        return None
    if len(given) == 1 and (given[0] == "-" or Path(given[0]).exists()):
        return given[0]
    for one in given:
        if one == "-" or Path(one).is_file():
            raise InputError(f"formulas: {one!r} stands beside others; give one file alone, or formulas.")
        if Path(one).suffix.lower() in {".csv", ".txt", ".gz", ".tsv", ".parquet"}:
            raise InputError(f"formulas: there is no file {one!r}; give text, CSV or Parquet, or formulas.")
    return given


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


def _print(rows: Rows, rules: ChargeRules, *, as_json: bool) -> None:
    """Rows as they come; a count at the end, on stderr."""
    from invdesign.filters.charge_balance import charge_balance

    for row in rows:
        if as_json:
            typer.echo(json.dumps(row, ensure_ascii=False, allow_nan=False))
            continue
        if row["verdict"] == "charge balance":
            row["states"] = charge_balance(row["formula"], rules).reason
        typer.echo(_line(row))
    told = [f"line {line}: {fault}" for line, fault in sorted(rows.tally.fault_lines.items())]
    if told and not rows.tally.formulas:
        raise InputError(told[0])
    for fault in told:
        typer.secho(fault, err=True, fg="red")
    if (more := rows.tally.faults - len(told)) > 0:
        typer.secho(f"… and {more} more faults; --out FOLDER writes them all.", err=True, fg="red")
    if rows.tally.formulas > 1 and not as_json:
        _show_tally(rows.tally)


def _line(row: dict[str, Any]) -> str:
    """A row on a line."""
    shown = [f"{row.get('given') or row['formula']:16s} {row['verdict']:14s}"]
    if row.get("p_hit") is not None:
        shown.append(f"hit {row['p_hit']:4.0%}")
    for name, words in (("e_above_hull", "hull"), ("band_gap", "gap")):
        if row.get(name) is not None:
            shown.append(f"{words} {row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]")
    if row.get("known") is not None:
        shown.append(f"known: {row['known']}")
    told = row.get("states") or row.get("charge")
    return "  ".join([*shown, *([told] if told else [])])


def _show_tally(tally: Tally) -> None:
    """The funnel, on stderr."""
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
    beside = {"faults": tally.faults, "repeats": tally.repeats, "blank or comment": tally.skipped}
    if tally.forgetful:
        console.print("too many different formulas to remember: later repeats were judged again")
    if told := ", ".join(f"{words}: {n:,}" for words, n in beside.items() if n):
        console.print(told, highlight=False)
