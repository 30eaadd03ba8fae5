"""Crystals that every chemist knows lie near the hull by the potential that finishes a shortlist."""

from pathlib import Path

import pytest

from invdesign.campaign import CampaignConfig, Components
from invdesign.core.target import parse_target
from invdesign.io.config import read_yaml
from invdesign.relaxation.relax import relax
from invdesign.training.stability.textbook import TextbookConfig, TextbookCrystal

RECIPE = Path(__file__).resolve().parents[2] / "configs/validators/textbook.yaml"
NAMES = (
    *("Si", "Ge", "GaAs", "InP", "CdTe", "ZnS", "PbTe", "MgO", "NaCl"),
    *("Al2O3", "TiO2 (rutile)", "CuInSe2", "CsPbBr3"),
)


@pytest.fixture(scope="module")
def energies_above_hull() -> dict[str, float]:
    components = Components.from_config(CampaignConfig(target=parse_target("band_gap>1"))).best()
    crystals: dict[str, TextbookCrystal] = {}
    for some in TextbookConfig.model_validate(read_yaml(RECIPE)).crystals.values():
        crystals |= some
    cells = [crystals[name].structure() for name in NAMES]
    relaxed = relax(cells, components.get("potential"), fmax=0.02)
    assert all(result.converged for result in relaxed)
    return {
        name: components.placement(result.structure, result.energy).e_above_hull
        for name, result in zip(NAMES, relaxed, strict=True)
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_default_campaign_keeps_it(name: str, energies_above_hull: dict[str, float]) -> None:
    assert abs(energies_above_hull[name]) < 0.06
