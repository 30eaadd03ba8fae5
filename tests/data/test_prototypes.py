"""Likeness of a gene to the known crystals of its prototype."""

import numpy as np
import pytest

from invdesign.crystal.elements import ATOMIC_NUMBER
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.data.prototypes import KnownPrototypes, element_distance, load_library
from invdesign.data.tokens import TokenSet, tokens_of


def library(*genes: str) -> TokenSet:
    parsed = [Gene.parse(gene) for gene in genes]
    cell = (5.0, 5.0, 5.0, 90.0, 90.0, 90.0)
    free = [tuple((0.1, 0.2, 0.3)[: gene.n_free] for _ in gene.orbits) for gene in parsed]
    return tokens_of([(str(gene), i, gene, Geometry(cell, free[i])) for i, gene in enumerate(parsed)])


def unlike(a: str, b: str) -> float:
    return float(element_distance()[ATOMIC_NUMBER[a], ATOMIC_NUMBER[b]])


@pytest.fixture(scope="module")
def known() -> KnownPrototypes:
    return KnownPrototypes(
        library(
            "221 Cs@a Cl@b", "62 Ca@c Ti@c O@c O@d", "221 Na@a Br@b", "225 Na@a Cl@b", "62 Mg@c Si@c S@c S@d"
        )
    )


def test_elements_are_similar_as_a_chemist_would_say() -> None:
    assert unlike("Na", "Na") == 0
    assert unlike("Na", "K") < unlike("Na", "Mg") < unlike("Na", "Cl")


def test_only_the_same_space_group_and_letters_compare(known: KnownPrototypes) -> None:
    rows, distance = known.unlikeness(Gene.parse("221 K@a Br@b"))
    assert rows.tolist() == [0, 2]
    assert distance == pytest.approx(
        [(unlike("K", "Cs") + unlike("Br", "Cl")) / 2, (unlike("K", "Na") + unlike("Br", "Br")) / 2]
    )
    assert len(known.unlikeness(Gene.parse("221 K@a Br@b O@c"))[0]) == 0


def test_orbits_of_one_letter_are_matched_as_they_fit_best(known: KnownPrototypes) -> None:
    gene = Gene.parse("62 O@c Sr@c Zr@c O@d")
    rows, (perovskite, _) = known.unlikeness(gene)
    assert perovskite == pytest.approx((unlike("Sr", "Ca") + unlike("Zr", "Ti")) / 4)
    calcium_oxygen_titanium = known.order(gene, rows[0])
    parent = Gene.parse("62 Ca@c Ti@c O@c O@d")
    pairs = [(gene.orbits[i][0], parent.orbits[j][0]) for i, j in enumerate(calcium_oxygen_titanium)]
    assert pairs == [("O", "O"), ("Sr", "Ca"), ("Zr", "Ti"), ("O", "O")]


def test_many_orbits_of_one_letter_go_by_electronegativity() -> None:
    known = KnownPrototypes(library("1 " + " ".join(f"{e}@a" for e in ("Na", "Mg", "Al", "Si", "S", "Cl"))))
    gene = Gene.parse("1 " + " ".join(f"{e}@a" for e in ("K", "Ca", "Ga", "Ge", "Se", "Br")))
    order = known.order(gene, 0)
    parent = Gene.parse("1 Na@a Mg@a Al@a Si@a S@a Cl@a")
    pairs = {gene.orbits[i][0]: parent.orbits[j][0] for i, j in enumerate(order)}
    assert pairs == {"K": "Na", "Ca": "Mg", "Ga": "Al", "Ge": "Si", "Se": "S", "Br": "Cl"}
    assert known.unlikeness(gene)[1][0] == pytest.approx(np.mean([unlike(*pair) for pair in pairs.items()]))


def test_nearest_can_leave_out_the_own_composition(known: KnownPrototypes) -> None:
    genes = [Gene.parse(g) for g in ("221 Na@a Br@b", "221 Br@a Na@b", "225 Na@a Cl@b", "229 Fe@a")]
    (own, n), (swapped, n_swapped), *alone = known.nearest(genes, others=True)
    assert own == pytest.approx((unlike("Na", "Cs") + unlike("Br", "Cl")) / 2)
    assert swapped == pytest.approx((unlike("Br", "Cs") + unlike("Na", "Cl")) / 2)
    assert n == n_swapped == 1
    assert np.array_equal(alone, [[np.nan, 0], [np.nan, 0]], equal_nan=True)
    (own, n), *_, (unknown, none) = known.nearest(genes)
    assert (own, n, none) == (0, 2, 0)
    assert np.isnan(unknown)


def test_nearest_of_many_is_that_of_each() -> None:
    released = load_library()
    known = KnownPrototypes(released)
    genes = [released.gene(row) for row in range(0, len(released), 300)]
    assert np.array_equal(
        known.nearest(genes), np.concatenate([known.nearest([gene]) for gene in genes]), equal_nan=True
    )


def test_a_library_without_crystals_knows_none() -> None:
    empty = KnownPrototypes(library("221 Cs@a Cl@b").select(np.zeros(1, dtype=bool)))
    assert len(empty.unlikeness(Gene.parse("221 Na@a Cl@b"))[0]) == 0
