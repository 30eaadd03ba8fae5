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
from invdesign.campaign.stages.finish import FMAX, PER_UNIT, finish_unit
from invdesign.campaign.stages.gates import Context, GateUnit
from invdesign.campaign.stages.shortlist import distinct, picked, reject_unlikely, score, unrejected
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
SEED = 0
BUDGET = {"n_genes": 2048, "n_relax": 128, "n_shortlist": 20}
FINISHER = "7net-0"
CAMPAIGNS: dict[str, dict[str, Any]] = {
    "gap of 1.5 eV, any elements": {"target": "band_gap=1.5±0.25"},
    "oxides, gap of 3 to 5 eV": {"target": "band_gap=3..5", "elements": "O"},
    "Na-V-Mn-O-F": {"target": "e_above_hull<0.1", "only": "Na,V,Mn,O,F"},
}


def main(runs: Path) -> None:
    """Run every campaign, finish it, confirm both shortlists, and write what came of it."""
    results = {
        name: invdesign.design(**fields, **BUDGET, out=runs / str(k), seed=SEED, finish="none", progress=True)
        for k, (name, fields) in enumerate(CAMPAIGNS.items())
    }
    with one_thread():
        rows = [row for name, result in results.items() for row in both_ways(name, result)]
    write(rows)


def both_ways(name: str, result: CampaignResult) -> list[dict[str, Any]]:
    """Measure a campaign's shortlist, and the one that it has with a finishing stage."""
    core = sum(stage.core for stage in result.funnel.stages.values())
    start = time.process_time()
    finished = _finished(result)
    finishing = time.process_time() - start
    return [
        _measured(name, result, "none", result.shortlist, core),
        _measured(name, result, FINISHER, finished, finishing),
    ]


def write(rows: list[dict[str, Any]]) -> None:
    """Write ``finish.json`` and ``README.md``."""
    out = {
        "confirmed_by": CONFIRMING,
        "limit": LIMIT,
        "seed": SEED,
        "budget": BUDGET,
        "shortlists": rows,
        "hardware": hardware(),
        "revision": git_revision(),
        "packages": package_versions(),
        "artifacts": artifact_hashes(),
    }
    (HERE / "finish.json").write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (HERE / "README.md").write_text(_table(rows), encoding="utf-8")


def _finished(result: CampaignResult) -> list[Candidate]:
    """Shortlist the same campaign as it would be with a finishing stage, its first phases not repeated."""
    config = result.config.model_copy(update={"finish": FINISHER})
    components = Components.from_config(config)
    survivors = [candidate for candidate in result.candidates if candidate.alive]
    reject_unlikely(survivors, config)
    likely = [candidate for candidate in survivors if candidate.alive]
    for first in range(0, len(likely), PER_UNIT):
        finish_unit(GateUnit(config, components, likely[first : first + PER_UNIT]))
    distinct(unrejected(likely), Context(config, components))
    left = unrejected(likely)
    score(left, config, components)
    return picked(config, left)


def _measured(
    name: str, result: CampaignResult, finisher: str, shortlist: list[Candidate], core: float
) -> dict[str, Any]:
    """One shortlist as its potential and as the third one places it, and the core seconds."""
    start = time.process_time()
    crystals = _confirmed(shortlist)
    return {
        "name": name,
        "target": str(result.config.target),
        "finish": finisher,
        "core_s": round(core, 1),
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
        "shortlist. Core seconds: of the campaign; of its finishing.",
        "",
        _row(["campaign", "finished by", "confirmed", "expected", "E above hull, median", "core s"]),
        _row(["---"] * 6),
    ]
    lines += [
        _row([row["name"], row["finish"], *_summary(row["shortlist"]), f"{row['core_s']:.0f}"])
        for row in rows
    ]
    for finisher in ("none", FINISHER):
        together = [one for row in rows if row["finish"] == finisher for one in row["shortlist"]]
        lines.append(_row(["**all**", finisher, *_summary(together), ""]))
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
