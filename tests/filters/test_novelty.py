from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from invdesign.composition.batch import CompositionBatch
from invdesign.composition.formula import text_hash
from invdesign.crystal.gene import Gene
from invdesign.errors import InputError
from invdesign.filters.novelty import KnownMaterials, Source, prototype_label
from invdesign.training.novelty import Crystal, compare_with_matcher, index

if TYPE_CHECKING:
    from pathlib import Path

SALT = Gene.parse("225 Na@a Cl@b")
CHLORIDE = Gene.parse("221 Cs@a Cl@b")


def crystal(name: str, gene: Gene, a: float) -> Crystal:
    from pymatgen.core import Lattice, Structure

    group = {225: "Fm-3m", 221: "Pm-3m"}[gene.space_group]
    species = [element for element, _ in gene.orbits]
    return Crystal.of(
        name, Structure.from_spacegroup(group, Lattice.cubic(a), species, [[0, 0, 0], [0.5] * 3])
    )


@pytest.fixture(scope="module")
def known() -> KnownMaterials:
    crystals = [
        crystal("mp-1", SALT, 5.64),
        crystal("mp-2", SALT, 5.7),
        crystal("wbm-7", Gene.parse("221 K@a I@b"), 4.2),
    ]
    sources = {
        text_hash("Cl1Na1"): int(Source.MATERIALS_PROJECT | Source.REPORTED),
        text_hash("I1K1"): int(Source.HYPOTHETICAL),
        text_hash("Cl1Cs1"): int(Source.MATERIALS_PROJECT),
    }
    return index(crystals, sources)


def test_known_gene_names_its_crystals(known: KnownMaterials) -> None:
    verdict = known.novelty(SALT)
    assert (verdict.passed, verdict.value) == (True, 0)
    assert "mp-1, mp-2" in verdict.reason
    assert known.known_gene(SALT.hash) == ("mp-1", "mp-2")


def test_equivalent_setting_is_the_same_gene(known: KnownMaterials) -> None:
    assert known.novelty(Gene.parse("225 Cl@a Na@b")).value == 0


def test_hypothetical_crystals_are_called_so(known: KnownMaterials) -> None:
    assert "hypothetical" in known.novelty(Gene.parse("221 K@a I@b")).reason
    other = known.novelty(Gene.parse("225 K@a I@b"))
    assert other.value == 1
    assert "hypothetical" in other.reason


def test_known_composition_with_another_gene_and_nothing_known(known: KnownMaterials) -> None:
    verdict = known.novelty(CHLORIDE)
    assert verdict.value == 1
    assert "CsCl is known" in verdict.reason
    assert "its structures are not: one may be this; its prototype is known" in verdict.reason
    assert "not with this gene" in known.novelty(Gene.parse("221 Na@a Cl@b")).reason
    new = known.novelty(Gene.parse("216 Zn@a S@c"))
    assert new.value == 2
    assert "prototype" not in new.reason


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
    assert prototype_label(Gene.parse("216 A@a B@c".replace("A", "Zn").replace("B", "S"))) != prototype_label(
        SALT
    )
    one, two = Gene.parse("221 Ti@a Ti@b"), Gene.parse("221 Ti@a Al@b")
    assert prototype_label(one) != prototype_label(two)


def test_save_and_load(known: KnownMaterials, tmp_path: Path) -> None:
    known.save(tmp_path / "known.npz")
    again = KnownMaterials.load(tmp_path)
    assert again.ids == known.ids
    assert again.novelty(SALT) == known.novelty(SALT)


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


def test_measure_compares_with_the_matcher() -> None:
    crystals = [
        crystal("a", SALT, 5.64),
        crystal("b", SALT, 5.7),
        crystal("c", Gene.parse("221 Na@a Cl@b"), 3.4),
    ]
    assert compare_with_matcher(crystals, 10, seed=0) == {
        "pairs": 3,
        "both": 1,
        "gene": 0,
        "matcher": 0,
        "neither": 2,
    }


def test_released_index() -> None:
    released = KnownMaterials.load()
    assert Source.MATERIALS_PROJECT in released.known_composition("Na3N")
    assert released.novelty(SALT).value == 0
    assert released.prototype_known(Gene.parse("225 Tm@a I@b"))
    assert released.novelty(Gene.parse("225 Xe@a Os@b")).value == 2
