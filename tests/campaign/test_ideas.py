"""One idea, one row: which candidates are the same idea, who leads, who is a member."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from invdesign.campaign.ideas import ideas, leaders, members
from invdesign.core.candidate import Candidate, Estimate, Selection
from invdesign.core.target import parse_target
from invdesign.crystal.dimensionality import dimensionality
from invdesign.crystal.gene import Gene


def config(target="", *, diverse=True, formulas=()):
    return SimpleNamespace(target=parse_target(target), diverse=diverse, formulas=formulas)


def candidate(number, structure, gene="225 Na@a Cl@b", e_above_hull=0.0):
    return Candidate(
        f"c{number}",
        Gene.parse(gene),
        structure=structure,
        properties={"e_above_hull": Estimate(e_above_hull, 0.05)},
        selection=Selection(p_hit=0.5, dimensionality=dimensionality(structure)),
    )


def salt(number, cation, anion, e_above_hull=0.0, a=5.6):
    structure = Structure.from_spacegroup(225, Lattice.cubic(a), [cation, anion], [[0] * 3, [0.5] * 3])
    return candidate(number, structure, f"225 {cation}@a {anion}@b", e_above_hull)


def chain(number, gene, elements):
    """A zigzag chain along c, its neighbors 6 Å away, that a gene does not describe."""
    cell = Lattice.orthorhombic(6.5, 6.5, 5.0)
    return candidate(number, Structure(cell, elements, [[0.42, 0.5, 0.0], [0.58, 0.5, 0.5]]), gene)


def grouped(candidates, settings):
    """Formulas by idea."""
    found = {}
    ordered = sorted(candidates, key=lambda c: (c.properties["e_above_hull"].mean, c.id))
    for one, idea in zip(ordered, ideas(candidates, settings), strict=True):
        found.setdefault(idea, set()).add(one.gene.formula)
    return sorted(map(sorted, found.values()))


def test_like_elements_are_one_idea_and_the_first_of_a_family_is_not():
    pool = [
        salt(0, "K", "Br"),
        salt(1, "Rb", "I"),
        salt(2, "Li", "F"),
        salt(3, "Nd", "N"),
        salt(4, "Pr", "N"),
    ]
    assert grouped(pool, config()) == [["KBr", "RbI"], ["LiF"], ["NdN", "PrN"]]
    assert len(leaders(pool, config(diverse=False))) == 5


def test_two_like_elements_in_one_compound_stay_what_they_are():
    pool = [salt(0, "S", "Se"), salt(1, "Se", "Te")]
    assert len(grouped(pool, config())) == 2


def test_structures_tell_what_genes_do_not():
    # the same crystal, of which another gene was found after relaxation
    distorted = salt(1, "Rb", "Cl")
    distorted.gene = Gene.parse("139 Rb@a Cl@b")
    assert grouped([salt(0, "K", "Cl"), distorted], config()) == [["KCl", "RbCl"]]


def test_polymorphs_are_one_idea_unless_the_formula_is_given():
    cscl = Structure.from_spacegroup(221, Lattice.cubic(4.1), ["Cs", "Cl"], [[0] * 3, [0.5] * 3])
    pool = [salt(0, "Cs", "Cl", 0.02, a=7.0), candidate(1, cscl, "221 Cs@a Cl@b")]
    assert [c.id for c in leaders(pool, config())] == ["c1"]
    assert members([pool[1]], pool, config()) == ["CsCl (225)"]
    assert len(leaders(pool, config("formula=CsCl"))) == 2
    assert len(leaders(pool, config(formulas=("CsCl",)))) == 2


def test_one_chain_of_several_elements_is_one_row():
    pool = [
        chain(0, "2 Se@i", ["Se", "Se"]),
        chain(1, "2 S@i Se@i", ["S", "Se"]),
        chain(2, "2 Sb@i Te@i", ["Sb", "Te"]),
        chain(3, "2 P@i S@i", ["P", "S"]),
    ]
    assert [c.selection.dimensionality for c in pool] == [1] * 4
    assert sorted(map(len, grouped(pool, config()))) == [1, 3]


@given(st.permutations(range(5)))
def test_the_likeliest_leads_whatever_the_order(order):
    pairs = [("Na", "Cl"), ("K", "Cl"), ("Rb", "Br"), ("Ca", "O"), ("Sr", "O")]
    energies = [0.09, 0.01, 0.05, 0, 0.1]
    pool = [salt(i, *pair, e) for i, (pair, e) in enumerate(zip(pairs, energies, strict=True))]
    chosen = leaders([pool[i] for i in order], config())
    assert [c.id for c in chosen] == ["c3", "c1"]
    assert members(chosen, [pool[i] for i in order], config()) == ["SrO", "RbBr, NaCl"]


@pytest.mark.parametrize("pool", [[], [salt(0, "Na", "Cl")]])
def test_few(pool):
    assert leaders(pool, config()) == pool
    assert members(pool, pool, config()) == [""] * len(pool)
