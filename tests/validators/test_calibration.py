"""The calibration on synthetic energies whose references are known, and the released one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from pymatgen.core import Composition, Species

from invdesign.errors import InputError
from invdesign.validators.calibration import Calibration
from invdesign.validators.calibration_build import CalibrationConfig, Sample, fit, fit_spread, hold_out
from invdesign.validators.energy_scale import EnergyScale, fit_scale, terms_of

ROOT = Path(__file__).resolve().parents[2]
Z90 = 1.6448536269514722
TRUE = {"Na": -1.3, "Mg": -1.5, "Cl": -1.8, "O": -4.9, "Fe": -8.4, "Se": -3.5, "Al": -3.7}


def _random_compositions(n: int, seed: int) -> list[Composition]:
    random = np.random.default_rng(seed)
    return [
        Composition({str(e): int(random.integers(1, 5)) for e in random.choice(list(TRUE), 3, replace=False)})
        for _ in range(n)
    ]


def _sample(n: int, seed: int, noise: float, bias: float = 0.0) -> Sample:
    random = np.random.default_rng(seed)
    compositions = _random_compositions(n, seed)
    formation = random.normal(-1.0, 0.5, n)
    references = np.array(
        [sum(TRUE[str(e)] * x for e, x in c.fractional_composition.items()) for c in compositions]
    )
    energies = formation + references + random.normal(bias, noise, n)
    return Sample([c.formula for c in compositions], compositions, energies, formation, formation * np.nan, 0)


@pytest.fixture
def config(tmp_path: Path) -> CalibrationConfig:
    return CalibrationConfig(kind="calibration", data=tmp_path, out=tmp_path / "made")


@pytest.fixture(scope="module")
def chgnet() -> Calibration:
    return Calibration.load("chgnet-0.3.0")


def test_terms() -> None:
    assert set(terms_of(Composition("NaCl"))) == {"Na", "Cl", "Cl-"}
    assert set(terms_of(Composition("Fe2O3"))) == {"Fe", "Fe|O", "O", "O-"}
    assert set(terms_of(Composition("BiOBr"))) == {"Bi", "O", "O-", "Br", "Br-"}
    assert "Si-" not in terms_of(Composition("Na4SiO4"))
    assert terms_of(Composition({Species("Fe", 2): 1, Species("Fe", 3): 2}))["Fe"] == 1.0


def test_fit_recovers_terms_despite_outliers() -> None:
    compositions = _random_compositions(400, 1)
    truth = EnergyScale({**TRUE, "Se-": 0.4, "Fe|O": -0.3})
    energies = np.array([truth.energy(c) for c in compositions])
    energies[::20] += 5.0
    fitted = fit_scale(compositions, energies, ridge=1e-8)
    for composition in _random_compositions(20, 2):
        assert fitted.energy(composition) == pytest.approx(truth.energy(composition), abs=0.01)


def test_fit_finds_references_offset_and_spread(config: CalibrationConfig) -> None:
    samples = {
        "mp20": _sample(400, 1, 0.01),
        "mpts52": _sample(200, 2, 0.01),
        "wbm": _sample(300, 3, 0.05, -0.08),
    }
    made = fit("toy", samples, EnergyScale({}), config)
    assert made.elements == frozenset(TRUE)
    assert made.hypothetical_offset == pytest.approx(0.08, abs=0.01)
    cell = Composition("Na4Cl4")
    energy = 8 * (-2.0 + (TRUE["Na"] + TRUE["Cl"]) / 2)
    assert made.formation_energy(cell, energy, hypothetical=False) == pytest.approx(-2.0, abs=0.01)
    assert made.formation_energy(cell, energy) == pytest.approx(-1.92, abs=0.02)
    assert made.sigma(cell) == pytest.approx(0.05, rel=0.3)


def test_held_out_references_do_not_see_their_composition(config: CalibrationConfig) -> None:
    samples = {"mp20": _sample(300, 1, 0.0), "mpts52": _sample(100, 2, 0.0)}
    before = hold_out(samples, config)
    samples["mpts52"].energies[:] += np.where(np.arange(100) == 7, 50.0, 0.0)
    after = hold_out(samples, config)
    assert after[307] == pytest.approx(before[307], abs=1e-4)


def test_spread_covers_ninety_per_cent() -> None:
    compositions = _random_compositions(2000, 4)
    hard = np.array([0.15 if "O" in c else 0.03 for c in compositions])
    residual = np.random.default_rng(0).normal(0.0, hard)
    spread = fit_spread(compositions, residual)
    sigma = [sum(spread[str(e)] * x for e, x in c.fractional_composition.items()) for c in compositions]
    assert np.mean(np.abs(residual) <= Z90 * np.array(sigma)) == pytest.approx(0.9, abs=0.01)
    assert spread["O"] == max(spread.values())


def test_round_trip(tmp_path: Path) -> None:
    made = Calibration("toy", EnergyScale({"Na": -1.0, "Na|O": 0.1}), 0.02, {"Na": 0.05})
    made.save(tmp_path)
    assert Calibration.load(tmp_path) == made
    assert made.elements == {"Na"}


def test_released_one_knows_the_usual_elements(chgnet: Calibration) -> None:
    assert chgnet.potential == "chgnet-0.3.0"
    assert {"Na", "Cl", "O", "Fe", "U", "H", "Xe"} <= chgnet.elements
    assert "Ne" not in chgnet.elements
    assert chgnet.spread.keys() == chgnet.elements
    # CHGNet's own reference of metallic sodium is the energy of bcc Na, whose formation energy is 0
    assert chgnet.references.coefficients["Na"] == pytest.approx(-1.3, abs=0.1)
    assert 0.02 < chgnet.sigma(Composition("MgO")) < 0.15


def test_unknown_element(chgnet: Calibration) -> None:
    with pytest.raises(InputError, match="no reference energy of Ne"):
        chgnet.formation_energy(Composition("NaNe"), -1.0)
    with pytest.raises(InputError, match="no reference energy of Es"):
        chgnet.sigma(Composition("EsO2"))


def test_potential_without_calibration() -> None:
    with pytest.raises(InputError, match=r"'my-potential' has none; run `invdesign train`"):
        Calibration.load("my-potential")


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"potential": "x"})])
def test_broken_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(InputError, match="is broken"):
        Calibration.load(tmp_path)


def test_recipe_is_the_config() -> None:
    config, recipe = (
        CalibrationConfig.model_validate(yaml.safe_load(path.read_text()))
        for path in (
            ROOT / "configs/validators/chgnet-0.3.0.yaml",
            ROOT / "validators/chgnet-0.3.0/recipe.yaml",
        )
    )
    assert config == recipe
