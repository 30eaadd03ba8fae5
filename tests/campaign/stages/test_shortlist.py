"""What is listed of known compositions."""

from types import SimpleNamespace

import campaign_fakes
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.campaign.stages.gates import Context
from invdesign.campaign.stages.shortlist import ANOTHER_STRUCTURE, distinct
from invdesign.core.candidate import Candidate, Estimate
from invdesign.core.placement import Placement
from invdesign.crystal.symmetry import gene_of
from invdesign.filters.novelty import KnownMaterials, Novelty

SALT = Structure.from_spacegroup(
    194, Lattice.hexagonal(3.9, 6.3), ["Na", "Cl"], [[0, 0, 0], [1 / 3, 2 / 3, 0.25]]
)
"""Sodium chloride as nickel arsenide, which nobody has reported."""


@pytest.fixture(scope="module")
def known():
    return KnownMaterials.load()


def listed(tmp_path, known, e_above_hull, *, composition_known=True, **settings):
    config = campaign_fakes.fake_config(tmp_path, **settings)
    place = Placement(-1.7, e_above_hull, 0.03, {}, 5, composition_known, crystal_known=False)
    one = Candidate(
        "c0",
        gene_of(SALT)[0],
        structure=SALT,
        placement=place,
        properties={"e_above_hull": Estimate(e_above_hull, 0.03)},
    )
    context = Context(config, SimpleNamespace(get={"known": known}.get))
    (verdict,) = distinct([one], context)
    assert one.verdicts["novelty"].value == Novelty.NEW_STRUCTURE
    return verdict


def test_another_structure_of_a_known_compound_is_not(tmp_path, known):
    verdict = listed(tmp_path, known, 0.02, novelty="new")
    assert not verdict.passed
    assert verdict.reason.startswith(ANOTHER_STRUCTURE)
    assert not listed(tmp_path, known, -0.2, composition_known=False, novelty="new").passed


def test_one_likely_more_stable_is_and_any_where_it_is_wanted(tmp_path, known):
    assert listed(tmp_path, known, -0.06, novelty="new").passed
    assert listed(tmp_path, known, 0.02, novelty="any").passed
