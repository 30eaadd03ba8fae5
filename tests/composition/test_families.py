"""Words for families of elements: their spellings, what they stand for, contradictions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.composition.families import FAMILIES, family, in_words, members
from invdesign.composition.supply import supply_of
from invdesign.core.target import Target, parse_target
from invdesign.crystal.elements import EXCLUDED_BY_DEFAULT, SYMBOLS
from invdesign.errors import InputError
from invdesign.screening.composition_space import Space

SPELLINGS = {
    "rare-earths": ("rare-earth", "RareEarths", "rare_earth_metals", "rare earth elements"),
    "lanthanides": ("Lanthanide", "lanthanoids", "lanthanoid"),
    "alkali": ("alkalis", "alkali-metals", "alkali metal"),
    "alkaline-earths": ("alkaline-earth", "alkaline earth metals"),
    "platinum-group": ("platinum group metals", "platinum_group_elements"),
    "noble-metals": ("noble metal", "noblemetals"),
    "halogens": ("halogen", "HALOGENS"),
}


@pytest.mark.parametrize(("name", "spelling"), [(n, s) for n, all_ in SPELLINGS.items() for s in all_])
def test_spellings(name, spelling):
    assert family(spelling) == name
    assert parse_target(exclude=f"{spelling}, O") == parse_target(exclude=["O", name])


def test_no_symbol_is_a_family():
    assert not [symbol for symbol in SYMBOLS if family(symbol)]


def test_abundant_elements():
    abundant, scarce = FAMILIES["abundant"], FAMILIES["scarce"]
    assert {"Fe", "Cu", "Zn", "Sn", "S", "Na", "Mg", "Si", "O", "H"} <= abundant
    assert {"Cs", "Rb", "In", "Te", "Nd", "La", "Y", "Pt", "Be", "Th"} <= scarce
    assert not abundant & scarce
    assert all(supply_of({symbol: 1}).abundance >= 1 for symbol in abundant)
    target = parse_target("exclude=scarce")
    assert target.elements == abundant - EXCLUDED_BY_DEFAULT


words = st.frozensets(st.sampled_from([*FAMILIES, "Pb", "Pm", "Cs"]), max_size=4)


@given(words, words, words)
def test_what_is_written_is_read_again(required, only, exclude):
    try:
        target = parse_target(elements=required, only=only or None, exclude=exclude)
    except InputError:
        return
    assert parse_target(str(target)) == target
    assert Target.model_validate(dict(target)) == target
    assert not target.elements & members(exclude, without=frozenset())


def test_families_stand_in_a_description():
    text = parse_target("exclude=lanthanides,toxic elements=halogens only=alkali,halogens,Sn").describe()
    assert "with one of the halogens" in text
    assert "of nothing but Sn, alkali elements and halogens" in text
    assert "without lanthanides and toxic elements" in text


def test_in_words_keeps_what_is_no_whole_family():
    assert in_words(frozenset({"F", "Cl", "Br", "Na"}), frozenset()) == ["Br", "Cl", "F", "Na"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("exclude=lanthinides", "did you mean lanthanides? (known: alkali, alkaline-earths"),
        ("only=Xx", "alkali, alkaline-earths, lanthanides, rare-earths, actinides, noble-metals"),
        ("only=Cs exclude=scarce", "Cs is both asked for and excluded (scarce)"),
        ("only=lanthanides exclude=rare-earths", "only=lanthanides has no element that is not excluded"),
        ("elements=halogens exclude=halogens", "one of the halogens must be there"),
        ("elements=halogens only=Na,O", "one of the halogens must be there"),
        ("formula=CsPbI3 exclude=scarce", "Cs and I are both asked for and excluded (scarce)"),
        ("formula=MgO elements=halogens", "has no halogens"),
        ("elements=halogens,alkali,O anonymous=AB", "3 are required"),
        (
            "elements=Nd n_atoms=1..2 hhi<1000",
            "no compound with Nd of at most 2 atoms is within",
        ),
        ("formula=Nd2O3 hhi<2500", "Nd2O3 is not (supply risk too high"),
        ("hhi<100", "no compound of at most 20 atoms"),
    ],
)
def test_contradictions(text, told):
    with pytest.raises(InputError) as caught:
        parse_target(text)
    assert told in str(caught.value)
    assert len(str(caught.value)) <= 700


def test_named_elements_stay_and_those_of_families_give_way():
    assert parse_target("only=alkali,O exclude=Cs").elements == {"Li", "Na", "K", "Rb", "O"}
    assert parse_target("only=lanthanides,Pm").elements == FAMILIES["lanthanides"]


def _systems(space):
    return [{SYMBOLS[z] for z in row} for batch in space.batches() for row in batch.numbers.tolist()]


@pytest.mark.parametrize("given_", [{}, {"anions": "chalcogens"}, {"required": ["Ba", "halogens"]}])
def test_a_space_with_one_of_a_family(given_):
    fields = {"elements": "Na,Ba,Cu,Cl,Br,S,Se", "max_atoms": 5, "n_elements": "2..3"}
    fields |= {"required": "halogens"} | given_
    found = _systems(Space(**fields))
    del fields["required"]
    if "anions" in given_:
        fields["anions"] = given_["anions"]
    must = {"Ba"} if "required" in given_ else set()
    every = _systems(Space(**fields))
    wanted = [row for row in every if row & {"Cl", "Br"} and must <= row]
    assert sorted(map(sorted, found)) == sorted(map(sorted, wanted))
    assert wanted
