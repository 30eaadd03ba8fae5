"""The calibration on synthetic energies whose references are known, and the released ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from pymatgen.core import Composition, Species

from invdesign.core.candidate import Z90
from invdesign.errors import InputError
from invdesign.stability.calibration import EnergyCalibration
from invdesign.stability.energy_corrections import EnergyScale, fit_scale, terms_of
from invdesign.stability.hull.hull import Hull
from invdesign.stability.hull.phases import MP2020, Phases, phase
from invdesign.training.stability.calibration import CalibrationConfig, fit, hold_out
from invdesign.training.stability.calibration_data import EvaluatedSet
from invdesign.training.stability.calibration_uncertainty import (
    Errors,
    cross_validate,
    fit_uncertainty,
    score,
)

ROOT = Path(__file__).resolve().parents[3]
RELEASED = sorted(path.parent.name for path in (ROOT / "validators").glob("*/calibration.json"))
TRUE = {"Na": -1.3, "Mg": -1.5, "Cl": -1.8, "O": -4.9, "Fe": -8.4, "Se": -3.5, "Al": -3.7}


def _random_compositions(n: int, seed: int) -> list[Composition]:
    random = np.random.default_rng(seed)
    return [
        Composition({str(e): int(random.integers(1, 5)) for e in random.choice(list(TRUE), 3, replace=False)})
        for _ in range(n)
    ]


def _sample(n: int, seed: int, noise: float, bias: float = 0.0) -> EvaluatedSet:
    random = np.random.default_rng(seed)
    compositions = _random_compositions(n, seed)
    formation = random.normal(-1.0, 0.5, n)
    references = np.array(
        [sum(TRUE[str(e)] * x for e, x in c.fractional_composition.items()) for c in compositions]
    )
    energies = formation + references + random.normal(bias, noise, n)
    unknown = np.full(n, np.nan)
    formulas = [c.formula for c in compositions]
    return EvaluatedSet(formulas, compositions, energies, unknown, formation, unknown, 0)


def _errors(n: int, seed: int, sigma_of: object) -> Errors:
    """Errors drawn with a standard deviation that follows from the compositions and the predicted heights."""
    random = np.random.default_rng(seed)
    compositions = _random_compositions(n, seed)
    predicted = random.uniform(0.0, 0.5, n)
    residual = random.normal(0.0, sigma_of(compositions, predicted))
    formulas = [c.formula for c in compositions]
    return Errors(formulas, compositions, residual, predicted - residual, np.full(n, np.nan))


@pytest.fixture
def config(tmp_path: Path) -> CalibrationConfig:
    return CalibrationConfig(kind="calibration", data=tmp_path, out=tmp_path / "made")


@pytest.fixture(scope="module")
def chgnet() -> EnergyCalibration:
    return EnergyCalibration.load("chgnet-0.3.0")


def test_terms() -> None:
    assert set(terms_of(Composition("NaCl"))) == {"Na", "Cl", "Cl-"}
    assert set(terms_of(Composition("Fe2O3"))) == {"Fe", "Fe|O", "O", "O-"}
    assert set(terms_of(Composition("BiOBr"))) == {"Bi", "O", "O-", "Br", "Br-"}
    assert "Si-" not in terms_of(Composition("Na4SiO4"))
    assert set(terms_of(Composition("PbTe"))) == {"Pb", "Te", "Te~"}  # lead is the more electronegative
    assert {"Te-", "Te~"}.isdisjoint(terms_of(Composition("TeO2")))


@pytest.mark.parametrize(("formula", "term"), [("NaNO3", "N+"), ("KClO4", "Cl+"), ("NaBrO3", "Br+")])
def test_an_electronegative_element_that_must_be_a_cation(formula: str, term: str) -> None:
    assert term in terms_of(Composition(formula))


@pytest.mark.parametrize("formula", ["BiOCl", "Ca3N2", "LiNH2", "TaON", "Ca2NCl", "OF2", "Pb(OCl)2"])
def test_others_are_none(formula: str) -> None:
    assert not [term for term in terms_of(Composition(formula)) if term.endswith("+")]
    assert {"Fe|F"} == {
        term for term in terms_of(Composition("Fe2OF4")) if "|" in term
    }  # one U, one correction
    assert terms_of(Composition({Species("Fe", 2): 1, Species("Fe", 3): 2}))["Fe"] == 1.0


def test_fit_recovers_terms_despite_outliers() -> None:
    compositions = _random_compositions(400, 1)
    truth = EnergyScale({**TRUE, "Se-": 0.4, "Fe|O": -0.3})
    energies = np.array([truth.energy(c) for c in compositions])
    energies[::20] += 5.0
    fitted = fit_scale(compositions, energies, ridge=1e-8)
    for composition in _random_compositions(20, 2):
        assert fitted.energy(composition) == pytest.approx(truth.energy(composition), abs=0.01)


def test_fit_finds_references_offset_and_sigma(config: CalibrationConfig) -> None:
    samples = {
        "mp20": _sample(400, 1, 0.01),
        "mpts52": _sample(200, 2, 0.01),
        "wbm": _sample(300, 3, 0.05, -0.08),
    }
    known = zip(samples["mp20"].compositions, samples["mp20"].formation, strict=True)
    phases = [phase(c.formula.replace(" ", ""), float(energy), "toy") for c, energy in known]
    hull = Hull.of(Phases(phases, MP2020, "toy"))
    made = fit("toy", samples, hull, config)
    assert made.elements == frozenset(TRUE)
    assert made.hypothetical_offset == pytest.approx(0.08, abs=0.01)
    cell = Composition("Na4Cl4")
    energy = 8 * (-2.0 + (TRUE["Na"] + TRUE["Cl"]) / 2)
    assert made.formation_energy(cell, energy, hypothetical=False) == pytest.approx(-2.0, abs=0.01)
    assert made.formation_energy(cell, energy) == pytest.approx(-1.92, abs=0.02)
    assert made.sigma(cell, 0.25) == pytest.approx(0.05, rel=0.3)


def test_held_out_references_do_not_see_their_composition(config: CalibrationConfig) -> None:
    samples = {"mp20": _sample(300, 1, 0.0), "mpts52": _sample(100, 2, 0.0)}
    before = hold_out(samples, config)
    samples["mpts52"].energies[7] += 50.0
    after = hold_out(samples, config)
    assert after[307] == pytest.approx(before[307] + 50.0, abs=1e-4)


def test_sigma_by_element_covers_ninety_per_cent() -> None:
    errors = _errors(2000, 4, lambda cs, _: np.array([0.15 if "O" in c else 0.03 for c in cs]))
    found = fit_uncertainty(errors)
    assert np.mean(np.abs(score(found, errors)) <= Z90) == pytest.approx(0.9, abs=0.01)
    assert found.spread["O"] == max(found.spread.values())
    assert found.growth < 0.5


def test_growth_with_e_above_hull_is_found_and_covers_every_third() -> None:
    errors = _errors(3000, 5, lambda _, predicted: 0.03 * (1 + 4 * predicted))
    assert fit_uncertainty(errors).growth == pytest.approx(4.0, rel=0.25)
    covered = cross_validate(errors, 0).metrics()
    assert covered[:4] == pytest.approx([0.9] * 4, abs=0.03)


def test_what_relaxing_adds_is_in_the_offset() -> None:
    errors = _errors(1000, 6, lambda cs, _: np.full(len(cs), 0.05))
    errors.gain[:400] = -0.02
    plain = fit_uncertainty(_errors(1000, 6, lambda cs, _: np.full(len(cs), 0.05)))
    assert fit_uncertainty(errors).offset == pytest.approx(plain.offset + 0.02, abs=1e-6)


def test_sigma_grows_with_the_energy_above_hull() -> None:
    made = EnergyCalibration("toy", EnergyScale({"Na": -1.0}), 0.0, {"Na": 0.05}, 4.0)
    sodium = Composition("Na")
    assert made.sigma(sodium) == made.sigma(sodium, -1.0) == pytest.approx(0.05)
    assert made.sigma(sodium, 0.1) == pytest.approx(0.07)
    assert made.sigma(sodium, 9.0) == made.sigma(sodium, 0.5)


def test_round_trip(tmp_path: Path) -> None:
    references = EnergyScale({"Na": -1.0, "Na|O": 0.1})
    made = EnergyCalibration("toy", references, 0.02, {"Na": 0.05}, 3.0, "", {"Na": -1.1})
    made.save(tmp_path)
    assert EnergyCalibration.load(tmp_path) == made
    assert made.elements == {"Na"}


def test_elements_are_counted_from_their_ground_state() -> None:
    references = EnergyScale({"W": -12.9, "O": -4.3})
    ground_states = {"W": -12.8, "O": -4.9}  # tungsten's is too high by the potential, oxygen's corrected
    made = EnergyCalibration("toy", references, 0.01, {"W": 0.1, "O": 0.1}, 0.0, "", ground_states)
    for symbol, zero in (("W", -12.9), ("O", -4.9)):
        element = Composition({symbol: 2})
        assert made.formation_energy(element, 2 * ground_states[symbol], hypothetical=False) == 0
        assert made.formation_energy(element, 2 * zero) == pytest.approx(0.01)
    assert made.formation_energy(Composition("WO"), -17.2, hypothetical=False) == pytest.approx(0.0)


def test_released_one_knows_the_usual_elements(chgnet: EnergyCalibration) -> None:
    assert {"Na", "Cl", "O", "Fe", "U", "H", "Xe"} <= chgnet.elements
    assert "Ne" not in chgnet.elements
    # CHGNet's own reference of metallic sodium is the energy of bcc Na, whose formation energy is 0
    assert chgnet.references.coefficients["Na"] == pytest.approx(-1.3, abs=0.1)


def test_unknown_element(chgnet: EnergyCalibration) -> None:
    with pytest.raises(InputError, match="no reference energy of Ne"):
        chgnet.formation_energy(Composition("NaNe"), -1.0)
    with pytest.raises(InputError, match="no reference energy of Es"):
        chgnet.sigma(Composition("EsO2"))


def test_potential_without_calibration() -> None:
    with pytest.raises(InputError, match=r"'my-potential' has none; run `invdesign train`"):
        EnergyCalibration.load("my-potential")


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"potential": "x"})])
def test_broken_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(InputError, match="is broken"):
        EnergyCalibration.load(tmp_path)


@pytest.mark.parametrize("name", RELEASED)
def test_released_ones(name: str) -> None:
    made = EnergyCalibration.load(name)
    assert made.potential == name
    assert made.spread.keys() == made.elements
    assert 0.01 < made.sigma(Composition("MgO")) < 0.3
    config, recipe = (
        CalibrationConfig.model_validate(yaml.safe_load(path.read_text()))
        for path in (ROOT / f"configs/validators/{name}.yaml", ROOT / f"validators/{name}/recipe.yaml")
    )
    assert config == recipe
