"""Campaigns for the sake of learning: what the generator's crystals relax into, condensed to one artifact.

Relaxed with a potential that evaluates nothing else, so that another one evaluates what learns from them; a
second such potential gives its opinion of the relaxed crystal, and the mean of both counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from invdesign.analysis.evaluate.metrics import Rate
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.run import DATABASE, design
from invdesign.campaign.store import Store
from invdesign.core.candidate import Candidate
from invdesign.core.target import Target
from invdesign.crystal.elements import SYMBOLS
from invdesign.crystal.gene import Gene
from invdesign.data.relaxed_genes import COLUMNS, CRYSTALS, OUTCOMES
from invdesign.data.tokens import TokenSet, join, tokens_of
from invdesign.errors import InputError
from invdesign.io.artifacts import find
from invdesign.io.progress import Progress
from invdesign.io.provenance import RUN_FILE, git_revision, sha256
from invdesign.predictors.property_predictor import PropertyPredictor
from invdesign.training.cards.render import write_card
from invdesign.training.recipe import Recipe, TargetText
from invdesign.verdict import Verdict

Row = dict[str, Any]

LIMIT = 0.1  # eV/atom above the hull, by the mean of both potentials
BATCH = 200  # crystals in memory at once
FAR = 1.5  # how many times rarer or more frequent an element must be for the card to name it


class PlannedCampaign(BaseModel):
    """One campaign: many genes and few relaxed go for yield, nearly all relaxed for what fails."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: TargetText = Target()
    seed: int
    n_genes: int
    n_relax: int


class RelaxedGenesConfig(Recipe):
    """Recipe of relaxed genes; kind ``relaxed-genes``. Campaigns that ended in the cache are not repeated."""

    kind: Literal["relaxed-genes"]
    potential: str
    calibration: str
    second_potential: str = Field(description="its opinion of the relaxed crystals counts as much")
    second_calibration: str
    hull: str = "mp-hull"
    gaps: str = Field("band-gap", description="what estimates gaps; not the model that evaluates generators")
    campaigns: tuple[PlannedCampaign, ...] = Field(min_length=1)
    cache: Path = Path(".cache/invdesign")

    @field_validator("gaps")
    @classmethod
    def _no_judge(cls, given: str) -> str:
        if len(PropertyPredictor.load(given).embeddings) > 1:
            raise InputError(
                f"gaps: {given!r} sees the embedding of a potential that evaluates; give band-gap."
            )
        return given

    def campaign(self, planned: PlannedCampaign) -> CampaignConfig:
        """Return the configuration of a planned campaign, its folder in the cache."""
        return CampaignConfig(
            out=self.cache / "relaxed-genes" / str(planned.seed),
            potential=self.potential,
            calibration=self.calibration,
            hull=self.hull,
            finish="none",  # what finishes shortlists evaluates what learns from these crystals
            min_probability=0,  # the model that predicts properties selects nothing here
            **dict(planned),
        )


def build_relaxed_genes(config: RelaxedGenesConfig, *, progress: Progress) -> Path:
    """Run what has not run, and write crystals, outcomes, card and recipe to ``config.out``."""
    campaigns: dict[int, list[Candidate]] = {}
    for done, planned in enumerate(config.campaigns):
        progress(0.5 * done / len(config.campaigns), f"campaign with seed {planned.seed}")
        campaigns[planned.seed] = relaxed(config.campaign(planned))
    candidates = [candidate for found in campaigns.values() for candidate in found]
    crystals = [candidate for candidate in candidates if candidate.structure is not None]
    first = np.array([candidate.properties["e_above_hull"].mean for candidate in crystals])
    second = second_opinion(config, crystals, progress)
    mean = np.where(np.isnan(second), first, (first + second) / 2)
    progress(0.8, "duplicates between campaigns")
    _reject_unstable(crystals, mean)
    _drop_duplicates(crystals, mean)
    progress(0.85, "band gaps")
    gaps = _gaps(config.gaps, crystals)
    found = zip(mean, first, second, gaps, strict=True)
    columns = ("e_above_hull", "e_above_hull_first", "e_above_hull_second", "band_gap")
    values = {
        id(candidate): dict(zip(columns, np.round(row, 4).tolist(), strict=True))
        for candidate, row in zip(crystals, found, strict=True)
    }
    rows = [
        outcome(seed, candidate) | values.get(id(candidate), {})
        for seed, found in campaigns.items()
        for candidate in found
    ]
    config.out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows, columns=COLUMNS, dtype=object)
    gzipped = {"method": "gzip", "mtime": 0}  # bytes that follow from the rows
    table.to_csv(config.out / OUTCOMES, index=False, lineterminator="\r\n", compression=gzipped)
    tokens = [
        (row["id"], number, candidate.gene, candidate.geometry)
        for number, (row, candidate) in enumerate(zip(rows, candidates, strict=True))
        if candidate.geometry is not None
    ]
    join([tokens_of(tokens)]).save(config.out / CRYSTALS)
    write_card(config, "relaxed_genes", metrics_of(config, rows))
    progress(1.0, f"{len(tokens)} relaxed crystals in {config.out}")
    return config.out


def relaxed(campaign: CampaignConfig) -> list[Candidate]:
    """Return the candidates that a campaign chose to relax, by id; run or finish it if it has not ended.

    Raises:
        InputError: the folder holds another campaign.
    """
    path = campaign.out / DATABASE
    if not (path.exists() and Store(path).complete):
        design(campaign, progress=False)
    store = Store(path)
    wanted, stored = _brief(campaign.identity()), _brief(store.identity)
    if wanted != stored:
        raise InputError(
            f"cache: {str(campaign.out)!r} holds another campaign ({stored}, not {wanted}); move it away."
        )
    return store.read("place>=0")


def _brief(identity: dict[str, Any]) -> dict[str, Any]:
    """Return what a campaign must share with its recipe, whatever folder the potential lies in."""
    shared = {name: identity[name] for name in ("target", "seed", "n_genes", "n_relax", "hull")}
    return shared | {"potential": Path(identity["potential"]).name}


def second_opinion(
    config: RelaxedGenesConfig, crystals: Sequence[Candidate], progress: Progress
) -> NDArray[np.float64]:
    """E above hull (n,) of relaxed crystals by the second potential, eV/atom; NaN where it has none."""
    from invdesign.potentials.registry import load_potential
    from invdesign.stability.calibration import EnergyCalibration
    from invdesign.stability.hull.hull import Hull
    from invdesign.stability.placement import compute_placement

    potential = load_potential(config.second_potential)
    calibration, hull = EnergyCalibration.load(config.second_calibration), Hull.load(config.hull)
    above_hull = np.full(len(crystals), np.nan)
    for start in range(0, len(crystals), BATCH):
        progress(0.5 + 0.3 * start / len(crystals), f"second opinion of {start} of {len(crystals)}")
        batch = crystals[start : start + BATCH]
        energies = potential.evaluate([candidate.structure for candidate in batch]).energy  # type: ignore[misc]
        for number, (candidate, energy) in enumerate(zip(batch, energies, strict=True), start):
            structure, placement = candidate.structure, candidate.placement
            elements = {str(element) for element in structure.elements}  # type: ignore[union-attr]
            if np.isfinite(energy) and elements <= hull.elements & calibration.elements:
                above_hull[number] = compute_placement(
                    structure.composition,  # type: ignore[union-attr]
                    float(energy),
                    calibration,
                    hull,
                    crystal_known=placement.crystal_known,  # type: ignore[union-attr]
                ).e_above_hull
    return above_hull


def _reject_unstable(crystals: Sequence[Candidate], energies: NDArray[np.float64]) -> None:
    for candidate, energy in zip(crystals, energies, strict=True):
        if candidate.alive and energy > LIMIT:
            reason = f"{energy:.3f} eV/atom above the hull by both potentials"
            candidate.record(
                Verdict("hull", passed=False, value=float(energy), threshold=LIMIT, reason=reason)
            )


def _drop_duplicates(crystals: Sequence[Candidate], energies: NDArray[np.float64]) -> None:
    """Of crystals that match, in whichever campaign, keep the lowest in energy."""
    from invdesign.crystal.matching import unique_groups

    alive = [place for place in np.argsort(energies, kind="stable") if crystals[place].alive]
    seen: set[int] = set()
    for place, group in zip(alive, unique_groups([crystals[i].structure for i in alive]), strict=True):
        if group in seen:
            crystals[place].record(
                Verdict("duplicates", passed=False, reason="same crystal in another campaign")
            )
        seen.add(group)


def outcome(seed: int, candidate: Candidate) -> Row:
    """Return what a candidate's record gives its row of the table of outcomes."""
    return {
        "id": f"{seed}:{candidate.id}",
        "campaign": seed,
        "place": candidate.place,
        "proposed_gene": candidate.relaxation.proposed_gene if candidate.relaxation else str(candidate.gene),
        "relaxed_gene": str(candidate.gene) if candidate.structure is not None else "",
        "formula": candidate.gene.formula,
        "geometry": candidate.origin.geometry or "",
        "steps": "" if candidate.relaxation_steps is None else candidate.relaxation_steps,
        "novelty": int(candidate.verdicts["novelty"].value or 0),
        "rejected_by": next((v.gate for v in candidate.verdicts.values() if not v.passed), ""),
    }


def _gaps(predictor: str, crystals: Sequence[Candidate]) -> NDArray[np.float64]:
    """Band gaps (n,) of relaxed crystals, eV; 0 of metals."""
    model = PropertyPredictor.load(predictor, "band_gap")
    parts = [crystals[start : start + BATCH] for start in range(0, len(crystals), BATCH)]
    return np.array(
        [estimate.value for part in parts for estimate in model.predict([c.structure for c in part])]  # type: ignore[misc]
    )


def metrics_of(config: RelaxedGenesConfig, rows: Sequence[Row]) -> dict[str, Any]:
    """Return what ``metrics.json`` holds: what the campaigns cost, what came of the candidates.

    Args:
        config: the recipe; its campaigns' folders are read for what they cost.
        rows: of the table of outcomes.
    """
    columns = {f"seed {h.seed}": [row for row in rows if row["campaign"] == h.seed] for h in config.campaigns}
    columns |= {"together": list(rows)} if len(columns) > 1 else {}
    return {
        "potential": config.calibration,
        "second_potential": config.second_calibration,
        "hull": config.hull,
        "gaps": config.gaps,
        "gaps_weights": sha256(find("models", config.gaps) / "model.safetensors")[:12],
        "revision": (git_revision() or "unknown")[:7],
        "n_relaxed": sum(bool(row["relaxed_gene"]) for row in rows),
        "campaigns": [_cost(config.campaign(planned)) for planned in config.campaigns],
        "outcomes": [{"campaign": name, **count_outcomes(column)} for name, column in columns.items()],
        "drift": drift([Gene.parse(row["relaxed_gene"]) for row in rows if not row["rejected_by"]]),
    }


def _cost(campaign: CampaignConfig) -> dict[str, Any]:
    """Return what a campaign was, took, and which models proposed and ranked."""
    seconds = Store(campaign.out / DATABASE).seconds
    run = json.loads((campaign.out / RUN_FILE).read_text(encoding="utf-8"))
    weights = {k.split("/")[1]: v[:12] for k, v in run["artifacts"].items() if k.endswith(".safetensors")}
    return {
        "seed": campaign.seed,
        "target": str(campaign.target),
        "n_genes": campaign.n_genes,
        "n_relax": campaign.n_relax,
        "core_seconds": round(sum(core for _, core in seconds.values())),
        "relaxation_seconds": round(seconds["relaxation"][1]),
        "cpu": run["hardware"]["cpu"],
        "gene_diffusion": weights["gene-diffusion"],
        "gene_rank": weights["gene-rank"],
    }


def count_outcomes(rows: Sequence[Row]) -> dict[str, Any]:
    """Count outcomes, each with the 95 % interval of its share of the rows; median E above hull, eV/atom."""
    relaxed = [row for row in rows if row["relaxed_gene"]]
    kept = [row for row in rows if not row["rejected_by"]]
    counts = {
        "chosen": len(rows),
        "no_geometry": sum(row["rejected_by"] == "geometry" for row in rows),
        "not_converged": sum(row["rejected_by"] == "relaxation" for row in rows),
        "relaxed": len(relaxed),
        "within_0.1": sum(row["e_above_hull"] <= 0.1 for row in relaxed),
        "within_0.05": sum(row["e_above_hull"] <= 0.05 for row in relaxed),
        "within_0": sum(row["e_above_hull"] <= 0 for row in relaxed),
        "kept": len(kept),
        "new_composition": sum(row["novelty"] == 2 for row in kept),
        "with_gap": sum(row["band_gap"] > 0 for row in kept),
        "another_gene": sum(row["relaxed_gene"] != row["proposed_gene"] for row in kept),
    }
    shares = {
        name: {"count": n, "interval": [round(end, 6) for end in Rate(n, len(rows)).interval]}
        for name, n in counts.items()
    }
    return shares | {"median": round(float(np.median([row["e_above_hull"] for row in relaxed])), 4)}


def drift(kept: Sequence[Gene]) -> dict[str, Any]:
    """Compare crystals with those that the generator learned from: share of crystals with each element."""
    library = TokenSet.load(find("models", "geometries") / "geometries.npz")
    shares = np.zeros((2, len(SYMBOLS)))  # known, kept
    for numbers in library.elements:
        present = np.unique(numbers[numbers > 0])
        shares[0, present] += 1 / len(present)
    for gene in kept:
        shares[1, [SYMBOLS.index(symbol) for symbol in gene.elements]] += 1 / len(gene.elements)
    shares /= shares.sum(axis=1, keepdims=True)
    ratio = shares[1] / np.maximum(shares[0], 1e-9)
    common = shares.max(axis=0) > 0.01

    def named(chosen: NDArray[np.bool_]) -> list[list[Any]]:
        percent = (100 * shares).round(3)
        return [[SYMBOLS[z], *percent[:, z].tolist()] for z in np.flatnonzero(common & chosen)]

    return {
        "n_kept": len(kept),
        "n_known": len(library),
        "total_variation": round(0.5 * float(np.abs(shares[1] - shares[0]).sum()), 4),
        "more_frequent": named(ratio > FAR),
        "rarer": named(ratio < 1 / FAR),
        "atoms_kept": round(float(np.mean([gene.n_atoms for gene in kept])), 3),
        "atoms_known": round(float(library.n_atoms.mean()), 3),
        "over_three_elements": round(float(np.mean([len(gene.elements) > 3 for gene in kept])), 4),
    }
