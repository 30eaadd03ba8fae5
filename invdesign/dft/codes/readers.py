"""Who reads which code's results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invdesign.dft.codes.elk.read import read_elk
from invdesign.dft.codes.espresso.read import read_espresso
from invdesign.dft.codes.gpaw.read import read_gpaw
from invdesign.dft.codes.vasp.read import read_vasp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from invdesign.dft.codes.interface import Reading

READERS: dict[str, Callable[[Path], Reading]] = {
    "gpaw": read_gpaw,
    "vasp": read_vasp,
    "espresso": read_espresso,
    "elk": read_elk,
}
