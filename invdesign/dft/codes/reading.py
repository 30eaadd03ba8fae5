"""What the readers of all codes share: files within bounds, and whatever goes wrong as a status."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from invdesign.crystal.soundness import checked
from invdesign.dft.codes.gpaw.job import CalculationError
from invdesign.dft.codes.interface import ParsedOutput
from invdesign.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

LONGEST = 2**28  # bytes of a printed output that are read
USABLE = ("done", "not converged")
Part = TypeVar("Part")


def guarded(read: Callable[[Path], ParsedOutput]) -> Callable[[Path], ParsedOutput]:
    """Make a reader return whatever goes wrong in it as a status; the one place where exceptions end.

    Parsing libraries raise anything on damaged files. Values that are no numbers and crystals that are none
    are refused here too.
    """

    @wraps(read)
    def reader(path: Path) -> ParsedOutput:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # each that matters is a check of ours
                return _checked(read(path))
        except InputError as error:
            return ParsedOutput("failed", str(error).removeprefix("hull: "))
        except PermissionError as error:
            return ParsedOutput("truncated", f"{error.filename} may not be read; change its permissions")
        except Exception as error:  # noqa: BLE001
            return ParsedOutput("truncated", f"its files break off or are damaged ({described(error)})")

    return reader


def described(error: Exception) -> str:
    """Quote an exception in one short line."""
    return f"{type(error).__name__}: {short(str(error))}"


def short(text: str, most: int = 117) -> str:
    """Return a text of a file as one short line."""
    line = " ".join(text.split()) or "no reason given"
    return line[:most] + "…" * (len(line) > most)


def _checked(output: ParsedOutput) -> ParsedOutput:
    """Return the output, or what about its values is impossible."""
    if output.status not in USABLE:
        return output
    for name in ("energy", "band_gap", "max_force", "pressure", "moment"):
        value = getattr(output, name)
        if value is not None and not isfinite(value):
            return ParsedOutput(
                "truncated", f"its {name.replace('_', ' ')} is no finite number; run it again"
            )
    if output.band_gap is not None and output.band_gap < 0:
        return ParsedOutput("truncated", f"its band gap is {output.band_gap:g} eV, below 0; run it again")
    for kind, structure in (("first", output.first), ("final", output.structure)):
        if structure is not None:
            try:
                checked(structure.copy(), f"its {kind} structure")
            except InputError as error:
                return ParsedOutput("truncated", str(error))
    if output.structure is None:
        return ParsedOutput("truncated", short("; ".join(["it has no crystal", *output.notes]), 400))
    return output


def read_part(name: str, notes: list[str], read: Callable[[], Part]) -> Part | None:
    """Read one quantity; what is wrong with it goes to the notes and costs nothing else."""
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - stars, a missing tag, bands that do not tell
        notes.append(str(error) if isinstance(error, CalculationError) else f"no {name} ({described(error)})")
        return None


def text_of(path: Path) -> str:
    """Read a printed output; bytes that are no text are replaced.

    Raises:
        OSError: it cannot be read.
        InputError: it is longer than any printed output.
    """
    if path.stat().st_size > LONGEST:
        raise InputError(f"{path.name} is longer than {LONGEST // 2**20} MiB; give the printed output alone.")
    return path.read_text(encoding="utf-8", errors="replace")


def structure_of(atoms: Atoms) -> Structure:
    """Convert an ASE crystal to pymatgen's, without calculator or magnetic moments."""
    from pymatgen.core import Structure

    return Structure(atoms.cell.array, list(atoms.symbols), atoms.positions, coords_are_cartesian=True)
