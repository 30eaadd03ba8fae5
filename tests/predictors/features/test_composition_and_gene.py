"""Features: known values, invariances, and what is unknown stays NaN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Composition, Lattice, Structure

from invdesign.composition.formula import formula_amounts
from invdesign.crystal.elements import ATOMIC_NUMBER
from invdesign.crystal.gene import Gene
from invdesign.errors import InputError
from invdesign.predictors.features.bonds import N_BOND_FEATURES, bond_matrix
from invdesign.predictors.features.composition_and_gene import (
    composition_matrix,
    counts_of,
    gene_matrix,
    padded,
    space_group_matrix,
    structure_matrix,
)
from invdesign.predictors.features.composition_and_gene import composition_rows as of_formulas

ROCK_SALT = Gene.parse("225 Na@a Cl@b")
ELEMENTS = ["H", "Li", "N", "O", "Na", "Mg", "Al", "Si", "S", "Cl", "Ti", "Fe", "Cu", "Ba", "La"]


def composition_features(composition: Composition | dict[str, int]) -> np.ndarray:
    return composition_matrix(counts_of([composition]))[0]


def gene_features(gene: Gene) -> np.ndarray:
    return gene_matrix([gene])[0]


def rock_salt(a: float = 5.64) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


amounts = st.dictionaries(st.sampled_from(ELEMENTS), st.integers(1, 6), min_size=1, max_size=6)


@given(amounts, st.integers(2, 5))
@settings(max_examples=40)
def test_a_multiple_of_a_composition_has_the_same_features(composition: dict[str, int], factor: int) -> None:
    multiple = {element: amount * factor for element, amount in composition.items()}
    np.testing.assert_allclose(
        composition_features(composition), composition_features(multiple), rtol=1e-4, atol=1e-4
    )


@given(st.lists(amounts, min_size=2, max_size=5))
@settings(max_examples=20)
def test_features_of_many_are_those_of_each(compositions: list[dict[str, int]]) -> None:
    together = composition_matrix(counts_of(compositions))
    alone = np.stack([composition_features(composition) for composition in compositions])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)


def test_fractions_and_charge_balance_of_known_compounds() -> None:
    rows = composition_matrix(counts_of([Composition("NaCl"), Composition("NaCl2"), Composition("Fe2O3")]))
    assert rows[0, ATOMIC_NUMBER["Na"] - 1] == pytest.approx(0.5)
    least_charge = rows[:, -2]
    assert least_charge[0] == pytest.approx(0.0, abs=1e-6)
    assert least_charge[1] > 0.1
    assert least_charge[2] == pytest.approx(0.0, abs=1e-6)


def test_sodium_nitride_is_a_composition() -> None:
    assert composition_features(Composition("NaN"))[ATOMIC_NUMBER["N"] - 1] == pytest.approx(0.5)


def test_unknown_element_is_named() -> None:
    with pytest.raises(InputError, match="'Xx'"):
        counts_of([{"Xx": 1}])


def test_many_elements_leave_charge_balance_unknown() -> None:
    row = composition_features(dict.fromkeys(ELEMENTS, 1))
    assert np.isnan(row[-2:]).all()
    assert not np.isnan(row[:-2]).any()


def test_genes_differ_by_what_sits_where() -> None:
    swapped = Gene.parse("221 Ba@b O@c Ti@a")
    normal = Gene.parse("221 Ba@a O@c Ti@b")
    other = Gene.parse("221 Ba@a O@d Ti@b")
    rows = gene_matrix([normal, swapped, other])
    np.testing.assert_allclose(rows[0], gene_features(normal))
    np.testing.assert_allclose(rows[0], rows[1])  # a and b of 221 are alike: same multiplicity and symmetry
    assert gene_features(Gene.parse("227 Al@c Mg@b")).shape == rows[0].shape
    assert not np.allclose(
        gene_matrix([Gene.parse("227 Mg@b Al@c O@e")]),
        gene_matrix([Gene.parse("227 Al@b Al@c O@e")]),
        equal_nan=True,
    )


def test_space_group_is_one_of_230_and_one_of_7() -> None:
    rows = space_group_matrix([1, 2, 62, 166, 230])
    assert (rows[:, :230].sum(axis=1) == 1).all()
    assert rows[:, 230:237].argmax(axis=1).tolist() == [0, 0, 2, 4, 6]


def test_structure_features_do_not_depend_on_the_cell() -> None:
    cell = rock_salt()
    primitive = cell.get_primitive_structure()
    embeddings = np.zeros((2, 64), dtype=np.float32)
    rows = structure_matrix([cell, primitive], [ROCK_SALT, ROCK_SALT], embeddings)
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-3, atol=1e-3)


def test_bonds_of_rock_salt_are_six_unlike_neighbours() -> None:
    row = bond_matrix([rock_salt()])[0]
    metals, unlike, others = row[24:27]
    assert unlike == pytest.approx(6.0, abs=0.7)
    assert metals + others < unlike
    assert row.shape == (N_BOND_FEATURES,)


def test_coinciding_atoms_have_unknown_bonds() -> None:
    collapsed = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0.01, 0, 0]])
    assert np.isnan(bond_matrix([collapsed])).all()


def test_padded_rows_know_the_composition_only() -> None:
    composition = composition_matrix(counts_of([{"Na": 1, "Cl": 1}]))
    width = gene_features(ROCK_SALT).shape[0]
    row = padded(composition, width)[0]
    n = composition.shape[1]
    np.testing.assert_array_equal(row[:n], composition[0])
    assert row[n] == 0
    assert gene_features(ROCK_SALT)[n] == 1
    assert np.isnan(row[n + 1 :]).all()


def test_formulas_of_every_kind_have_the_features_of_their_amounts() -> None:
    formulas = ["CuInS2", "Ca3(PO4)2", "Li0.5CoO2", "NaN", "NaNaCl", "Fe 2 O3", "Mn1000O"]
    own = composition_matrix(counts_of([formula_amounts(formula) for formula in formulas]))
    np.testing.assert_array_equal(of_formulas(formulas), own)
    with pytest.raises(InputError, match="Xx"):
        of_formulas(["NaCl", "Xx2"])
