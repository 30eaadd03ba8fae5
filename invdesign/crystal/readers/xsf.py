"""XCrySDen's XSF, of crystals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from io import StringIO
from pathlib import Path

from invdesign.crystal.readers.entry import UNREADABLE, Record, Unreadable, crystal, entry, stem
from invdesign.errors import InputError, quoted

_SITES = re.compile(
    r"^\s*PRIMCOORD.*\n\s*(\d{1,9})\b.*\n((?:[ \t]*\w+(?:[ \t]+[-+.\deE]+){3}.*(?:\n|$))*)", re.MULTILINE
)


def read_xsf(text: str, path: Path) -> Iterator[Record | Unreadable]:
    """Yield the crystals of an XSF; data grids are not read.

    Raises:
        InputError: not XSF.
    """
    from ase.io.xsf import iread_xsf

    if fault := next(filter(None, map(_fault, _SITES.finditer(text))), ""):
        raise InputError(f"{path}: not XSF ({fault}); give the whole file.")
    images = []
    try:
        images += iread_xsf(StringIO(text))
    except (*UNREADABLE, AssertionError, RuntimeError) as error:
        if not images:
            reason = quoted(" ".join(str(error).split())) if str(error) else "it has other parts"
            raise InputError(f"{path}: not XSF ({reason}); give CRYSTAL, PRIMVEC, PRIMCOORD.") from error
    for number, atoms in enumerate(images, start=1):
        label, where = (
            (stem(path), str(path))
            if len(images) == 1
            else (f"{stem(path)}:{number}", f"{path}: frame {number}")
        )
        symbols, pbc = atoms.numbers.tolist(), atoms.pbc.tolist()
        read = partial(crystal, atoms.cell.array, symbols, atoms.positions, where, cartesian=True, pbc=pbc)
        yield entry(label, read)


def _fault(sites: re.Match[str]) -> str:
    """Return what is wrong with the number of sites; empty where it is right."""
    announced, there = int(sites[1]), len(sites[2].splitlines())
    return f"{announced} sites are announced, {there} follow" if announced != there else ""
