"""The table of well-known crystals, and the recipe that measures potentials on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Composition, Lattice, Structure

from invdesign.filters.geometry import geometry_check
from invdesign.io.config import read_yaml
from invdesign.training.stability.textbook import Row, TextbookConfig, build_textbook, measure_textbook

ROOT = Path(__file__).resolve().parents[3]
CONFIG = TextbookConfig.model_validate(read_yaml(ROOT / "configs/validators/textbook.yaml"))
CRYSTALS = {name: crystal for crystals in CONFIG.crystals.values() for name, crystal in crystals.items()}


def test_there_are_at_least_sixty_of_many_classes() -> None:
    assert len(CRYSTALS) == sum(map(len, CONFIG.crystals.values())) >= 60
    assert len(CONFIG.crystals) >= 12


def test_each_is_what_it_says() -> None:
    for name, crystal in CRYSTALS.items():
        structure = crystal.structure()
        composition = Composition(name.split()[0])
        assert structure.composition.reduced_composition == composition.reduced_composition, name
        assert structure.get_space_group_info(symprec=0.01)[0] == crystal.group, name
        assert float(structure.density) == pytest.approx(crystal.density, rel=0.02), name
        assert geometry_check(structure).passed, name


def test_the_recipe(tmp_path: Path) -> None:
    def silicon(edge: float) -> Structure:
        return Structure.from_spacegroup("Fd-3m", Lattice.cubic(edge), ["Si"], [[0, 0, 0]])

    bcc = Structure(Lattice.cubic(3.1), ["Si", "Si"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    crystals = [bcc, silicon(5.5).get_primitive_structure(), Structure(Lattice.cubic(3), ["Fe"], [[0] * 3])]
    (tmp_path / "structures").mkdir()
    np.savez(
        tmp_path / "structures/mp_structures.npz",
        material_id=[1, 149, 2],
        cell=[crystal.lattice.parameters for crystal in crystals],
        n_sites=np.array([len(crystal) for crystal in crystals], dtype=np.uint8),
        atomic_number=[number for crystal in crystals for number in crystal.atomic_numbers],
        fractional=np.concatenate([crystal.frac_coords for crystal in crystals]) * 65536,
        formation_energy_per_atom=[-0.01, 0.0, -1.0],
    )
    given = {"Si": CRYSTALS["Si"]}
    out = tmp_path / "textbook"
    config = TextbookConfig(
        kind="textbook", data=tmp_path, out=out, potentials=["chgnet"], crystals={"elements": given}
    )
    assert build_textbook(config, progress=lambda *_: None) == out
    (row,) = json.loads((out / "metrics.json").read_text())["rows"]
    assert (row["pbe"], row["source"]) == (pytest.approx(0.01), "mp-149")
    assert row["e_above_hull"]["chgnet"] == pytest.approx(0.0, abs=0.002)  # an element counts from itself
    assert "| Si | elements | Fd-3m | +0.010 |" in (out / "README.md").read_text()


def test_errors_by_group() -> None:
    rows = [
        Row("Si", "elements", "Fd-3m", 0.0, "", ["Si"], {"a": 0.02, "b": -0.01}),
        Row("TiO2 (rutile)", "rutiles", "P4_2/mnm", 0.03, "", ["TiO2"], {"a": 0.05, "b": None}),
    ]
    found = measure_textbook(rows)
    errors = {group["name"]: group["mae"] for group in found["groups"]}
    assert errors["all"] == pytest.approx({"a": 0.035, "b": 0.01})
    assert errors["PBE's ground states"] == pytest.approx({"a": 0.02, "b": 0.01})
    assert found["from_pbe"] == pytest.approx({"a": 0.02, "b": 0.01})
