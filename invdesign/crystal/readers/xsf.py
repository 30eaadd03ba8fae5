"""XCrySDen's XSF, of crystals."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from io import StringIO
from pathlib import Path

from invdesign.crystal.readers.entry import UNREADABLE, Record, Unreadable, crystal, entry, stem
from invdesign.errors import InputError, quoted


def read_xsf(text: str, path: Path) -> Iterator[Record | Unreadable]:
    """Yield the crystals of an XSF; data grids are not read.

    Raises:
        InputError: not XSF.
    """
    from ase.io.xsf import iread_xsf

    images = []
    try:
        images += iread_xsf(StringIO(text))
    except (*UNREADABLE, AssertionError, RuntimeError) as error:
        if not images:
            raise InputError(
                f"{path}: not XSF ({quoted(' '.join(str(error).split()))}); give CRYSTAL, PRIMVEC, PRIMCOORD."
            ) from error
    for number, atoms in enumerate(images, start=1):
        label, where = (
            (stem(path), str(path))
            if len(images) == 1
            else (f"{stem(path)}:{number}", f"{path}: frame {number}")
        )
        symbols, pbc = atoms.numbers.tolist(), atoms.pbc.tolist()
        read = partial(crystal, atoms.cell.array, symbols, atoms.positions, where, cartesian=True, pbc=pbc)
        yield entry(label, read)
