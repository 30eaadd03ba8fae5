"""matgl's published band gap model in the benchmark: a folder of the same kind, untrained and tiny."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from invdesign.errors import InputError
from invdesign.training.predictors.property import DataFile, LearnedProperty, PropertyConfig
from invdesign.training.predictors.table import Table

pytest.importorskip("matgl")
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "prediction"
if not BENCHMARK.is_dir():
    pytest.skip("the benchmarks are not installed", allow_module_level=True)
sys.path.insert(0, str(BENCHMARK))
import prediction  # noqa: E402
import published  # noqa: E402

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
COPPER = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.62), ["Cu"], [[0, 0, 0]])
STRANGE = Structure(Lattice.cubic(3.3), ["Po"], [[0, 0, 0]])
ALONE = Structure(Lattice.cubic(12), ["Na"], [[0, 0, 0]])


def megnet(folder: Path, **changed: Any) -> Path:
    from matgl.models import MEGNet

    torch.manual_seed(3)
    small = {
        "dim_edge_embedding": 10,
        "hidden_layer_sizes_conv": (16, 8),
        "hidden_layer_sizes_input": (16, 8),
    }
    elements = ("Na", "Cl", "Cu")
    MEGNet(**{"ntypes_state": 4, "element_types": elements, "cutoff": 5.0} | small | changed).save(folder)
    return folder


def test_it_predicts_as_matgl_does(tmp_path: Path) -> None:
    model = published.load_published(str(megnet(tmp_path / "gaps")))
    raw = [float(model.predict_structure(s, state_attr=torch.tensor([0]))) for s in (SALT, COPPER)]
    other = float(model.predict_structure(SALT, state_attr=torch.tensor([1])))
    assert raw[0] != pytest.approx(other, abs=1e-6)  # another functional, another gap
    found = published.published_gaps(model, [SALT, STRANGE, COPPER, ALONE])
    assert found[[0, 2]] == pytest.approx(np.maximum(raw, 0))
    assert np.isnan(found[[1, 3]]).all()


def test_its_values_join_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "toy.csv"
    rows = [(SALT, "5.1"), (COPPER, "0"), (SALT, ""), (STRANGE, "0"), (SALT, "5.0")]
    cells = [(crystal.to(fmt="cif").replace('"', '""'), gap) for crystal, gap in rows]
    data.write_text("cif,band_gap\n" + "".join(f'"{cif}",{gap}\n' for cif, gap in cells))
    config = PropertyConfig(
        kind="property",
        out=tmp_path / "gap",
        data=(DataFile(file=data),),
        properties={"band_gap": LearnedProperty(unit="eV", zero=True)},
    )
    part = np.array(["test", "test", "test", "train"])
    labels = np.array([[5.1], [0], [0], [5.0]], dtype=np.float32)  # the row without a gap is no row
    table = Table(np.zeros((4, 3)), labels, part, np.full(4, "toy"), np.zeros(4, dtype=bool), 3)
    monkeypatch.setattr(prediction, "RESULTS", tmp_path / "prediction.json")
    monkeypatch.setattr(
        prediction, "published_gaps", lambda _, given: np.array([4.6, 0.2, np.nan][: len(given)])
    )
    prediction.add_published(None, table, config, "toy: band_gap")
    figures = json.loads((tmp_path / "prediction.json").read_text())["metrics"]["toy: band_gap"]["published"][
        "0"
    ]
    assert figures["toy"]["mae"] == pytest.approx(0.5)
    assert figures["toy"]["mae_all"] == pytest.approx((0.5 + 0.2 + 5.0) / 3)  # the third: the training median
    assert figures["not evaluated"] == {"n": 1}
    assert not [name for name in figures["toy"] if name.startswith(("coverage", "ece"))]
    with pytest.raises(InputError, match="no band_gap from structure"):
        prediction.crystals_of(config.model_copy(update={"sees": "composition"}))


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    def refused(folder: Path) -> str:
        with pytest.raises(InputError) as caught:
            published.load_published(str(folder))
        return str(caught.value)

    assert "there is no folder" in refused(tmp_path / "nothing")
    assert "lacks model.json" in refused(tmp_path)
    one = megnet(tmp_path / "one", ntypes_state=None)
    assert "no multi-fidelity MEGNet" in refused(one)
    old = megnet(tmp_path / "old")
    described = json.loads((old / "model.json").read_text())
    (old / "model.json").write_text(json.dumps(described | {"@model_version": 0}))
    assert "older matgl" in refused(old)
    (old / "model.json").write_text(json.dumps(described | {"@module": "os"}))
    assert "outside matgl" in refused(old)
    damaged = megnet(tmp_path / "damaged")
    (damaged / "state.pt").write_bytes((damaged / "state.pt").read_bytes()[:200])
    assert "cannot be loaded" in refused(damaged)
    potential = BENCHMARK.parents[2] / "shared" / "potentials" / "M3GNet-MP-2021.2.8-matgl4"
    if potential.is_dir():
        assert "holds a Potential" in refused(potential)
