"""Does the ranking find hits? The top of a finished campaign against all that it relaxed, by a judge.

    invdesign design "band_gap=1.5±0.25" --out run
    python benchmarks/ranking/hits.py run band-gap-evaluator          # adds to benchmarks/ranking/hits.json

The judge is a gap model that neither guided, ranked nor selected: a released name or a folder. A hit has the
judge's single best figure in the window and lies under the target's limit above the hull (the campaign's own
potential; the judge knows gaps only). Candidates that did not relax to a minimum are left out of both sides.
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


def figures(relaxed: Sequence[Candidate], estimates: Sequence[Estimate], target: Target) -> dict:
    """Hit rates by the judge: of the shortlist's top, of all relaxed, and how many times more.

    Args:
        relaxed: all candidates that came to a minimum.
        estimates: the judge's, of each.
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
        "judge's probability, mean of the top": round(float(chance[top].mean()), 4),
        "judge's probability, median of all relaxed": round(median, 4),
        "said probability, mean of the top": round(
            float(np.mean([c.selection.p_hit for c in relaxed if c.shortlisted and c.selection.rank <= TOP])),
            4,
        ),
    }


def main(folder: Path, judge: str) -> None:
    """Judge a campaign and keep the figures under its target and the judge's name."""
    store = Store(folder / DATABASE)
    target = parse_target(store.identity["target"])
    if PROPERTY not in target.windows:
        raise InputError(f"target: {target} has no window on {PROPERTY}; give a campaign with one.")
    relaxed = [c for c in store.read() if STABILITY in c.properties and c.structure is not None]
    estimates = load_predictor("band_gap", judge).predict([c.structure for c in relaxed])  # type: ignore[misc]
    found = json.loads(OUT.read_text()) if OUT.exists() else {}
    found.setdefault(str(target), {})[judge] = figures(relaxed, estimates, target)
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found[str(target)][judge], indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
