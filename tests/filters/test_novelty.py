from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.composition.batch import CompositionBatch
from invdesign.composition.formula import text_hash
from invdesign.crystal.gene import Gene
from invdesign.crystal.matching import same_crystal
from invdesign.crystal.symmetry import gene_of
from invdesign.errors import InputError
from invdesign.filters.novelty import KnownMaterials, Novelty, Source, prototype_label
from invdesign.training.novelty import Crystal, index

if TYPE_CHECKING:
    from pathlib import Path

SALT = Gene.parse("225 Na@a Cl@b")
CHLORIDE = Gene.parse("221 Cs@a Cl@b")


def cubic(group: str, a: float, elements: list[str], second: float = 0.5) -> Structure:
    return Structure.from_spacegroup(group, Lattice.cubic(a), elements, [[0] * 3, [second] * 3])


CORUNDUM = Structure.from_spacegroup(
    "R-3c", Lattice.hexagonal(4.76, 12.99), ["Al", "O"], [[0, 0, 0.352], [0.306, 0, 0.25]]
)
WURTZITE = Structure.from_spacegroup(
    "P6_3mc", Lattice.hexagonal(4.0, 6.54), ["Zn", "Se"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.375]]
)
TRICLINIC = Structure(
    Lattice.from_parameters(4, 5, 6, 80, 95, 100),
    ["K", "O", "F"],
    [[0, 0, 0], [0.3, 0.2, 0.1], [0.6, 0.5, 0.77]],
)
MP = Source.MATERIALS_PROJECT
CRYSTALS = {
    "mp-1": (MP | Source.REPORTED, cubic("Fm-3m", 5.64, ["Na", "Cl"])),
    "mp-2": (MP, cubic("Fm-3m", 5.7, ["Na", "Cl"])),
    "wbm-7": (Source.HYPOTHETICAL, cubic("Pm-3m", 4.2, ["K", "I"])),
    "mp-3": (MP, CORUNDUM),
    "mp-4": (MP, WURTZITE),
    "aflow-5": (Source.AFLOW, TRICLINIC),
}


@pytest.fixture(scope="module")
def known() -> KnownMaterials:
    crystals = [
        Crystal.of(int(name.split("-")[1]), source, structure, {"band_gap": 1.5} if name == "mp-4" else {})
        for name, (source, structure) in CRYSTALS.items()
    ]
    return index(crystals, [text_hash("Cl1Cs1")])


def ids(known: KnownMaterials, structure: Structure) -> list[str]:
    return [known.id_of(row) for row in known.same_as(structure)]


@pytest.mark.parametrize("name", CRYSTALS)
def test_a_strained_and_shaken_crystal_is_known(known: KnownMaterials, name: str) -> None:
    structure = CRYSTALS[name][1].get_primitive_structure()
    structure.apply_strain([0.03, -0.02, 0.0])
    structure.perturb(0.1)
    assert name in ids(known, structure)
    assert known.novelty(gene_of(structure)[0], structure).value == Novelty.KNOWN


@pytest.mark.parametrize("name", CRYSTALS)
def test_structures_survive_their_packing(known: KnownMaterials, name: str) -> None:
    (row,) = [row for row in range(len(known.genes)) if known.id_of(row) == name]
    packed, structure = known.crystals.structure(row), CRYSTALS[name][1]
    assert same_crystal(packed, structure)
    assert packed.volume / len(packed) == pytest.approx(structure.volume / len(structure), rel=3e-4)
    assert known.crystals.n_atoms[row] == len(packed)


def test_another_polymorph_is_a_new_structure(known: KnownMaterials) -> None:
    blende = cubic("F-43m", 5.67, ["Zn", "Se"], 0.25)
    assert not known.same_as(blende)
    for structure in (None, blende):
        verdict = known.novelty(gene_of(blende)[0], structure)
        assert verdict.value == Novelty.NEW_STRUCTURE
        assert "ZnSe is known, unlike its 1 known structure" in verdict.reason


def test_equal_genes_with_other_coordinates_are_told_apart(known: KnownMaterials) -> None:
    long = Structure(Lattice.hexagonal(4.0, 10.0), WURTZITE.species, WURTZITE.frac_coords)
    gene = gene_of(long)[0]
    assert gene == gene_of(WURTZITE)[0]
    assert known.novelty(gene).value == Novelty.KNOWN
    assert known.novelty(gene, long).value == Novelty.NEW_STRUCTURE


def test_known_gene_names_its_crystals(known: KnownMaterials) -> None:
    verdict = known.novelty(SALT)
    assert (verdict.passed, verdict.value) == (True, Novelty.KNOWN)
    assert "mp-1, mp-2" in verdict.reason or "mp-2, mp-1" in verdict.reason
    assert [known.crystals.gene(row) for row in known.with_gene(SALT)] == [SALT.canonical()] * 2


def test_equivalent_setting_is_the_same_gene(known: KnownMaterials) -> None:
    assert known.novelty(Gene.parse("225 Cl@a Na@b")).value == Novelty.KNOWN


def test_hypothetical_crystals_are_called_so(known: KnownMaterials) -> None:
    assert "hypothetical" in known.novelty(Gene.parse("221 K@a I@b")).reason
    other = known.novelty(Gene.parse("225 K@a I@b"))
    assert other.value == Novelty.NEW_STRUCTURE
    assert "hypothetical" in other.reason
    assert not known.is_reported(CRYSTALS["wbm-7"][1])
    assert known.is_reported(CRYSTALS["mp-2"][1])


def test_a_composition_without_a_structure_and_nothing_known(known: KnownMaterials) -> None:
    verdict = known.novelty(CHLORIDE)
    assert verdict.value == Novelty.COMPOSITION_KNOWN
    assert "CsCl is known, its structure is not at hand: it may be this; its prototype is" in verdict.reason
    new = known.novelty(Gene.parse("216 Zn@a S@c"))
    assert new.value == Novelty.NEW
    assert "prototype" not in new.reason


def test_crystals_by_their_elements(known: KnownMaterials) -> None:
    found = known.of_elements(frozenset({"O"}), frozenset({"Al", "O", "Zn", "Se"}))
    assert [known.id_of(row) for row in np.flatnonzero(found)] == ["mp-3"]


def test_known_compositions_of_a_batch(known: KnownMaterials) -> None:
    batch, _ = CompositionBatch.of(["Na2Cl2", "NaBr", "CsCl", "KI", "ZnS"])
    expected = [known.known_composition(formula) for formula in batch.formulas()]
    assert known.known_compositions(batch.keys()).tolist() == expected
    assert sum(map(bool, expected)) == 3


def test_known_composition(known: KnownMaterials) -> None:
    assert known.known_composition("Na2Cl2") == Source.MATERIALS_PROJECT | Source.REPORTED
    assert not known.known_composition("NaBr")
    with pytest.raises(InputError):
        known.known_composition(float("nan"))  # type: ignore[arg-type]


def test_prototype_label_forgets_elements_but_not_their_places() -> None:
    assert (
        prototype_label(SALT)
        == prototype_label(Gene.parse("225 O@a Mg@b"))
        == prototype_label(Gene.parse("225 Mg@a O@b"))
    )
    assert prototype_label(Gene.parse("216 Zn@a S@c")) != prototype_label(SALT)
    one, two = Gene.parse("221 Ti@a Ti@b"), Gene.parse("221 Ti@a Al@b")
    assert prototype_label(one) != prototype_label(two)


def test_save_and_load(known: KnownMaterials, tmp_path: Path) -> None:
    known.save(tmp_path / "known.npz")
    again = KnownMaterials.load(tmp_path)
    assert again.novelty(SALT) == known.novelty(SALT)
    assert ids(again, WURTZITE) == ["mp-4"]
    assert again.reported["band_gap"][again.same_as(WURTZITE)[0]] == 1.5


def test_missing_or_damaged_index_is_an_input_error(known: KnownMaterials, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not there"):
        KnownMaterials.load(tmp_path / "absent")
    with pytest.raises(InputError, match=r"lacks known\.npz"):
        KnownMaterials.load(tmp_path)
    path = tmp_path / "known.npz"
    known.save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="damaged"):
        KnownMaterials.load(tmp_path)


def test_released_index() -> None:
    released = KnownMaterials.load()
    assert Source.MATERIALS_PROJECT in released.known_composition("Na3N")
    assert released.novelty(SALT).value == Novelty.KNOWN
    assert released.prototype_known(Gene.parse("225 Tm@a I@b"))
    assert released.novelty(Gene.parse("225 Xe@a Os@b")).value == Novelty.NEW
    for structure in (CORUNDUM, WURTZITE):
        assert released.novelty(gene_of(structure)[0]).value == Novelty.KNOWN
        assert released.is_reported(structure)
    (gap, *_) = released.reported["band_gap"][released.same_as(WURTZITE)]
    assert gap == pytest.approx(1.2, abs=0.3)
