"""The work of a campaign as pure functions: a batch of genes, a chunk of structures, the last pick.

Each returns new knowledge of its candidates and what it cost; none touches the store. The same inputs
give the same results, whichever process runs them and in whatever order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from invdesign.campaign.funnel import Clock
from invdesign.candidate import Candidate, Estimate, Verdict
from invdesign.errors import InputError
from invdesign.ranking import hit_probability, select, shortlist, window_probability

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pymatgen.core import Structure

    from invdesign.campaign.config import CampaignConfig
    from invdesign.crystal.gene import Gene
    from invdesign.targets import Target
    from invdesign.validators.relaxation import Relaxed

_LOADERS = {
    "generator": "invdesign.generators.gene_diffusion:GeneDiffusion.load",
    "geometry": "invdesign.generators.geometry_source:GeometrySource.load",
    "known": "invdesign.validators.novelty:KnownMaterials.load",
    "ranker": "invdesign.predictors.gene_rank:GeneRanker.load",
    "potential": "invdesign.validators.potential:load_potential",
    "calibration": "invdesign.validators.calibration:Calibration.load",
    "hull": "invdesign.validators.hull:Hull.load",
    "band_gap": "invdesign.predictors.band_gap:BandGapPredictor.load",
}


class Predictor(Protocol):
    """Anything that estimates one property of relaxed crystals."""

    def predict(self, structures: Sequence[Structure]) -> list[Estimate]:
        """One estimate per structure."""
        ...


@dataclass(frozen=True)
class Parts:
    """What a campaign is made of; each a released artifact's name, a folder, or an object of one's own.

    Names are loaded once per process; objects must be picklable where relaxations run in other processes.
    """

    generator: Any = "gene-diffusion"
    geometry: Any = "geometries"
    known: Any = "known-materials"
    ranker: Any = "gene-rank"
    potential: Any = "chgnet"
    calibration: Any = None
    hull: Any = "mp-hull"
    predictors: Mapping[str, Any] | None = None

    @classmethod
    def named(cls, config: CampaignConfig) -> Parts:
        """The parts that a config names."""
        names = ("generator", "geometry", "known", "ranker", "potential", "calibration", "hull", "predictors")
        return cls(**{name: getattr(config, name) for name in names})

    def get(self, kind: str) -> Any:  # noqa: ANN401 - the caller knows the kind's protocol
        """A part, loaded if it is a name."""
        part = getattr(self, kind)
        if kind == "calibration" and part is None:
            part = self.get("potential").name
        return _load(kind, part) if isinstance(part, str) else part

    @property
    def elements(self) -> frozenset[str]:
        """Elements that potential, calibration and hull know, all three."""
        return frozenset.intersection(*(self.get(k).elements for k in ("potential", "calibration", "hull")))

    def predictor(self, prop: str) -> Predictor:
        """The model of one property."""
        part = (self.predictors or {})[prop]
        predictor: Predictor = _load(prop, part) if isinstance(part, str) else part
        return predictor

    def signature(self) -> dict[str, str]:
        """What stands in for a name: objects by their own name or type, for the campaign's identity."""
        parts = {**vars(self), **{f"predictor {k}": v for k, v in (self.predictors or {}).items()}}
        del parts["predictors"]
        return {
            kind: str(getattr(part, "name", type(part).__qualname__))
            for kind, part in parts.items()
            if part is not None and not isinstance(part, str)
        }


@lru_cache(maxsize=32)
def _load(kind: str, name: str) -> Any:  # noqa: ANN401 - the caller knows the kind's protocol
    if kind not in _LOADERS:
        msg = f"predictors: there is no model of {kind!r} to load by name; pass a predictor object instead."
        raise InputError(msg)
    module, attribute = _LOADERS[kind].split(":")
    loader: Any = import_module(module)
    for part in attribute.split("."):
        loader = getattr(loader, part)
    return loader(name)


def gene_batch(
    config: CampaignConfig, parts: Parts, batch: int, seen: Mapping[str, str]
) -> tuple[list[Candidate], Clock]:
    """Generate batch number ``batch`` of genes and put them through the gates that need no structure.

    Args:
        config: the campaign.
        parts: what it is made of.
        batch: number from 0; the generator's seed is (campaign seed, batch).
        seen: id by gene hash of all earlier batches' genes; the first with a gene keeps it.

    Returns:
        The batch's candidates with verdicts and, for the survivors, the quick estimates; and the cost.
    """
    clock = Clock()
    first = batch * config.gene_batch
    n = min(config.gene_batch, config.n_genes - first)
    with clock.stage("generator"):
        generator = parts.get("generator")
        candidates = generator.propose(config.target, n, (config.seed, batch))
    for i, candidate in enumerate(candidates):
        candidate.id = f"c{first + i:06d}"
        candidate.provenance.setdefault("generator", generator.name)
        candidate.provenance["batch"] = batch
    owners = dict(seen)
    known, elements = parts.get("known"), parts.elements
    judges: dict[str, Callable[[Candidate], Verdict]] = {
        "target": lambda c: _in_target(c.gene, config.target, elements),
        "charge balance": lambda c: _charge_balance(c.gene),
        "unique": lambda c: _first_of_its_gene(c, owners),
        "novelty": lambda c: _novelty(c.gene, known, include_known=config.include_known),
    }
    alive = candidates
    for gate, judge in judges.items():
        with clock.stage(gate):
            alive = [candidate for candidate in alive if candidate.record(judge(candidate))]
    with clock.stage("quick rank"):
        estimates = parts.get("ranker").predict([candidate.gene for candidate in alive])
        for candidate, estimate in zip(alive, estimates, strict=True):
            candidate.properties = dict(estimate)
    return candidates, clock


def _in_target(gene: Gene, target: Target, elements: frozenset[str]) -> Verdict:
    if strange := sorted(set(gene.elements) - elements):
        return Verdict(
            "target",
            passed=False,
            reason=f"potential, calibration or hull do not know it: {', '.join(strange)}",
        )
    if not gene.realisable:
        return Verdict("target", passed=False, reason="two atoms on one point")
    verdict: Verdict = target.allows(gene)
    return verdict


def _charge_balance(gene: Gene) -> Verdict:
    from invdesign.validators.charge import charge_balance

    return charge_balance(gene.composition)


def _first_of_its_gene(candidate: Candidate, owners: dict[str, str]) -> Verdict:
    first = owners.setdefault(candidate.gene.hash, candidate.id)
    if first == candidate.id:
        return Verdict("unique", passed=True, reason="first with this gene")
    return Verdict("unique", passed=False, reason=f"same gene as an earlier one: {first}")


def _novelty(gene: Gene, known: Any, *, include_known: bool) -> Verdict:  # noqa: ANN401 - KnownMaterials or alike
    verdict: Verdict = known.novelty(gene)
    if verdict.figure == 0 and not include_known:
        return replace(verdict, passed=False)
    return verdict


def quick_rank(config: CampaignConfig, candidates: Sequence[Candidate]) -> Clock:
    """Record who of the gene phase's survivors is worth relaxing, and in which order.

    The chosen carry their place in ``provenance["place"]``.
    """
    clock = Clock()
    with clock.stage("quick rank"):
        alive = [candidate for candidate in candidates if candidate.alive]
        scores = [hit_probability(candidate.properties, config.target) for candidate in alive]
        chosen = select(
            [candidate.gene for candidate in alive],
            scores,
            config.n_relax,
            per_formula=3,
            per_skeleton=max(3, config.n_relax // 10),
        )
        places = {index: place for place, index in enumerate(chosen)}
        worst = min((scores[index] for index in chosen), default=0.0)
        for i, (candidate, score) in enumerate(zip(alive, scores, strict=True)):
            if i in places:
                candidate.provenance["place"] = places[i]
                reason = f"{score:.1%} likely a hit, number {places[i] + 1} of {len(alive)}"
            elif score >= worst:
                reason = f"enough others of its formula or prototype ({score:.1%} likely a hit)"
            else:
                reason = f"others are likelier hits ({score:.1%} against {worst:.1%} at least)"
            candidate.record(Verdict("quick rank", i in places, reason, score, worst))
    return clock


@dataclass(frozen=True)
class Chunk:
    """Candidates to be given structures, and all that is needed for it: travels to a worker."""

    config: CampaignConfig
    parts: Parts
    candidates: list[Candidate]


def structure_chunk(chunk: Chunk) -> tuple[list[Candidate], Clock]:
    """Geometry, relaxation, energy above hull and properties of a chunk of candidates.

    On one thread wherever it runs: sums over threads differ in the last bit, which a relaxation amplifies.
    """
    import torch

    config, parts, candidates = chunk.config, chunk.parts, chunk.candidates
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _structure_chunk(config, parts, candidates)
    finally:
        torch.set_num_threads(threads)


def _structure_chunk(
    config: CampaignConfig, parts: Parts, candidates: list[Candidate]
) -> tuple[list[Candidate], Clock]:
    clock = Clock()
    with clock.stage("geometry"):
        trials = [_geometries(candidate, config, parts) for candidate in candidates]
    with clock.stage("relaxation"):
        _relax(candidates, trials, config, parts)
    alive = [candidate for candidate in candidates if candidate.alive]
    with clock.stage("hull"):
        for candidate in alive:
            _place_on_hull(candidate, config, parts)
    alive = [candidate for candidate in alive if candidate.alive]
    with clock.stage("properties"):
        _predict(alive, config, parts)
    return candidates, clock


def _geometries(candidate: Candidate, config: CampaignConfig, parts: Parts) -> list[tuple[Structure, str]]:
    """Plausible starting structures of a candidate, each with where it came from; none rejects it."""
    from invdesign.crystal.symmetry import realise
    from invdesign.validators.plausibility import geometry_check

    gene = candidate.gene
    proposals = parts.get("geometry").propose(gene, config.trials, (config.seed, int(candidate.id[1:])))
    trials, verdict = [], Verdict("geometry", passed=False, reason="no geometry was found for this gene")
    for geometry, origin in proposals:
        structure = realise(gene, geometry)
        verdict = geometry_check(structure)
        if verdict.passed:
            trials.append((structure, origin))
    if trials:
        verdict = Verdict(
            "geometry", passed=True, reason=f"{len(trials)} of {len(proposals)} geometries plausible"
        )
    candidate.record(verdict)
    return trials


def _relax(
    candidates: Sequence[Candidate],
    trials: Sequence[list[tuple[Structure, str]]],
    config: CampaignConfig,
    parts: Parts,
) -> None:
    """Relax all trials in one call and give each candidate its converged structure of lowest energy."""
    from invdesign.validators.relaxation import relax

    structures = [structure for own in trials for structure, _ in own]
    if not structures:
        return
    relaxed = iter(relax(structures, parts.get("potential"), fmax=config.fmax, max_steps=config.max_steps))
    for candidate, own in zip(candidates, trials, strict=True):
        if own:
            candidate.record(_best_outcome(candidate, [(next(relaxed), origin) for _, origin in own]))


def _best_outcome(candidate: Candidate, outcomes: list[tuple[Relaxed, str]]) -> Verdict:
    """Give the candidate the outcome of lowest energy that converged to a plausible crystal."""
    from invdesign.crystal.symmetry import SymmetryError, gene_of
    from invdesign.validators.plausibility import geometry_check

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
            "trials": len(outcomes),
        }
        candidate.gene, candidate.geometry, candidate.structure = gene, geometry, result.structure
        return Verdict(
            "relaxation",
            passed=True,
            reason=f"converged in {result.n_steps} steps to {result.fmax:.3f} eV/Å",
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
    sigma = float(calibration.sigma(composition))
    place = hull.e_above_hull(composition, energy)
    height, limit = float(place.e_above_hull), config.target.e_above_hull_max
    candidate.properties = {
        "formation_energy_per_atom": Estimate(energy, sigma),
        "e_above_hull": Estimate(height, sigma),
    }
    candidate.provenance["hull"] = {
        "decomposition": {phase: float(share) for phase, share in place.decomposition.items()},
        "n_phases": int(place.n_phases),
        "composition_known": bool(place.composition_known),
    }
    side = "above" if height > limit else "within"
    reason = f"{side} the limit of {limit:g} eV/atom: {height:.3f} above the hull of {place.n_phases} phases"
    candidate.record(Verdict("hull", height <= limit, reason, height, limit))


def _predict(candidates: Sequence[Candidate], config: CampaignConfig, parts: Parts) -> None:
    for prop in parts.predictors or {}:
        estimates = parts.predictor(prop).predict([c.structure for c in candidates]) if candidates else []  # type: ignore[misc]
        for candidate, estimate in zip(candidates, estimates, strict=True):
            candidate.properties[prop] = estimate
    for candidate in candidates:
        probability = window_probability(candidate.properties, config.target.windows)
        told = ", ".join(
            f"{name} {e.value:.2f} ({e.low:.2f} to {e.high:.2f})"
            for name, e in candidate.properties.items()
            if name in config.target.windows
        )
        passed = probability >= config.min_probability
        reason = f"{'likely enough' if passed else 'unlikely'} in its windows: {probability:.0%}, {told}"
        candidate.record(Verdict("properties", passed, reason, probability, config.min_probability))


def last_pick(
    config: CampaignConfig, parts: Parts, candidates: Sequence[Candidate]
) -> tuple[list[Candidate], Clock]:
    """Tell relaxed survivors apart, rank them, pick the shortlist (``provenance["rank"]``, from 1).

    Args:
        config: the campaign.
        parts: what it is made of.
        candidates: all that passed the structure phase, in order of id.

    Returns:
        The same candidates with their verdict of identity and probability of a hit; and the cost.
    """
    clock = Clock()
    with clock.stage("identity"):
        known = parts.get("known")
        for candidate in candidates:
            candidate.record(_still_wanted(candidate, config, known))
        _drop_twins([candidate for candidate in candidates if candidate.alive])
    with clock.stage("shortlist"):
        alive = [candidate for candidate in candidates if candidate.alive]
        for candidate in alive:
            candidate.provenance["p_hit"] = hit_probability(candidate.properties, config.target)
        for rank, candidate in enumerate(shortlist(alive, config.target, config.n_shortlist), start=1):
            candidate.provenance["rank"] = rank
    return list(candidates), clock


def _still_wanted(candidate: Candidate, config: CampaignConfig, known: Any) -> Verdict:  # noqa: ANN401
    """Whether the gene that the relaxed structure has is still one the campaign asks for."""
    novelty = _novelty(candidate.gene, known, include_known=config.include_known)
    candidate.verdicts["novelty"] = replace(novelty, passed=True)
    if not novelty.passed:
        return Verdict("identity", passed=False, reason=f"relaxed into a known material: {novelty.reason}")
    allowed = config.target.allows(candidate.gene)
    if not allowed.passed:
        return Verdict("identity", passed=False, reason=f"relaxed out of the target: {allowed.reason}")
    return Verdict("identity", passed=True, reason="unlike every other candidate")


def _drop_twins(candidates: Sequence[Candidate]) -> None:
    """Of relaxed structures that match, keep the lowest in energy (then in id)."""
    from invdesign.crystal.identity import unique_groups

    groups = unique_groups([candidate.structure for candidate in candidates])  # type: ignore[misc]
    best: dict[int, Candidate] = {}
    order = sorted(
        zip(candidates, groups, strict=True), key=lambda p: (p[0].properties["e_above_hull"].mean, p[0].id)
    )
    for candidate, group in order:
        first = best.setdefault(group, candidate)
        if first is not candidate:
            candidate.record(Verdict("identity", passed=False, reason=f"same crystal as another: {first.id}"))
