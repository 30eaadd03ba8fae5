"""GPAW itself, where it is installed (docs/dft.md): written, run and collected by the commands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from invdesign.cli import app
from invdesign.crystal.files import write_cif
from invdesign.dft.gpaw import VALENCE

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("gpaw", reason="GPAW is the optional extra invdesign[dft], see docs/dft.md")
pytest.importorskip("gpaw_data", reason="GPAW is the optional extra invdesign[dft], see docs/dft.md")


def test_valence_electrons_are_those_of_the_setups() -> None:
    from ase.data import chemical_symbols
    from gpaw.setup_data import SetupData

    found = {}
    for symbol in chemical_symbols[1:104]:
        try:
            found[symbol] = int(SetupData(symbol, "PBE", "paw", readxml=True).Nv)
        except FileNotFoundError:
            continue
    assert found == VALENCE


def test_magnesia_relaxes_to_its_pbe_lattice_and_gap(tmp_path: Path) -> None:
    mgo = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.3), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    write_cif(mgo, tmp_path / "mgo.cif", symmetrised=True)
    run = CliRunner()
    out = str(tmp_path / "out")
    written = run.invoke(app, ["dft", "write", str(tmp_path / "mgo.cif"), "--code", "gpaw", "--out", out])
    assert written.exit_code == 0, written.output
    ran = run.invoke(app, ["dft", "run", out, "--walltime", "20"])
    assert ran.exit_code == 0, ran.output
    assert "1 to run, about" in ran.output  # the cost, before it started
    collected = run.invoke(app, ["dft", "collect", out, "--out", str(tmp_path), "--json"])
    (row,) = json.loads(collected.output)
    assert row["status"] == "done"
    assert (8 * row["volume_dft"]) ** (1 / 3) == pytest.approx(4.25, abs=0.02)
    assert row["band_gap_dft"] == pytest.approx(4.5, abs=0.1)
    assert row["gap_is_direct"]
    again = run.invoke(app, ["dft", "run", out])
    assert "finished before" in again.output
    assert "0 to run" in again.output
