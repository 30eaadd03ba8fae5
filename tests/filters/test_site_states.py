import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from invdesign.composition.assignment import assignment
from invdesign.filters.charge_balance import charge_balance
from invdesign.filters.site_states import (
    bond_valences,
    cation_states,
    holds_others,
    site_states,
    states_told,
)
from invdesign.verdict import Verdict


def crystal(group: str, lattice: Lattice, **sites: tuple[float, float, float]) -> Structure:
    symbols = [name.strip("0123456789") for name in sites]
    return Structure.from_spacegroup(group, lattice, symbols, list(sites.values()))


ROCK_SALT = crystal("Fm-3m", Lattice.cubic(4.21), Mg=(0, 0, 0), O=(0.5, 0.5, 0.5))
PYRITE = crystal("Pa-3", Lattice.cubic(5.42), Fe=(0, 0, 0), S=(0.385, 0.385, 0.385))
SPINEL = crystal(
    "Fd-3m", Lattice.cubic(8.39), Fe1=(0, 0, 0), Fe2=(0.625, 0.625, 0.625), O=(0.379, 0.379, 0.379)
)
PEROXIDE = crystal("I4/mmm", Lattice.tetragonal(3.81, 6.85), Ba=(0, 0, 0), O=(0, 0, 0.39))
SUPEROXIDE = crystal("I4/mmm", Lattice.tetragonal(4.03, 6.70), K=(0, 0, 0), O=(0, 0, 0.4045))
LAYERS = crystal("P-3m1", Lattice.hexagonal(3.8, 6.8), Sn=(0, 0, 0), S=(1 / 3, 2 / 3, 0.25), K=(0, 0, 0.5))
FLUORITE = crystal("Fm-3m", Lattice.cubic(5.46), Ca=(0, 0, 0), F=(0.25, 0.25, 0.25))


@pytest.mark.parametrize(
    ("structure", "states"),
    [
        (ROCK_SALT, "Mg2+ O2-"),
        (PYRITE, "Fe2+ S2(2-), with 4 S-S bonds"),
        (SPINEL, "1 Fe2+ 2 Fe3+ O2-"),
        (PEROXIDE, "Ba2+ O2(2-), with 2 O-O bonds"),
        (SUPEROXIDE, "K1+ O2(1-), with 2 O-O bonds"),
        (FLUORITE, "Ca2+ F1-"),
    ],
)
def test_states_of_known_structures(structure: Structure, states: str) -> None:
    verdict = site_states(structure)
    assert verdict.passed
    assert verdict.reason == states


def test_mixed_valence_needs_distinct_orbits() -> None:
    """Sn3+ is none, and half Sn2+, half Sn4+ cannot be where all tin atoms are equal."""
    verdict = site_states(LAYERS)
    assert not verdict.passed
    assert "contradict usual states: the nearest leave" in verdict.reason


def test_bonds_between_anions_change_the_count() -> None:
    """Pyrite's structure with the pairs pulled apart is a disulfide no more."""
    apart = crystal("Pa-3", Lattice.cubic(5.42), Zn=(0, 0, 0), S=(0.25, 0.25, 0.25))
    paired = crystal("Pa-3", Lattice.cubic(5.95), Zn=(0, 0, 0), S=(0.4, 0.4, 0.4))
    assert not site_states(apart).passed
    assert site_states(paired).reason == "Zn2+ S2(2-), with 4 S-S bonds"


@pytest.mark.parametrize("structure", [ROCK_SALT, PYRITE, SPINEL, PEROXIDE, SUPEROXIDE, FLUORITE])
def test_a_crystals_states_are_written_as_its_compositions(structure: Structure) -> None:
    held = site_states(structure).reason.split(", with ")[0]
    assert held == str(assignment(structure.composition))


def test_the_states_of_the_structure_are_told() -> None:
    paired = crystal("Pa-3", Lattice.cubic(5.95), Sn=(0, 0, 0), S=(0.4, 0.4, 0.4))
    alone = charge_balance("SnS2")
    assert alone.reason == "usual: Sn4+ S2-"
    assert states_told(alone, None) == alone.reason
    assert states_told(alone, site_states(paired)) == "by its structure: Sn2+ S2(2-)"
    pyrite = charge_balance("FeS2")
    assert states_told(pyrite, site_states(PYRITE)) == pyrite.reason == "usual: Fe2+ S2(2-)"
    layers = states_told(charge_balance("KSnS2"), site_states(LAYERS))
    assert layers.startswith("none: its bonds contradict usual states")


def test_a_kind_of_compound_has_its_states_in_the_crystal_too() -> None:
    assert 7 in cation_states("Mn", {"Na": 1, "Mn": 1, "O": 4})
    assert 7 not in cation_states("Mn", {"Na": 1, "Mn": 1, "O": 2})
    assert cation_states("Mn", {"Mn": 3, "O": 4}).keys() >= {2, 3}


def test_metals_hold_no_states() -> None:
    copper_gold = crystal("Pm-3m", Lattice.cubic(3.2), Cu=(0, 0, 0), Au=(0.5, 0.5, 0.5))
    assert site_states(copper_gold).passed


def test_bond_valences_are_near_the_states() -> None:
    assert bond_valences(ROCK_SALT) == pytest.approx(np.repeat([2, -2], 4), abs=0.2)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([PYRITE, SPINEL, PEROXIDE, LAYERS]))
def test_the_choice_of_cell_is_immaterial(seed: int, structure: Structure) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(structure))
    moved = Structure.from_sites([structure[i] for i in order])
    moved.translate_sites(range(len(moved)), rng.random(3))
    assert site_states(moved).passed == site_states(structure).passed


def test_an_odd_electron_of_a_metal_needs_a_partner() -> None:
    """In2+ in pairs, as in the layers of InSe; alone it is none."""

    def layers(gap: float) -> Structure:
        """Pairs of indium along c between sheets of selenium."""
        cell = Lattice.hexagonal(3.9, 16.0)
        first, second = (0.25 - gap / 32, 0.25 + gap / 32)
        return crystal(
            "P3m1",
            cell,
            In1=(0, 0, first),
            In2=(0, 0, second),
            Se1=(1 / 3, 2 / 3, first - 0.08),
            Se2=(1 / 3, 2 / 3, second + 0.08),
        )

    assert site_states(layers(2.8)).reason == "In2+ Se2-"
    assert "contradict" in site_states(layers(4.2)).reason


@pytest.mark.parametrize(
    ("composition", "structure", "others"),
    [
        ("usual: Na1+ N3(1-)", "Na1+ 1 N3- 2 N1+", False),
        ("usual: K1+ S3(2-)", "K1+ 1 S2(2-) 1 S0, with 2 S-S bonds", False),
        ("usual: 1 Fe2+ 2 Fe3+ O2-", "Fe3+ O2-", True),
        ("usual: In3+ Sn3+ Se2-", "In2+ Sn4+ Se2-", True),
        ("usual: Ca2+ F1-", "Ca2+ 2 F1-", False),  # as older campaigns wrote it
        ("usual: a single element, no charges to balance", "Si0", False),
        ("usual: Mg2+ B1-", "no non-metals that keep to the octet rule", False),
    ],
)
def test_other_states_are_other_charges_of_an_element(composition, structure, others):
    charges, held = (Verdict("gate", passed=True, reason=text) for text in (composition, structure))
    assert holds_others(charges, held) is others
