"""The DFT codes: those of the package and those that plug-ins bring."""

from __future__ import annotations

from pathlib import Path

from invdesign.dft.codes.interface import Code, LocalCode
from invdesign.io.plugins import Registry

CODES = Registry(
    "code",
    "invdesign.dft_codes",
    {
        "vasp": "invdesign.dft.codes.vasp.code:VASP",
        "espresso": "invdesign.dft.codes.espresso.code:QuantumESPRESSO",
        "gpaw": "invdesign.dft.codes.gpaw.code:GPAW",
        "elk": "invdesign.dft.codes.elk.code:Elk",
    },
)


def get_code(name: str) -> Code:
    """Return a code by name.

    Raises:
        InputError: there is no such code, or a plug-in cannot be imported.
    """
    code: Code = CODES.load(name)()
    return code


def local_codes() -> list[str]:
    """Names of the codes that run on this machine."""
    return [name for name in CODES.names() if isinstance(get_code(name), LocalCode)]


def recognize(folder: Path) -> Code | None:
    """Find the code whose output a folder holds.

    Plug-ins are asked first, Quantum ESPRESSO last: its ``*.out`` and ``*.xml`` are of other codes too.
    """
    names = sorted(CODES.names(), key=lambda name: (name in CODES.built_in, name == "espresso"))
    return next((code for code in map(get_code, names) if code.recognizes(folder)), None)
