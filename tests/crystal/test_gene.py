"""Genes: text, counts, canonical labelling."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.crystal.gene import Gene
from invdesign.crystal.wyckoff import space_group_table, wyckoff_table
from invdesign.errors import InputError

GROUPS = st.integers(1, 230)


@st.composite
def genes(draw: st.DrawFn) -> Gene:
    group = draw(GROUPS)
    letters = draw(st.lists(st.sampled_from(sorted(wyckoff_table(group))), min_size=1, max_size=5))
    elements = draw(
        st.lists(st.sampled_from(["Na", "Cl", "O", "Fe"]), min_size=len(letters), max_size=len(letters))
    )
    return Gene(group, tuple(zip(elements, letters, strict=True)))


def test_rock_salt_counts_atoms_of_the_primitive_cell() -> None:
    gene = Gene.parse("225 Na@a Cl@b")
    assert gene.n_atoms == 2
    assert gene.formula == "NaCl"
    assert gene.anonymous_formula == "AB"
    assert gene.prototype == "225:ab"
    assert gene.n_free == 0
    assert gene.elements == ("Cl", "Na")


def test_origin_choice_does_not_change_identity() -> None:
    assert Gene.parse("225 Na@a Cl@b").hash == Gene.parse("225 Na@b Cl@a").hash
    assert Gene.parse("225 Na@a Cl@b").hash != Gene.parse("225 Na@a Cl@c").hash


def test_axis_choice_does_not_change_identity() -> None:
    """Pmmm: the edge midpoints b, c and e (or their kin) are one position seen along three axes."""
    assert Gene.parse("47 O@a Fe@b").hash == Gene.parse("47 O@a Fe@c").hash == Gene.parse("47 O@a Fe@e").hash


def test_two_atoms_on_one_point_are_not_realisable() -> None:
    assert not Gene.parse("225 Na@a Cl@a").realisable
    assert Gene.parse("62 Na@c Cl@c").realisable


@pytest.mark.parametrize(
    ("text", "word"),
    [("225", "form"), ("225 Na@z", "positions"), ("231 Na@a", "space_group"), ("225 Xx@a", "element")],
)
def test_bad_text_is_one_sentence(text: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        Gene.parse(text)


@settings(max_examples=100)
@given(genes())
def test_text_round_trip_and_canonical_is_idempotent(gene: Gene) -> None:
    assert Gene.parse(str(gene)) == gene
    canonical = gene.canonical()
    assert canonical.canonical() == canonical
    assert canonical.hash == gene.hash
    assert canonical.composition == gene.composition


@settings(max_examples=60)
@given(genes(), st.data())
def test_every_relabelling_has_the_same_hash(gene: Gene, data: st.DataObject) -> None:
    mapping, _ = data.draw(st.sampled_from(space_group_table(gene.space_group).relabellings))
    relabelled = Gene(gene.space_group, tuple((element, mapping[letter]) for element, letter in gene.orbits))
    assert relabelled.hash == gene.hash


@pytest.mark.parametrize("number", [2, 62, 166, 227])
def test_table_equals_pyxtal(number: int) -> None:
    symmetry = pytest.importorskip("pyxtal.symmetry")
    theirs = {position.letter: position.multiplicity for position in symmetry.Group(number)}
    assert {letter: position.multiplicity for letter, position in wyckoff_table(number).items()} == theirs
