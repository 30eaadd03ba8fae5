"""Crystals that every chemist knows lie near the hull by the potential that finishes a shortlist."""

import pytest
from pymatgen.core import Lattice, Structure

from invdesign.campaign import CampaignConfig, Components
from invdesign.core.target import parse_target
from invdesign.relaxation.relax import relax


def cubic(group: str, edge: float, *sites: tuple[str, float]) -> Structure:
    symbols, places = zip(*sites, strict=True)
    return Structure.from_spacegroup(group, Lattice.cubic(edge), symbols, [[x] * 3 for x in places])


CRYSTALS = {
    "Si": cubic("Fd-3m", 5.431, ("Si", 0)),
    "Ge": cubic("Fd-3m", 5.658, ("Ge", 0)),
    "GaAs": cubic("F-43m", 5.653, ("Ga", 0), ("As", 0.25)),
    "InP": cubic("F-43m", 5.869, ("In", 0), ("P", 0.25)),
    "CdTe": cubic("F-43m", 6.482, ("Cd", 0), ("Te", 0.25)),
    "ZnS": cubic("F-43m", 5.410, ("Zn", 0), ("S", 0.25)),
    "PbTe": cubic("Fm-3m", 6.462, ("Pb", 0), ("Te", 0.5)),
    "MgO": cubic("Fm-3m", 4.212, ("Mg", 0), ("O", 0.5)),
    "NaCl": cubic("Fm-3m", 5.640, ("Na", 0), ("Cl", 0.5)),
    "Al2O3": Structure.from_spacegroup(
        "R-3c", Lattice.hexagonal(4.759, 12.991), ["Al", "O"], [[0, 0, 0.3522], [0.3063, 0, 0.25]]
    ),
    "TiO2": Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    ),
    "CuInSe2": Structure.from_spacegroup(
        "I-42d",
        Lattice.tetragonal(5.782, 11.619),
        ["Cu", "In", "Se"],
        [[0, 0, 0], [0, 0, 0.5], [0.225, 0.25, 0.125]],
    ),
    "CsPbBr3": Structure.from_spacegroup(
        "Pnma",
        Lattice.orthorhombic(8.25, 11.76, 8.20),
        ["Cs", "Pb", "Br", "Br"],
        [[0.99, 0.25, 0.97], [0.5, 0, 0], [0.49, 0.25, 0.05], [0.2, 0.03, 0.8]],
    ),
}


@pytest.fixture(scope="module")
def energies_above_hull() -> dict[str, float]:
    components = Components.from_config(CampaignConfig(target=parse_target("band_gap>1"))).best()
    cells = [crystal.get_primitive_structure() for crystal in CRYSTALS.values()]
    relaxed = relax(cells, components.get("potential"), fmax=0.02)
    assert all(result.converged for result in relaxed)
    return {
        name: components.placement(result.structure, result.energy).e_above_hull
        for name, result in zip(CRYSTALS, relaxed, strict=True)
    }


@pytest.mark.parametrize("name", CRYSTALS)
def test_a_default_campaign_keeps_it(name: str, energies_above_hull: dict[str, float]) -> None:
    assert abs(energies_above_hull[name]) < 0.06
