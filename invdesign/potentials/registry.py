"""Potentials by name: built-in ones, plug-ins, matgl's models and ASE calculators."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from invdesign.errors import InputError
from invdesign.io.config import suggest
from invdesign.io.plugins import Registry
from invdesign.potentials.interface import Potential

POTENTIALS = Registry(
    "potential",
    "invdesign.potentials",
    {
        "chgnet": "invdesign.potentials.chgnet.potential:CHGNetPotential",
        "chgnet-0.3.0": "invdesign.potentials.chgnet.potential:CHGNetPotential",
        "7net-0": "invdesign.potentials.sevennet.potential:sevennet_0",
        "7net-l3i5": "invdesign.potentials.sevennet.potential:sevennet_l3i5",
    },
)


def same_potential(first: str, second: str) -> bool:
    """Whether two names mean one potential: two of its names, or two paths to a folder."""
    return _resolved(first) == _resolved(second)


def _resolved(name: str) -> str:
    folder = Path(name)
    return POTENTIALS.built_in.get(name) or (str(folder.resolve()) if folder.is_dir() else name)


@lru_cache(maxsize=4)
def load_potential(name: str = "chgnet") -> Potential:
    """Load a potential by name, once per process (potentials are not pickled: workers call this).

    Args:
        name: ``chgnet`` (the default, CHGNet 0.3.0); a plug-in's name (an entry point of the group
            ``invdesign.potentials``: a class or function that makes a potential without arguments); the path
            of a matgl folder (``model.json, model.pt, state.pt``); a matgl model on the Hugging Face hub,
            ``OWNER/NAME``, which ``OWNER/NAME@REVISION`` pins; or ``ase:MODULE:CALLABLE``, which makes an ASE
            calculator, for example ``ase:ase.calculators.emt:EMT`` or ``ase:mace.calculators:mace_mp``.

    Raises:
        InputError: there is no such potential, a plug-in makes something else, a folder is incomplete, this
            matgl evaluates the model wrongly, matgl is not installed, the hub cannot be reached, or the ASE
            calculator has no stresses.
    """
    if name in POTENTIALS.names():
        potential = POTENTIALS.load(name)()
        if not isinstance(potential, Potential):
            raise InputError(
                f"potential: the plug-in {name!r} makes a {type(potential).__name__}, which is no potential; "
                "it needs name, digest, elements and evaluate."
            )
        return potential
    if name.startswith("ase:"):
        from invdesign.potentials.ase import load_ase

        return load_ase(name)
    if "/" not in name and not Path(name).is_dir():
        raise InputError(
            f"potential: there is no {name!r}; {suggest(name, POTENTIALS.names())}, or give a matgl folder, "
            "OWNER/NAME[@REVISION] on the hub, or ase:MODULE:CALLABLE."
        )
    from invdesign.potentials.matgl.potential import load_matgl

    return load_matgl(name)
