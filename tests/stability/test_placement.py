"""One crystal has one energy above hull, whichever command asks."""

from math import inf
from types import SimpleNamespace

import pytest
from pymatgen.core import Lattice, Structure

from invdesign.analysis import hull_placement
from invdesign.analysis.evaluate import run as evaluate
from invdesign.analysis.evaluate.record import SampleRecord
from invdesign.analysis.inputs import pack
from invdesign.analysis.structure_prediction import run as structure_prediction
from invdesign.campaign import CampaignConfig, Components
from invdesign.campaign.stages import relax as design
from invdesign.campaign.stages.gates import Context
from invdesign.core.candidate import Candidate, Relaxation
from invdesign.core.placement import Placement
from invdesign.core.target import parse_target
from invdesign.crystal.symmetry import gene_of
from invdesign.errors import InputError
from invdesign.filters.novelty import Source
from invdesign.relaxation.relax import Relaxed
from invdesign.stability.calibration import EnergyCalibration
from invdesign.stability.hull.hull import Hull
from invdesign.training.novelty import Crystal, index

OFFSET = EnergyCalibration.load().hypothetical_offset


def crystal(space_group: str, edge: float, elements: tuple[str, str], second: list[float]) -> Structure:
    lattice, sites = Lattice.cubic(edge), [[0.0, 0.0, 0.0], second]
    return Structure.from_spacegroup(space_group, lattice, elements, sites).get_primitive_structure()


# what is it, CHGNet's energy of the relaxed cell (eV)
CRYSTALS = {
    "reported": (crystal("Fm-3m", 5.64, ("Na", "Cl"), [0.5, 0.5, 0.5]), -6.75),
    "by substitution": (crystal("F-43m", 5.41, ("Zn", "S"), [0.25, 0.25, 0.25]), -7.1),
    "without a crystal in the index": (crystal("Fm-3m", 4.21, ("Mg", "O"), [0.5, 0.5, 0.5]), -11.9),
    "hypothetical": (crystal("Fm-3m", 5.1, ("Ca", "N"), [0.5, 0.5, 0.5]), -11.0),
}


@pytest.fixture(scope="module")
def components() -> Components:
    potential = SimpleNamespace(name="chgnet-0.3.0")
    sources = {"reported": Source.MATERIALS_PROJECT, "by substitution": Source.HYPOTHETICAL}
    known = index(Crystal.of(1, source, CRYSTALS[kind][0], {}) for kind, source in sources.items())
    calibration, hull = EnergyCalibration.load(), Hull.load()
    return Components(known=known, potential=potential, calibration=calibration, hull=hull)


def by_hull(structure, energy, components):
    place = hull_placement.HullPlacement("crystal")
    relaxed = Relaxed(structure, energy, 0.01, 3, converged=True, reason="converged")
    hull_placement._place_structure(place, relaxed, components, 0.1, relax=True)
    return place.formation_energy_per_atom, place.e_above_hull, place.sigma


def by_evaluate(structure, energy, components):
    record = SampleRecord("crystal")
    relaxed = Relaxed(structure, energy, 0.01, 3, converged=True, reason="converged")
    evaluate._place(record, structure, relaxed, SimpleNamespace(components=components, max_steps=10))
    return record.formation_energy_per_atom, record.e_above_hull, record.sigma


def by_design(structure, energy, components):
    candidate = Candidate("c1", gene_of(structure)[0], structure=structure)
    candidate.relaxation = Relaxation(
        energy=energy,
        fmax=0.0,
        n_steps=1,
        symmetry_kept=True,
        n_starting_structures=1,
        proposed_gene=str(candidate.gene),
    )
    config = CampaignConfig(target=parse_target("band_gap>1"))
    design.on_hull([candidate], Context(config, components))
    formation, above = (candidate.properties[n] for n in ("formation_energy_per_atom", "e_above_hull"))
    assert formation.sigma == above.sigma
    return formation.mean, above.mean, above.sigma


def by_predict_structure(structure, energy, components):
    plan = SimpleNamespace(starts=[SimpleNamespace(origin="a known crystal")])
    entry = {"converged": True, "crystal": pack(structure), "symmetry_kept": True}
    entry["energy"] = energy / len(structure)
    (polymorph,) = structure_prediction._polymorphs("crystal", plan, [entry], components)
    return components.placement(structure, energy).formation_energy, polymorph.e_above_hull, polymorph.sigma


@pytest.mark.parametrize("kind", CRYSTALS)
def test_every_command_gives_one_placement(kind: str, components: Components) -> None:
    structure, energy = CRYSTALS[kind]
    commands = (by_hull, by_evaluate, by_design, by_predict_structure)
    first, *others = [command(structure, energy, components) for command in commands]
    assert others == [pytest.approx(first)] * 3


@pytest.mark.parametrize("kind", CRYSTALS)
def test_only_a_reported_crystal_goes_without_the_offset(kind: str, components: Components) -> None:
    structure, energy = CRYSTALS[kind]
    reported = kind == "reported"
    assert components.get("known").is_reported(structure) == reported
    placement = components.placement(structure, energy)
    assert placement.crystal_known == reported
    plain = components.get("calibration").formation_energy(structure.composition, energy, hypothetical=False)
    assert placement.formation_energy - plain == pytest.approx(0.0 if reported else OFFSET)


def test_probability_below_a_limit() -> None:
    placement = Placement(-1.0, 0.1, 0.05, {"NaCl": 1.0}, 3, composition_known=True, crystal_known=False)
    assert placement.probability_below(0.1) == pytest.approx(0.5)
    assert placement.probability_below(0.15) == pytest.approx(0.841, abs=1e-3)
    assert placement.probability_below(-inf) == 0.0


def test_an_element_without_reference_is_refused(components: Components) -> None:
    with pytest.raises(InputError, match="Es"):
        components.placement(crystal("Fm-3m", 5.0, ("Es", "O"), [0.5, 0.5, 0.5]), -8.0)
