"""The dear part of a campaign as a pure function: a chunk of candidates gets structures and properties."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.campaign.progress import Clock
from invdesign.campaign.ranking import window_probability
from invdesign.core.candidate import Candidate, Estimate
from invdesign.io.parallel import one_thread
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Composition, Structure

    from invdesign.campaign.components import Parts
    from invdesign.campaign.config import CampaignConfig
    from invdesign.predictors.features.structure import Described
    from invdesign.relaxation.relax import Relaxed


@dataclass(frozen=True)
class Chunk:
    """Candidates to be given structures, and all that is needed for it: travels to a worker."""

    config: CampaignConfig
    parts: Parts
    candidates: list[Candidate]


def structure_chunk(chunk: Chunk) -> tuple[list[Candidate], Clock]:
    """Geometry, relaxation, energy above hull and properties of a chunk of candidates."""
    with one_thread():
        return chunk.candidates, _give_structures(chunk.config, chunk.parts, chunk.candidates)


def _give_structures(config: CampaignConfig, parts: Parts, candidates: list[Candidate]) -> Clock:
    clock = Clock()
    with clock.stage("geometry"):
        trials = starting_structures(candidates, config, parts)
    with clock.stage("relaxation"):
        embeddings = _relax(candidates, trials, config, parts)
    alive = [candidate for candidate in candidates if candidate.alive]
    with clock.stage("hull"):
        for candidate in alive:
            _place_on_hull(candidate, config, parts)
    alive = [candidate for candidate in alive if candidate.alive]
    with clock.stage("properties"):
        _predict(alive, embeddings, config, parts)
    return clock


def starting_structures(
    candidates: Sequence[Candidate], config: CampaignConfig, parts: Parts
) -> list[list[tuple[Structure, str]]]:
    """Plausible starting structures of each candidate, each with where it came from; none rejects it."""
    from invdesign.crystal.symmetry import realise
    from invdesign.filters.geometry import geometry_check
    from invdesign.generators.geometry.source import trials_worthwhile

    genes = [candidate.gene for candidate in candidates]
    proposals = parts.get("geometry").propose_many(
        genes,
        [trials_worthwhile(gene, config.trials) for gene in genes],
        [(config.seed, int(candidate.id[1:])) for candidate in candidates],
    )
    started = []
    for candidate, proposed in zip(candidates, proposals, strict=True):
        # a generator that makes geometries of its own knows best
        own = [(candidate.geometry, _own(candidate))] if candidate.geometry is not None else []
        tried = [*own, *proposed][: max(len(proposed), len(own))]
        trials, verdict = [], Verdict("geometry", passed=False, reason="no geometry was found for this gene")
        for geometry, origin in tried:
            structure = realise(candidate.gene, geometry)
            verdict = geometry_check(structure)
            if verdict.passed:
                trials.append((structure, origin))
        if trials:
            reason = f"{len(trials)} of {len(tried)} geometries plausible"
            verdict = Verdict("geometry", passed=True, reason=reason)
        candidate.record(verdict)
        started.append(trials)
    return started


def _own(candidate: Candidate) -> str:
    provenance = candidate.provenance
    return f"after {provenance['parent']}" if "parent" in provenance else f"{provenance['generator']}'s own"


def _relax(
    candidates: Sequence[Candidate],
    trials: Sequence[list[tuple[Structure, str]]],
    config: CampaignConfig,
    parts: Parts,
) -> dict[str, np.ndarray]:
    """Relax all trials in one call and give each candidate its converged structure of lowest energy.

    Returns:
        The potential's embedding of that structure by id, where it has one.
    """
    from invdesign.relaxation.relax import relax

    numbered = [(number, structure) for number, own in enumerate(trials) for structure, _ in own]
    embeddings: dict[str, np.ndarray] = {}
    if not numbered:
        return embeddings
    potential = parts.get("potential")
    relaxed = iter(
        relax(
            [structure for _, structure in numbered],
            potential,
            fmax=config.fmax,
            max_steps=config.max_steps,
            keep_symmetry=config.keep_symmetry,
            **(_prospects(candidates, numbered, config, parts) if config.abandon else {}),
        )
    )
    for candidate, own in zip(candidates, trials, strict=True):
        if own:
            outcomes = [(next(relaxed), origin) for _, origin in own]
            candidate.record(_best_outcome(candidate, outcomes))
            for result, _ in outcomes:
                if result.structure is candidate.structure and result.embedding is not None:
                    embeddings[candidate.id] = result.embedding
    return embeddings


def _prospects(
    candidates: Sequence[Candidate],
    numbered: Sequence[tuple[int, Structure]],
    config: CampaignConfig,
    parts: Parts,
) -> dict[str, Any]:
    """What lets a relaxation be cut short: ceilings, which trials are one candidate's, and the rule."""
    from invdesign.relaxation.early_stopping import AbandonmentRule

    known = [candidate.verdicts["novelty"].figure == 0 for candidate in candidates]
    return {
        "ceilings": [
            ceiling(structure.composition, config, parts, hypothetical=not known[number])
            for number, structure in numbered
        ],
        "groups": [number for number, _ in numbered],
        "rule": AbandonmentRule.of(parts.get("potential").name),
    }


def ceiling(
    composition: Composition, config: CampaignConfig, parts: Parts, *, hypothetical: bool = True
) -> float:
    """The potential's energy at which a crystal lies at the target's limit above the hull, eV/atom."""
    calibration, hull = parts.get("calibration"), parts.get("hull")
    below = hull.e_above_hull(composition, 0.0).e_above_hull  # of the elements, above the hull
    zero = calibration.formation_energy(composition, 0.0, hypothetical=hypothetical)
    return float(config.target.e_above_hull_max - below - zero)


def _best_outcome(candidate: Candidate, outcomes: list[tuple[Relaxed, str]]) -> Verdict:
    """Give the candidate the outcome of lowest energy that converged to a plausible crystal."""
    from invdesign.crystal.symmetry import SymmetryError, gene_of
    from invdesign.filters.geometry import geometry_check

    reason, steps = "", sum(result.n_steps for result, _ in outcomes)
    for result, origin in sorted(outcomes, key=lambda o: o[0].energy if o[0].converged else inf):
        if not result.converged:
            reason = reason or result.reason
            continue
        check = geometry_check(result.structure)
        if not check.passed:
            reason = f"relaxed into an implausible structure: {check.reason}"
            continue
        try:
            gene, geometry = gene_of(result.structure)
        except SymmetryError as error:
            reason = f"no symmetry found after relaxing: {error}"
            continue
        candidate.provenance |= {
            "proposed_gene": str(candidate.gene),
            "geometry": origin,
            "energy": float(result.energy),
            "fmax": float(result.fmax),
            "n_steps": int(result.n_steps),
            "total_steps": int(steps),
            "symmetry_kept": result.symmetry_kept,
            "trials": len(outcomes),
        }
        candidate.gene, candidate.geometry, candidate.structure = gene, geometry, result.structure
        return Verdict(
            "relaxation",
            passed=True,
            reason=result.reason,
            figure=float(result.fmax),
        )
    candidate.provenance["total_steps"] = int(steps)
    return Verdict("relaxation", passed=False, reason=reason)


def _place_on_hull(candidate: Candidate, config: CampaignConfig, parts: Parts) -> None:
    calibration, hull = parts.get("calibration"), parts.get("hull")
    composition = candidate.structure.composition  # type: ignore[union-attr]
    energy = float(
        calibration.formation_energy(
            composition,
            candidate.provenance["energy"],
            hypothetical=candidate.verdicts["novelty"].figure != 0,
        )
    )
    place = hull.e_above_hull(composition, energy)
    height, limit = float(place.e_above_hull), config.target.e_above_hull_max
    sigma = float(calibration.sigma(composition, height))
    candidate.properties = {
        "formation_energy_per_atom": Estimate(energy, sigma),
        "e_above_hull": Estimate(height, sigma),
    }
    candidate.provenance["hull"] = {
        "decomposition": {phase: float(share) for phase, share in place.decomposition.items()},
        "n_phases": int(place.n_phases),
        "composition_known": bool(place.composition_known),
    }
    candidate.record(
        hull_verdict(candidate, limit, calibration.probability_below(limit, composition, height))
    )


def hull_verdict(candidate: Candidate, limit: float, sure: float) -> Verdict:
    """Whether the estimated height lies within the limit, eV/atom; ``sure``: its probability to."""
    height, n_phases = candidate.properties["e_above_hull"].mean, candidate.provenance["hull"]["n_phases"]
    side = "above" if height > limit else "within"
    reason = (
        f"{side} the limit of {limit:g} eV/atom: {height:.3f} above the hull of {n_phases} phases, "
        f"{sure:.0%} sure to lie under it"
    )
    return Verdict("hull", height <= limit, reason, height, limit)


def properties_verdict(candidate: Candidate, config: CampaignConfig) -> Verdict:
    """Whether the estimated properties are likely enough to lie in their windows."""
    probability = window_probability(candidate.properties, config.target.windows)
    told = ", ".join(
        f"{name} {e.value:.2f} ({e.low:.2f} to {e.high:.2f})"
        for name, e in candidate.properties.items()
        if name in config.target.windows
    )
    passed = probability >= config.min_probability
    reason = f"{'likely enough' if passed else 'unlikely'} in its windows: {probability:.0%}, {told}"
    return Verdict("properties", passed, reason, probability, config.min_probability)


def estimate_spared(candidates: Sequence[Candidate], parts: Parts) -> None:
    """Give relaxed candidates the estimates that a campaign spares those that it rejects above the hull."""
    wanted = set(parts.predictors or {})
    bare = [candidate for candidate in candidates if not wanted <= candidate.properties.keys()]
    found = parts.estimates([candidate.structure for candidate in bare])  # type: ignore[misc]
    for candidate, estimates in zip(bare, found, strict=True):
        candidate.properties |= estimates


def _described(
    candidates: Sequence[Candidate], embeddings: dict[str, np.ndarray], parts: Parts
) -> Described | None:
    """Crystals as CHGNet saw them in the last step of their relaxation; None where another potential did."""
    from invdesign.potentials.chgnet.potential import CHGNetPotential
    from invdesign.predictors.features.structure import of_embedded
    from invdesign.stability.calibration import Calibration

    if not candidates or not isinstance(parts.get("potential"), CHGNetPotential):
        return None
    return of_embedded(
        [c.structure for c in candidates],  # type: ignore[misc]
        np.array([c.provenance["energy"] for c in candidates]),
        np.stack([embeddings[c.id] for c in candidates]),
        Calibration.load(CHGNetPotential.name),
    )


def _predict(
    candidates: Sequence[Candidate],
    embeddings: dict[str, np.ndarray],
    config: CampaignConfig,
    parts: Parts,
) -> None:
    structures = [c.structure for c in candidates]
    described = _described(candidates, embeddings, parts)
    found = parts.estimates(structures, described)  # type: ignore[arg-type]
    for candidate, estimates in zip(candidates, found, strict=True):
        candidate.properties |= estimates
    for candidate in candidates:
        candidate.record(properties_verdict(candidate, config))
