"""Which share of a shortlist a third potential confirms, with and without the finishing stage.

``python benchmarks/finish/finish.py RUNS`` runs the campaigns in the folder RUNS (a few minutes each on two
cores; stopped, the same command resumes), relaxes what they shortlist with SevenNet-l3i5, places it by that
potential's calibration, and writes ``finish.json`` and ``README.md``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

import invdesign
from invdesign.campaign import Components
from invdesign.campaign.stages.finish import FMAX
from invdesign.core.funnel import FINISHING
from invdesign.io.parallel import one_thread
from invdesign.io.provenance import artifact_hashes, git_revision, hardware, package_versions
from invdesign.relaxation.relax import relax

if TYPE_CHECKING:
    from invdesign.campaign import CampaignResult
    from invdesign.core.candidate import Candidate

HERE = Path(__file__).parent
CONFIRMING = "7net-l3i5"
LIMIT = 0.1  # eV/atom
MAX_STEPS = 500
SEEDS = (0,)
FINISHERS = ("none", "7net-0")
CAMPAIGNS: dict[str, dict[str, Any]] = {
    "gap of 1.5 eV, any elements": {"target": "band_gap=1.5±0.25"},
    "oxides, gap of 3 to 5 eV": {"target": "band_gap=3..5", "elements": "O"},
    "Na-V-Mn-O-F": {"target": "e_above_hull<0.1", "only": "Na,V,Mn,O,F"},
}


def main(runs: Path) -> None:
    """Run every campaign, confirm every shortlist, and write what came of it."""
    done = [
        (name, seed, finisher, _design(runs / f"{k}-{seed}-{finisher}", fields, seed, finisher))
        for k, (name, fields) in enumerate(CAMPAIGNS.items())
        for seed in SEEDS
        for finisher in FINISHERS
    ]
    with one_thread():
        rows = [_measured(*one) for one in done]
    out = {
        "confirmed_by": CONFIRMING,
        "limit": LIMIT,
        "campaigns": rows,
        "hardware": hardware(),
        "revision": git_revision(),
        "packages": package_versions(),
        "artifacts": artifact_hashes(),
    }
    (HERE / "finish.json").write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (HERE / "README.md").write_text(_table(rows), encoding="utf-8")


def _design(out: Path, fields: dict[str, Any], seed: int, finisher: str) -> CampaignResult:
    return invdesign.design(**fields, out=out, seed=seed, finish=finisher, progress=True)


def _measured(name: str, seed: int, finisher: str, result: CampaignResult) -> dict[str, Any]:
    """One campaign: its shortlist as its potential and as the third one places it, and the core seconds."""
    start = time.process_time()
    crystals = _confirmed(result.shortlist)
    stages = result.funnel.stages
    return {
        "name": name,
        "seed": seed,
        "target": str(result.config.target),
        "finish": finisher,
        "core_s": round(sum(stage.core for stage in stages.values()), 1),
        "core_s_finishing": round(stages[FINISHING].core, 1),
        "core_s_confirming": round(time.process_time() - start, 1),
        "shortlist": crystals,
    }


def _confirmed(shortlist: list[Candidate]) -> list[dict[str, Any]]:
    """Energies above hull, eV/atom, of a shortlist; None where the third potential does not converge."""
    components = Components(potential=CONFIRMING)
    structures = [candidate.structure for candidate in shortlist]
    ends = relax(structures, components.get("potential"), fmax=FMAX, max_steps=MAX_STEPS)  # type: ignore[arg-type]
    rows = []
    for candidate, end in zip(shortlist, ends, strict=True):
        here = candidate.placement
        assert here is not None  # noqa: S101 - shortlisted
        there = components.placement(end.structure, end.energy) if end.converged else None
        rows.append(
            {
                "formula": candidate.structure.composition.reduced_formula,  # type: ignore[union-attr]
                "e_above_hull": round(here.e_above_hull, 4),
                "probability": round(here.probability_below(LIMIT), 3),
                "confirming": there and round(there.e_above_hull, 4),
                "confirming_sigma": there and round(there.sigma, 4),
                "crystal_known": here.crystal_known,
            }
        )
    return rows


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# Shortlists, finished and not",
        "",
        f"Confirmed: at most {LIMIT} eV/atom above the hull, relaxed with {CONFIRMING} to {FMAX} eV/Å and",
        "placed by its calibration. Expected: the mean probability of that, by the potential that placed the",
        "shortlist. Core seconds: of the campaign, of its finishing.",
        "",
        _row(["campaign", "seed", "finished by", "confirmed", "expected", "E above hull, median", "core s"]),
        _row(["---"] * 7),
    ]
    for row in rows:
        cost = f"{row['core_s']:.0f}, {row['core_s_finishing']:.0f}"
        lines.append(_row([row["name"], row["seed"], row["finish"], *_summary(row["shortlist"]), cost]))
    for finisher in FINISHERS:
        together = [one for row in rows if row["finish"] == finisher for one in row["shortlist"]]
        lines.append(_row(["**all**", "", finisher, *_summary(together), ""]))
    return "\n".join(lines) + "\n"


def _summary(shortlist: list[dict[str, Any]]) -> list[str]:
    found = [one["confirming"] for one in shortlist]
    confirmed = sum(e is not None and e <= LIMIT for e in found)
    expected = mean(one["probability"] for one in shortlist)
    middle = median(e for e in found if e is not None)
    return [f"{confirmed} of {len(found)}, {confirmed / len(found):.2f}", f"{expected:.2f}", f"{middle:.3f}"]


def _row(cells: list[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
