"""Geometry, relaxation and energy above hull of a unit of candidates: the expensive stage of a campaign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any

from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.progress import Clock
from invdesign.campaign.stages.gates import Context, GateFunction, GateUnit, apply_to_unit
from invdesign.campaign.stages.predict import in_windows
from invdesign.core.candidate import Candidate, Estimate, Relaxation
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure

    from invdesign.relaxation.relax import Relaxed


def relax_unit(unit: GateUnit) -> tuple[list[Candidate], Clock]:
    """Give a unit's candidates their structure, energy above hull and properties."""
    return apply_to_unit(GATE_FUNCTIONS, unit)


def plausible_geometry(candidates: Sequence[Candidate], context: Context) -> list[Verdict]:
    """Give candidates their starting structures; one without any is rejected."""
    starts = starting_structures(candidates, context.config, context.components)
    context.starts = {c.id: found for c, found in zip(candidates, starts, strict=True)}
    return [candidate.verdicts["geometry"] for candidate in candidates]


def relaxed(candidates: Sequence[Candidate], context: Context) -> list[Verdict]:
    """Relax all starting structures in one call; keep each candidate's converged one of lowest energy."""
    from invdesign.relaxation.relax import relax

    config, components = context.config, context.components
    starts = [context.starts[candidate.id] for candidate in candidates]
    numbered = [(number, structure) for number, group in enumerate(starts) for structure, _ in group]
    early_stopping = _early_stopping_options(candidates, numbered, config, components)
    results = iter(
        relax(
            [structure for _, structure in numbered],
            components.get("potential"),
            fmax=config.fmax,
            max_steps=config.max_steps,
            keep_symmetry=config.keep_symmetry,
            **early_stopping,
        )
    )
    verdicts = []
    for candidate, group in zip(candidates, starts, strict=True):
        outcomes = [(next(results), origin) for _, origin in group]
        verdicts.append(best_outcome(candidate, outcomes))
        for result, _ in outcomes:
            if result.structure is candidate.structure and result.embedding is not None:
                context.embeddings[candidate.id] = result.embedding
    return verdicts


def on_hull(candidates: Sequence[Candidate], context: Context) -> list[Verdict]:
    """Place relaxed candidates on the convex hull; one above the target's limit is rejected."""
    limit = context.config.target.e_above_hull_max
    for candidate in candidates:
        candidate.properties = {}  # those of the gene alone are out of date
    return [place_on_hull(candidate, limit, context.components) for candidate in candidates]


def place_on_hull(candidate: Candidate, limit: float, components: Components) -> Verdict:
    """Give a relaxed candidate its placement, and compare its E above hull with a limit, eV/atom."""
    place = components.placement(candidate.structure, candidate.relaxation.energy)  # type: ignore[arg-type,union-attr]
    candidate.properties |= {
        "formation_energy_per_atom": Estimate(place.formation_energy, place.sigma),
        "e_above_hull": Estimate(place.e_above_hull, place.sigma),
    }
    candidate.placement = place
    return hull_verdict(candidate, limit, place.probability_below(limit))


def states_stand(candidates: Sequence[Candidate], context: Context) -> list[Verdict]:
    """Find the oxidation states that relaxed candidates hold; for a gap, a contradiction rejects."""
    return [states_verdict(candidate, context.config) for candidate in candidates]


def states_verdict(candidate: Candidate, config: CampaignConfig) -> Verdict:
    """Return the states that a relaxed candidate holds; where a gap is wanted a contradiction rejects."""
    from invdesign.filters.site_states import site_states

    found = site_states(candidate.structure)  # type: ignore[arg-type]
    rejects = config.target.wants_gap and not config.names_formulas
    return found if rejects else replace(found, passed=True)


def starting_structures(
    candidates: Sequence[Candidate], config: CampaignConfig, components: Components
) -> list[list[tuple[Structure, str]]]:
    """Find plausible starting structures of each candidate and their sources; reject it without any."""
    from invdesign.crystal.symmetry import realise
    from invdesign.filters.geometry import geometry_check
    from invdesign.generators.geometry.source import useful_starting_structures

    genes = [candidate.gene for candidate in candidates]
    proposals = components.get("geometry").propose_many(
        genes,
        [useful_starting_structures(gene, config.n_starting_structures) for gene in genes],
        [(config.seed, int(candidate.id[1:])) for candidate in candidates],
    )
    found = []
    for candidate, proposed in zip(candidates, proposals, strict=True):
        # a geometry from the generator comes first
        generated = [] if candidate.geometry is None else [(candidate.geometry, _geometry_source(candidate))]
        tried = [*generated, *proposed][: max(len(proposed), len(generated))]
        plausible, verdict = (
            [],
            Verdict("geometry", passed=False, reason="no geometry was found for this gene"),
        )
        for geometry, origin in tried:
            structure = realise(candidate.gene, geometry)
            verdict = geometry_check(structure)
            if verdict.passed:
                plausible.append((structure, origin))
        if plausible:
            reason = f"{len(plausible)} of {len(tried)} geometries plausible"
            verdict = Verdict("geometry", passed=True, reason=reason)
        candidate.record(verdict)
        found.append(plausible)
    return found


def _geometry_source(candidate: Candidate) -> str:
    origin = candidate.origin
    return f"after {origin.parent}" if origin.parent is not None else f"by {origin.generator}"


def _early_stopping_options(
    candidates: Sequence[Candidate],
    numbered: Sequence[tuple[int, Structure]],
    config: CampaignConfig,
    components: Components,
) -> dict[str, Any]:
    """Return the options of early stopping: energy ceilings, candidate of each structure, and the rule."""
    from invdesign.relaxation.early_stopping import EarlyStoppingRule

    if not config.early_stopping:
        return {}
    known = [candidate.verdicts["novelty"].value == 0 for candidate in candidates]
    return {
        "ceilings": [
            ceiling(structure.composition, config, components, hypothetical=not known[number])
            for number, structure in numbered
        ],
        "groups": [number for number, _ in numbered],
        "rule": EarlyStoppingRule.of(components.get("potential").name),
    }


def ceiling(
    composition: Composition, config: CampaignConfig, components: Components, *, hypothetical: bool = True
) -> float:
    """Return the potential's energy of a crystal whose E above hull is the target's limit, eV/atom."""
    calibration, hull = components.get("calibration"), components.get("hull")
    below = hull.e_above_hull(composition, 0.0).e_above_hull  # of the elements, above the hull
    zero = calibration.formation_energy(composition, 0.0, hypothetical=hypothetical)
    return float(config.target.e_above_hull_max - below - zero)


def best_outcome(candidate: Candidate, outcomes: list[tuple[Relaxed, str]]) -> Verdict:
    """Give the candidate the outcome of lowest energy that converged to a plausible crystal."""
    from invdesign.crystal.symmetry import SymmetryError, gene_of
    from invdesign.filters.geometry import geometry_check

    reason = ""
    candidate.relaxation_steps = sum(int(result.n_steps) for result, _ in outcomes)
    for result, source in sorted(outcomes, key=lambda o: o[0].energy if o[0].converged else inf):
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
        candidate.origin = replace(candidate.origin, geometry=source)
        candidate.relaxation = Relaxation(
            energy=float(result.energy),
            fmax=float(result.fmax),
            n_steps=int(result.n_steps),
            symmetry_kept=result.symmetry_kept,
            n_starting_structures=len(outcomes),
            proposed_gene=str(candidate.gene),
        )
        candidate.gene, candidate.geometry, candidate.structure = gene, geometry, result.structure
        return Verdict(
            "relaxation",
            passed=True,
            reason=result.reason,
            value=float(result.fmax),
        )
    return Verdict("relaxation", passed=False, reason=reason)


def hull_verdict(candidate: Candidate, limit: float, probability: float) -> Verdict:
    """Compare E above hull with its limit, eV/atom; ``probability``: that it lies below."""
    e_above_hull, n_phases = candidate.properties["e_above_hull"].mean, candidate.placement.n_phases  # type: ignore[union-attr]
    side = "above" if e_above_hull > limit else "within"
    reason = (
        f"{side} the limit of {limit:g} eV/atom: {e_above_hull:.3f} above the hull of {n_phases} phases, "
        f"probability {probability:.0%} to lie below it"
    )
    return Verdict("hull", e_above_hull <= limit, reason, e_above_hull, limit)


GATE_FUNCTIONS: dict[str, GateFunction] = {
    "geometry": plausible_geometry,
    "relaxation": relaxed,
    "hull": on_hull,
    "site states": states_stand,
    "properties": in_windows,
}
