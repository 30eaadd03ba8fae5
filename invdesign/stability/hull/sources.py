"""Phases for a custom hull: from a table, VASP runs, the Materials Project, or an OPTIMADE provider."""

from __future__ import annotations

import csv
import gzip
import math
import re
from pathlib import Path

from invdesign.errors import InputError
from invdesign.stability.hull.online import read_online
from invdesign.stability.hull.phases import (
    ASSUMED,
    MP2020,
    NOT_STATED,
    Phase,
    Phases,
    formation_energies,
    phase,
    single_scale,
)
from invdesign.stability.hull.vasp import read_runs, runs_in

_SCALE_COLUMNS = ("scale", "functional")
_ENERGY_COLUMNS = ("formation_energy_per_atom", "energy_per_atom", "energy")
_LARGEST = 5.5  # eV/atom; no compound's formation energy is larger (ThF4: -4.6)


def read_source(name: str | Path) -> Phases | None:
    """Phases of a user's source; None where the name means a released or a built hull.

    Args:
        name: a ``.csv`` or ``.csv.gz``, a folder with VASP runs, ``mp:Li-Fe-O``, or
            ``optimade:PROVIDER:Li-Fe-O``.

    Raises:
        InputError: the source cannot be read, mixes scales, or lacks an element's energy.
    """
    text = str(name)
    if text.startswith(("mp:", "optimade:")):
        return read_online(text)
    path = Path(name)
    if text.endswith((".csv", ".csv.gz")):
        return read_csv(path)
    if path.is_dir() and not (path / "hull.npz").exists() and (runs := runs_in(path)):
        return read_runs(runs, str(path))
    return None


def read_csv(path: Path) -> Phases:
    """Phases of a table, plain or gzipped.

    Columns: ``formula`` and ``formation_energy_per_atom`` (eV/atom, elements at 0); or instead of it
    ``energy_per_atom`` (eV/atom) or ``energy`` (eV of the formula as written), from which formation
    energies are relative to the file's elements. The scale is in a column ``scale`` or ``functional``
    or in a line ``# scale: …`` at the top. Without it, formation energies count as the Materials Project's
    (MP2020), total energies as of no stated scale.

    Raises:
        InputError: no such file, a column is missing, a row cannot be used (named by its line), or the
            rows are of several scales.
    """
    rows, columns, header = _read_rows(path)
    kind = next((name for name in _ENERGY_COLUMNS if name in columns), None)
    if "formula" not in columns or kind is None:
        lacking = "formula" if "formula" not in columns else _ENERGY_COLUMNS[0]
        raise InputError(
            f"hull: {path} lacks the column {lacking!r}; it needs formula, {_ENERGY_COLUMNS[0]}."
        )
    phases = [_phase_of(path, line, row["formula"] or "", row[kind] or "", kind) for line, row in rows]
    stated = [
        (row[column] or "", f"line {line}")
        for line, row in rows
        for column in columns
        if column.strip().lower() in _SCALE_COLUMNS
    ]
    if header or not stated:
        assumed = MP2020 + ASSUMED if kind == "formation_energy_per_atom" else NOT_STATED
        stated.append((header or assumed, "its first lines"))
    scale = single_scale(stated, str(path))
    if kind != "formation_energy_per_atom":
        return Phases(formation_energies(phases, str(path)), scale, str(path))
    for element in phases:
        if element.is_element and element.energy < -1e-6:
            raise InputError(
                f"hull: {path} {element.where}: element {element.formula} has formation energy "
                f"{element.energy:g}; give formation energies (elements at 0), or name the column "
                "energy_per_atom."
            )
    return Phases(phases, scale, str(path))


def _read_rows(path: Path) -> tuple[list[tuple[int, dict[str, str]]], list[str], str]:
    """Numbered rows, columns, and the scale that a line ``# scale:`` above them states."""
    if not path.is_file():
        raise InputError(
            f"hull: {path} is not there; give a CSV with the columns formula, {_ENERGY_COLUMNS[0]}."
        )
    opened = gzip.open if path.name.endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            lines = file.read().splitlines()
            comments = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
            reader = csv.DictReader(lines[comments:])
            rows = [(comments + reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, csv.Error) as error:
        raise InputError(
            f"hull: {path} is not a readable CSV ({error}); give plain or gzipped UTF-8 text."
        ) from error
    notes = [re.split("[:=]", line.lstrip("# "), maxsplit=1) for line in lines[:comments]]
    stated = {key.strip().lower(): value.strip() for key, *rest in notes for value in rest}
    scale = next((stated[key] for key in _SCALE_COLUMNS if key in stated), "")
    return rows, list(reader.fieldnames or ()), scale


def _phase_of(path: Path, line: int, formula: str, energy: str, kind: str) -> Phase:
    where = f"line {line}"
    try:
        value = float(energy)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"hull: {path} {where}: {energy!r} is not an energy; give eV/atom as a number.")
    try:
        found = phase(formula, value, where)
    except InputError as error:
        raise InputError(
            f"hull: {path} {where}: {formula!r} is not a formula; give one such as Fe2O3."
        ) from error
    if kind == "energy":
        return Phase(formula, found.amounts, value / sum(found.amounts.values()), where)
    if kind == "formation_energy_per_atom" and abs(value) > _LARGEST:
        raise InputError(
            f"hull: {path} {where}: {value:g} eV/atom is no formation energy; name totals energy_per_atom."
        )
    return found
