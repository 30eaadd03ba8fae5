"""The shipped models on crystals whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import inf
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.core.properties import models_from_composition, models_from_structure
from invdesign.core.target import Window
from invdesign.crystal.gene import Gene
from invdesign.io.artifacts import find, root
from invdesign.predictors.gene_ranker import GeneRanker, known_crystals, similarity_matrix
from invdesign.predictors.property_predictor import PropertyPredictor

FACES = ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))


def cubic(
    a: float, species: list[str], sites: list[list[float]], centring: Sequence[Sequence[float]] = FACES
) -> Structure:
    """Return a conventional cubic cell, face-centred by default; ``from_spacegroup`` takes seconds."""
    atoms = [symbol for symbol in species for _ in centring]
    return Structure(
        Lattice.cubic(a), atoms, [np.add(site, shift) % 1 for site in sites for shift in centring]
    )


ROCK_SALT = [[0, 0, 0], [0.5, 0.5, 0.5]]


@pytest.fixture(scope="module")
def gaps() -> PropertyPredictor:
    return PropertyPredictor.load("band-gap", "band_gap")


@pytest.fixture(scope="module")
def ranker() -> GeneRanker:
    return GeneRanker.load()


def test_gaps_of_known_crystals(gaps: PropertyPredictor) -> None:
    salt, copper, alloy, arsenide = gaps.predict(
        [
            cubic(5.69, ["Na", "Cl"], ROCK_SALT),
            cubic(3.62, ["Cu"], [[0, 0, 0]]),
            cubic(2.89, ["Ni", "Al"], ROCK_SALT, [[0, 0, 0]]),
            cubic(5.75, ["Ga", "As"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
        ]
    )
    assert salt.low < 5.0 < salt.high
    assert salt.in_domain
    assert copper.value == alloy.value == 0.0
    assert 0.0 < arsenide.mean < 1.2
    assert salt.probability(Window(3.0, inf)) > 0.9
    assert copper.probability(Window(3.0, inf)) < 0.1


def test_gap_does_not_depend_on_cell_or_company(gaps: PropertyPredictor) -> None:
    salt = cubic(5.69, ["Na", "Cl"], ROCK_SALT)
    other = cubic(4.25, ["Mg", "O"], ROCK_SALT)
    alone, supercell = gaps.predict([salt]), gaps.predict([other, salt * (2, 1, 1)])
    assert supercell[1].mean == pytest.approx(alone[0].mean, abs=0.05)
    assert gaps.predict([]) == []


def test_a_collapsed_crystal_is_out_of_domain_and_harms_no_other(gaps: PropertyPredictor) -> None:
    collapsed = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0.01, 0, 0]])
    salt = cubic(5.69, ["Na", "Cl"], ROCK_SALT)
    bad, good = gaps.predict([collapsed, salt])
    assert not bad.in_domain
    assert good.in_domain
    assert good.mean == pytest.approx(gaps.predict([salt])[0].mean, abs=1e-3)


def test_known_crystals_rank_before_nonsense(ranker: GeneRanker) -> None:
    salt, perovskite, swapped, alloy = ranker.predict(
        [
            Gene.parse("225 Na@a Cl@b"),
            Gene.parse("221 Ba@a O@c Ti@b"),
            Gene.parse("221 Ba@a O@b Ti@c"),
            Gene.parse("221 Mg@a Na@c Zr@b"),
        ]
    )
    known = max(row["e_above_hull"].mean for row in (salt, perovskite))
    assert salt["e_above_hull"].mean < 0.1
    assert known < 0.3  # judged as if generated, and few generated oxides are stable
    assert min(row["e_above_hull"].mean for row in (swapped, alloy)) > known
    assert salt["band_gap"].value > 3.5
    assert set(salt) == {"e_above_hull", "band_gap"}
    assert ranker.predict([]) == []


def test_gaps_are_those_of_a_crystal_that_dft_looked_at(ranker: GeneRanker) -> None:
    magnesia, alloy = ranker.predict([Gene.parse("225 Mg@a O@b"), Gene.parse("221 Al@a Ni@b")])
    assert magnesia["band_gap"].p_zero < 0.5
    assert alloy["band_gap"].p_zero > 0.7


def test_equivalent_genes_get_one_answer(ranker: GeneRanker) -> None:
    salt, swapped = ranker.predict([Gene.parse("225 Na@a Cl@b"), Gene.parse("225 Cl@a Na@b")])
    assert salt == swapped


def test_similarity_to_known_crystals_and_without_those_of_the_own_composition() -> None:
    known, salt = known_crystals(), [Gene.parse("225 Cl@a Na@b")]
    as_is, left_out = (
        similarity_matrix(salt, "generated", known)[0],
        similarity_matrix(salt, "mp20", known)[0],
    )
    assert as_is[[0, 1, 3]].tolist() == [1, 0, 0]
    exists, distance, n, reported_distance, n_reported = left_out
    assert exists == 1
    assert 0 < distance <= reported_distance
    assert 0 < n_reported < n < as_is[2]
    nowhere = similarity_matrix([Gene.parse("196 Rb@a Br@d")], "generated", known)[0]
    assert np.array_equal(nowhere, [0, np.nan, 0, np.nan, 0], equal_nan=True)


def test_company_does_not_change_an_answer(ranker: GeneRanker) -> None:
    genes = [Gene.parse(f"225 {a}@a {x}@b") for a in ("Li", "K", "Mg") for x in ("O", "Br")]
    together, alone = ranker.predict(genes), [ranker.predict([gene])[0] for gene in genes]
    assert [row["band_gap"].mean for row in together] == pytest.approx(
        [row["band_gap"].mean for row in alone], abs=1e-5
    )


def test_elements_that_the_hull_lacks_do_not_stop_the_ranker(ranker: GeneRanker) -> None:
    helium, salt = ranker.predict([Gene.parse("225 Na@a He@b"), Gene.parse("225 Na@a Cl@b")])
    assert np.isfinite(helium["e_above_hull"].mean)
    alone = ranker.predict([Gene.parse("225 Na@a Cl@b")])[0]
    assert salt["e_above_hull"].mean == pytest.approx(alone["e_above_hull"].mean, abs=1e-5)


def test_many_genes_have_finite_deviations(ranker: GeneRanker) -> None:
    elements = ["Li", "Na", "Mg", "Ca", "Sr", "Ba", "Ti", "Fe", "Cu", "Zn", "Al", "Si", "Sn", "Pb"]
    genes = [
        Gene.parse(f"221 {a}@a {b}@b {x}@c") for a in elements for b in elements for x in "OSF" if a != b
    ]
    found = ranker.predict(genes)
    assert len(found) == len(genes)
    assert np.isfinite([row["e_above_hull"].sigma for row in found]).all()


def test_moduli_and_formation_energy_of_known_crystals() -> None:
    crystals = [cubic(5.69, ["Na", "Cl"], ROCK_SALT), cubic(4.25, ["Mg", "O"], ROCK_SALT)]
    salt, magnesia = PropertyPredictor.load("elasticity").predict_all(crystals)
    assert salt["bulk_modulus_gpa"].low < 25 < salt["bulk_modulus_gpa"].high
    assert magnesia["bulk_modulus_gpa"].low < 155 < magnesia["bulk_modulus_gpa"].high
    assert salt["debye_temperature_k"].value < magnesia["debye_temperature_k"].value
    assert salt["thermal_conductivity_w_mk"].low > 0
    energy = PropertyPredictor.load("formation-energy").predict(crystals)[0]
    assert energy.value == pytest.approx(-2.1, abs=0.1)


def test_properties_of_formulas() -> None:
    gaps = PropertyPredictor.load("band-gap-composition").predict_all(["NaCl", "NiAl", "NaN"])
    assert gaps[0]["band_gap"].low > 2
    assert gaps[1]["band_gap"].value == 0.0
    assert set(gaps[2]) == {"band_gap", "band_gap_experimental"}
    gene, formula = PropertyPredictor.load("formation-energy-composition").predict(
        [Gene.parse("225 Na@a Cl@b"), "NaCl"]
    )
    assert gene.value == pytest.approx(-2.1, abs=0.25)
    assert formula.value == pytest.approx(-2.1, abs=0.25)
    soft, hard = PropertyPredictor.load("bulk-modulus-composition").predict(["NaCl", "WC"])
    assert soft.value < 60
    assert hard.value > 200


def test_company_does_not_change_what_formulas_get() -> None:
    predictor = PropertyPredictor.load("bulk-modulus-composition")
    many = predictor.predict(["NaCl", "WC", "Fe2O3"] * 3000)
    assert [e.value for e in many[-3:]] == pytest.approx(
        [e.value for e in predictor.predict(["NaCl", "WC", "Fe2O3"])], rel=1e-4
    )


@pytest.mark.parametrize(
    "name", ["gene-rank", *sorted({*models_from_structure().values(), *models_from_composition().values()})]
)
def test_folders_are_complete_and_small(name: str) -> None:
    folder = find("models", name, needs=("README.md", "config.json", "model.safetensors", "recipe.yaml"))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 12e6


def test_every_released_json_is_json() -> None:
    def refuse(constant: str) -> None:
        pytest.fail(f"{file} holds {constant}")

    files = [*root("models").rglob("*.json"), *(Path(__file__).parents[2] / "benchmarks").rglob("*.json")]
    assert files
    for file in files:
        if ".mypy_cache" not in file.parts:
            json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)
