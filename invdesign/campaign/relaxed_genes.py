"""Campaigns for the sake of learning: what the generator's crystals relax into, condensed to one artifact.

Relaxed with a potential that judges nothing else, so that what learns from them is judged by another.
"""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from invdesign.artifacts import find
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.run import DATABASE, design
from invdesign.campaign.store import Store
from invdesign.candidate import Verdict
from invdesign.data.relaxed import COLUMNS, CRYSTALS, OUTCOMES
from invdesign.data.tokens import join, tokens_of
from invdesign.errors import InputError
from invdesign.provenance import sha256
from invdesign.targets import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invdesign.candidate import Candidate

    Progress = Callable[[float, str], None]


class Harvest(BaseModel):
    """One campaign: many genes and few relaxed go for yield, nearly all relaxed for what fails."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: Target = Target()
    seed: int
    n_genes: int
    n_relax: int


class RelaxedGenesConfig(BaseModel):
    """Recipe of relaxed genes; kind ``relaxed-genes``. Campaigns that ended in the cache are not repeated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["relaxed-genes"]
    potential: str
    calibration: str
    hull: str = "mp-hull"
    gaps: str = Field("gene-rank", description="what estimates gaps; not the model that judges generators")
    campaigns: tuple[Harvest, ...] = Field(min_length=1)
    cache: Path = Path(".cache/invdesign")
    out: Path

    def campaign(self, harvest: Harvest) -> CampaignConfig:
        """The campaign of a harvest, its folder in the cache."""
        return CampaignConfig(
            out=self.cache / "relaxed-genes" / str(harvest.seed),
            potential=self.potential,
            calibration=self.calibration,
            hull=self.hull,
            min_probability=0,  # the model that predicts properties selects nothing here
            **dict(harvest),
        )


def build(config: RelaxedGenesConfig, *, progress: Progress) -> Path:
    """Run what has not run, and write crystals, outcomes, card and recipe to ``config.out``."""
    import yaml

    from invdesign.campaign.relaxed_card import render

    campaigns: dict[int, list[Candidate]] = {}
    for done, harvest in enumerate(config.campaigns):
        progress(done / len(config.campaigns), f"campaign with seed {harvest.seed}")
        campaigns[harvest.seed] = relaxed(config.campaign(harvest))
    progress(0.9, "twins between campaigns")
    _drop_twins([c for own in campaigns.values() for c in own if c.alive])
    config.out.mkdir(parents=True, exist_ok=True)
    rows = [outcome(seed, candidate) for seed, own in campaigns.items() for candidate in own]
    gaps = _add_gaps(rows, config.gaps)
    _write_table(config.out / OUTCOMES, rows)
    candidates = [candidate for own in campaigns.values() for candidate in own]
    crystals = [
        (row["id"], number, candidate.gene, candidate.geometry)
        for number, (row, candidate) in enumerate(zip(rows, candidates, strict=True))
        if candidate.geometry is not None
    ]
    join([tokens_of(crystals)]).save(config.out / CRYSTALS)
    (config.out / "README.md").write_text(render(config, rows, gaps), encoding="utf-8")
    recipe = config.model_dump(mode="json")
    for written, harvest in zip(recipe["campaigns"], config.campaigns, strict=True):
        written["target"] = str(harvest.target)
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    (config.out / "recipe.yaml").write_text(text, encoding="utf-8")
    progress(1.0, f"{len(crystals)} relaxed crystals in {config.out}")
    return config.out


def relaxed(campaign: CampaignConfig) -> list[Candidate]:
    """The candidates that a campaign chose to relax, by id; it is run, or finished, if it has not ended.

    Raises:
        InputError: the folder holds another campaign.
    """
    path = campaign.out / DATABASE
    if not (path.exists() and Store(path).complete):
        design(campaign, progress=False)
    store = Store(path)
    mine, theirs = _brief(campaign.identity()), _brief(store.identity)
    if mine != theirs:
        msg = f"cache: {str(campaign.out)!r} holds another campaign ({theirs}, not {mine}); move it away."
        raise InputError(msg)
    return store.read("place>=0")


def _brief(identity: dict[str, Any]) -> dict[str, Any]:
    """What a campaign must share with its recipe: where the potential's folder lies does not matter."""
    told = {name: identity[name] for name in ("target", "seed", "n_genes", "n_relax", "hull")}
    return told | {"potential": Path(identity["potential"]).name}


def _drop_twins(candidates: Sequence[Candidate]) -> None:
    """Of crystals that match, in whichever campaign, keep the lowest in energy."""
    from invdesign.crystal.identity import unique_groups

    order = sorted(candidates, key=lambda c: c.properties["e_above_hull"].mean)
    seen: set[int] = set()
    for candidate, group in zip(order, unique_groups([c.structure for c in order]), strict=True):  # type: ignore[misc]
        if group in seen:
            candidate.record(Verdict("identity", passed=False, reason="same crystal in another campaign"))
        seen.add(group)


def outcome(seed: int, candidate: Candidate) -> dict[str, Any]:
    """A candidate's row of the table of outcomes."""
    told = candidate.provenance
    is_relaxed = candidate.structure is not None
    height = candidate.properties["e_above_hull"]
    return {
        "id": f"{seed}:{candidate.id}",
        "campaign": seed,
        "place": told["place"],
        "proposed_gene": told.get("proposed_gene", str(candidate.gene)),
        "relaxed_gene": str(candidate.gene) if is_relaxed else "",
        "formula": candidate.gene.formula,
        "e_above_hull": round(height.mean, 4) if is_relaxed else "",
        "sigma": round(height.sigma, 4) if is_relaxed else "",
        "band_gap": "",
        "geometry": told.get("geometry", ""),
        "steps": told.get("total_steps", ""),
        "novelty": int(candidate.verdicts["novelty"].figure or 0),
        "rejected_by": next((v.gate for v in candidate.verdicts.values() if not v.passed), ""),
    }


def _add_gaps(rows: Sequence[dict[str, Any]], ranker: str) -> str:
    """The band gap of each relaxed gene, as far as the gene tells; digest of the weights that told it."""
    from invdesign.crystal.gene import Gene
    from invdesign.predictors.gene_rank import GeneRanker

    relaxed_rows = [row for row in rows if row["relaxed_gene"]]
    estimates = GeneRanker.load(ranker).predict([Gene.parse(row["relaxed_gene"]) for row in relaxed_rows])
    for row, estimate in zip(relaxed_rows, estimates, strict=True):
        row["band_gap"] = round(estimate["band_gap"].value, 3)
    return sha256(find("models", ranker) / "model.safetensors")


def _write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Gzipped CSV whose bytes follow from the rows."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
