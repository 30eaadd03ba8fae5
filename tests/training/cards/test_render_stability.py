"""Cards of the hull and of the calibrations: the released ones, and those of new measurements."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Composition

from invdesign.stability.energy_corrections import EnergyScale
from invdesign.stability.hull.hull import Hull
from invdesign.stability.hull.phases import MP2020, Phases, phase
from invdesign.training.cards.render import render_card
from invdesign.training.stability import hull as hull_training
from invdesign.training.stability.calibration import CalibrationConfig, fit, measure_calibration
from invdesign.training.stability.calibration_data import EvaluatedSet
from invdesign.training.stability.hull import HullConfig, measure_hull, save

VALIDATORS = Path(__file__).resolve().parents[3] / "validators"
CALIBRATIONS = sorted(path.parent.name for path in VALIDATORS.glob("*/calibration.json"))
ENTRIES = [
    ("NaCl", -2.0, 0.0),
    ("Na2O", -1.4, 0.0),
    ("MgO", -3.0, 0.0),
    ("MgCl2", -2.2, 0.0),
    ("Na3Cl", -0.9, 0.1),
]
ELEMENTS = {"Na": -1.3, "Mg": -1.5, "Cl": -1.8, "O": -4.9, "Al": -3.7}


def shape(value: object) -> object:
    """Keys of nested dictionaries; what the template may name."""
    return {key: shape(inner) for key, inner in value.items()} if isinstance(value, dict) else None


@pytest.mark.parametrize("name", ["mp-hull", *CALIBRATIONS])
def test_released_card_is_its_template_filled(name: str) -> None:
    metrics = json.loads((VALIDATORS / name / "metrics.json").read_text())
    template = "hull" if name == "mp-hull" else "calibration"
    assert render_card(template, metrics) == (VALIDATORS / name / "README.md").read_text()


def evaluated(n: int, seed: int, *, hypothetical: bool = False) -> EvaluatedSet:
    random = np.random.default_rng(seed)
    compositions = [
        Composition({str(e): int(random.integers(1, 4)) for e in random.choice(list(ELEMENTS), 2, False)})
        for _ in range(n)
    ]
    formation = random.normal(-1.0, 0.3, n)
    references = [
        sum(ELEMENTS[str(e)] * x for e, x in c.fractional_composition.items()) for c in compositions
    ]
    energies = formation + references + random.normal(-0.05 if hypothetical else 0.0, 0.02, n)
    relaxed = energies - 0.01 if hypothetical else np.full(n, np.nan)
    reported = np.full(n, np.nan) if hypothetical else np.abs(random.normal(0.0, 0.1, n))
    formulas = [c.formula for c in compositions]
    return EvaluatedSet(formulas, compositions, energies, relaxed, formation, reported, 0)


def test_a_new_calibration_fills_the_template(tmp_path: Path) -> None:
    config = CalibrationConfig(kind="calibration", data=tmp_path, out=tmp_path)
    samples = {
        "mp20": evaluated(120, 1),
        "mpts52": evaluated(80, 2),
        "wbm": evaluated(120, 3, hypothetical=True),
    }
    known = zip(samples["mp20"].compositions, samples["mp20"].formation, strict=True)
    phases = [phase(c.formula.replace(" ", ""), float(energy), "toy") for c, energy in known]
    hull = Hull.of(Phases(phases, MP2020, "toy"))
    metrics = measure_calibration(fit("toy", samples, hull, config), samples, hull, config)
    released = json.loads((VALIDATORS / CALIBRATIONS[-1] / "metrics.json").read_text())
    assert shape(metrics) == shape(released)
    assert metrics["formation"]["wbm"][3] == pytest.approx(-0.05, abs=0.01)
    assert metrics["relaxing"] == pytest.approx({"n": 120, "median": 10.0, "mean": 10.0})
    assert "# Calibration of toy" in render_card("calibration", json.loads(json.dumps(metrics)))


def test_a_new_hull_fills_the_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hull_training, "SAMPLE", 4)
    folder = tmp_path / "structures"
    folder.mkdir()
    rows = [f"{formula},{energy},{above}" for formula, energy, above in ENTRIES]
    header = "pretty_formula,formation_energy_per_atom,e_above_hull"
    for name in ("mp20", "mpts52"):
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress("\n".join([header, *rows]).encode()))
    config = HullConfig(kind="mp-hull", data=tmp_path, out=tmp_path / "hull")
    newer = hull_training._lowest_entries(pd.DataFrame(ENTRIES, columns=header.split(",")))
    shift, used = EnergyScale({"Na": 0.0}), newer.stable
    save(newer, used, shift, config.out)
    metrics = measure_hull(newer, used, older=newer, newer=newer, shift=shift, config=config)
    released = json.loads((VALIDATORS / "mp-hull" / "metrics.json").read_text())
    assert shape(metrics) == shape(released)
    assert metrics["scales"]["before"] == [0.0, 0.0, 0.0]
    assert "hull" in render_card("hull", json.loads(json.dumps(metrics)))
