"""Does the ranking find hits? Compare the top of a campaign with all that it relaxed, by another model.

    invdesign design "band_gap=1.5±0.25" --out run
    python benchmarks/ranking/hits.py run band-gap-evaluator          # adds to benchmarks/ranking/hits.json

The evaluator is a gap model that neither guided, ranked nor selected: a released name or a folder. A hit has
the evaluator's point estimate in the window and lies under the target's limit of E above hull (by the
campaign's potential; the evaluator predicts gaps only). Candidates without a minimum are excluded.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.analysis.evaluate.metrics import Rate
from invdesign.campaign.run import DATABASE
from invdesign.campaign.store import Store
from invdesign.core.target import STABILITY, Target, parse_target
from invdesign.errors import InputError
from invdesign.predictors.registry import load_predictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invdesign.core.candidate import Candidate, Estimate

OUT = Path(__file__).with_name("hits.json")
PROPERTY = "band_gap"
TOP = 20


def hit_rates(relaxed: Sequence[Candidate], estimates: Sequence[Estimate], target: Target) -> dict:
    """Return hit rates by the evaluator: of the shortlist's top, of all relaxed, and how many times more.

    Args:
        relaxed: all candidates that came to a minimum.
        estimates: the evaluator's, of each.
        target: with a window on the property.
    """
    window = target.windows[PROPERTY]
    low = np.array([c.properties[STABILITY].mean <= target.e_above_hull_max for c in relaxed])
    inside = np.array([e.value in window for e in estimates])
    chance = np.array([e.probability(window) for e in estimates]) * low
    top = np.array([c.shortlisted and c.selection.rank <= TOP for c in relaxed])
    rates = {
        "top": Rate(int((inside & low)[top].sum()), int(top.sum())),
        "all relaxed": Rate(int((inside & low).sum()), len(low)),
        "all under the limit": Rate(int((inside & low).sum()), int(low.sum())),
    }
    median = float(np.median(chance))
    return {
        **{name: rate.as_json() for name, rate in rates.items()},
        **{
            f"times {name}": round(rates["top"].value / rates[name].value, 3) if rates[name].value else None
            for name in ("all relaxed", "all under the limit")
        },
        "evaluator's probability, mean of the top": round(float(chance[top].mean()), 4),
        "evaluator's probability, median of all relaxed": round(median, 4),
        "predicted probability, mean of the top": round(
            float(np.mean([c.selection.p_hit for c in relaxed if c.shortlisted and c.selection.rank <= TOP])),
            4,
        ),
    }


def main(folder: Path, evaluator: str) -> None:
    """Evaluate a campaign and store the metrics under its target and the evaluator's name."""
    store = Store(folder / DATABASE)
    target = parse_target(store.identity["target"])
    if PROPERTY not in target.windows:
        raise InputError(f"target: {target} has no window on {PROPERTY}; give a campaign with one.")
    relaxed = [c for c in store.read() if STABILITY in c.properties and c.structure is not None]
    estimates = load_predictor("band_gap", evaluator).predict([c.structure for c in relaxed])  # type: ignore[misc]
    found = json.loads(OUT.read_text()) if OUT.exists() else {}
    found.setdefault(str(target), {})[evaluator] = hit_rates(relaxed, estimates, target)
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found[str(target)][evaluator], indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
