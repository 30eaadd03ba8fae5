"""The line between PBE gaps and measured ones, and what it costs that both estimates agree.

``python benchmarks/prediction/measured_gap.py ../shared/data`` (a minute) writes ``measured_gap.json``. The
line is fitted to compounds that no property model holds out; the estimates are tested on those held out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from invdesign.composition.formula import composition_key
from invdesign.core.measured_gap import agreeing
from invdesign.data.splits import grouped_split
from invdesign.errors import InputError
from invdesign.io.provenance import git_revision, hardware
from invdesign.predictors.property_predictor import PropertyPredictor
from invdesign.training.predictors.table import PARTS

if TYPE_CHECKING:
    from invdesign.core.candidate import Estimate

SEED = 0  # of the models' split
HELD_OUT = list(PARTS).index("test")


def main(data: Path) -> None:
    """Fit the line, test the estimates, write both down."""
    measured = _measured(data)
    known = pd.read_csv(data / "structures/mp20.csv.gz", keep_default_na=False)
    known["key"] = [composition_key(formula) for formula in known.pretty_formula]
    lowest = known.sort_values("e_above_hull").drop_duplicates("key").set_index("key")
    both = measured.join(lowest[["band_gap"]], on="key", how="inner")
    held_out = _held_out(both.key)
    gaps = both[["band_gap", "gap"]].to_numpy(float)
    out = {
        "line": _line(gaps[(gaps > 0).all(axis=1) & ~held_out]),
        "held_out": _tested(measured[_held_out(measured.key)]),
        "seed": SEED,
        "hardware": hardware(),
        "revision": git_revision(),
    }
    text = json.dumps(out, indent=1)
    Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    print(text)


def _measured(data: Path) -> pd.DataFrame:
    """Median measured gap of each compound; doped ones are left out."""
    table = pd.read_csv(data / "compositions/expt_band_gap.csv.gz", keep_default_na=False)
    table["key"] = [_key(formula) for formula in table.formula]
    return (
        table[table.key != ""]
        .groupby("key", as_index=False)
        .agg(formula=("formula", "first"), gap=("band_gap_expt", "median"))
    )


def _key(formula: str) -> str:
    try:
        return composition_key(formula)
    except InputError:
        return ""


def _held_out(keys: pd.Series) -> np.ndarray:
    parts = grouped_split(list(keys), list(PARTS.values()), SEED)
    return np.isin(np.arange(len(keys)), parts[HELD_OUT])


def _line(gaps: np.ndarray) -> dict[str, float]:
    pbe, measured = gaps.T
    slope, offset = minimize(
        lambda line: np.abs(measured - line[0] * pbe - line[1]).sum(), [1.2, 0.5], method="Nelder-Mead"
    ).x
    low, high = np.percentile(measured - slope * pbe - offset, [5, 95])
    return {"n": len(gaps), "slope": slope, "offset": offset, "percentile_5": low, "percentile_95": high}


def _tested(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    found = PropertyPredictor.load("band-gap-composition").predict_all(list(rows.formula))
    truth = rows.gap.to_numpy(float)
    agreed = [agreeing(row) for row in found]
    return {"alone": _errors(found, truth), "agreeing": _errors(agreed, truth)}


def _errors(rows: list[dict[str, Estimate]], truth: np.ndarray) -> dict[str, float]:
    estimates = [row["band_gap_experimental"] for row in rows]
    values = np.array([one.value for one in estimates])
    inside = [one.low <= gap <= one.high for one, gap in zip(estimates, truth, strict=True)]
    contradict = [row["band_gap"].value > 1 and row["band_gap_experimental"].value == 0 for row in rows]
    return {
        "n": len(truth),
        "mae": float(np.abs(values - truth).mean()),
        "interval_holds": float(np.mean(inside)),
        "zero_but_measured_above": int(((values == 0) & (truth > 0)).sum()),
        "above_but_measured_zero": int(((values > 0) & (truth == 0)).sum()),
        "zero_where_pbe_says_above_1": int(sum(contradict)),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
