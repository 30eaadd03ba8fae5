"""What `predict` prints."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from invdesign.analysis import predict_files
from invdesign.analysis.predict_files import Prediction
from invdesign.cli import app
from invdesign.core.candidate import Estimate
from invdesign.io.tables import Results

SURE = 1e-6  # the deviation of a class


def shown(
    monkeypatch: pytest.MonkeyPatch, folder: Path, config: dict[str, object], *rows: Prediction
) -> list[str]:
    (folder / "config.json").write_text(json.dumps(config))
    found = Results(rows, summary="predict")
    monkeypatch.setattr(predict_files, "predict", lambda *_, **__: found)
    result = CliRunner().invoke(app, ["predict", "NaCl", "--model", str(folder)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout.splitlines()


def test_of_two_classes_it_prints_the_likelier_and_the_probability_of_the_second(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    lines = shown(
        monkeypatch,
        tmp_path,
        {"classes": ["no", "yes"]},
        Prediction("NaCl", "NaCl", {"brittle": Estimate(1.0, SURE, 0.13)}, classes=("no", "yes")),
        Prediction(
            "Cu", "Cu", {"brittle": Estimate(1.0, SURE, 0.98, in_domain=False)}, classes=("no", "yes")
        ),
    )
    assert lines[0].split() == ["NaCl", "brittle", "yes", "(P(yes)", "87%)"]
    assert lines[1].split()[:5] == ["Cu", "brittle", "no", "(P(yes)", "2%)"]
    assert lines[1].endswith("outside the applicability domain")


def test_of_a_number_it_prints_interval_and_share_at_zero(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    gap = {"band_gap": Estimate(5.0, 0.5, 0.02)}
    (line,) = shown(monkeypatch, tmp_path, {"kind": "property"}, Prediction("NaCl", "NaCl", gap))
    assert "5 eV  (90 %: " in line
    assert line.endswith("P(metal) 2%")
