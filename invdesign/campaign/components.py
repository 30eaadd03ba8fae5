"""The work of a campaign as pure functions: batches of genes; `structures` and `last_pick` have the rest.

Each returns new knowledge of its candidates and what it cost; none touches the store. The same inputs
give the same results, whichever process runs them and in whatever order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from itertools import accumulate
from math import ceil
from typing import TYPE_CHECKING, Any, cast

from invdesign.campaign.progress import Clock
from invdesign.campaign.ranking import hit_probability, select
from invdesign.campaign.stages.generate import shares, with_formula
from invdesign.core.candidate import Candidate
from invdesign.errors import InputError
from invdesign.io.parallel import one_thread
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pymatgen.core import Structure

    from invdesign.campaign.config import CampaignConfig
    from invdesign.core.candidate import Estimate
    from invdesign.core.target import Target
    from invdesign.crystal.gene import Gene
    from invdesign.generators.registry import Generator
    from invdesign.predictors.features.structure import Described
    from invdesign.predictors.registry import Predictor

_LOADERS = {
    "generator": "invdesign.generators.registry:load_generator",
    "geometry": "invdesign.generators.geometry.source:GeometrySource.load",
    "known": "invdesign.filters.novelty:KnownMaterials.load",
    "ranker": "invdesign.predictors.gene_ranker:GeneRanker.load",
    "potential": "invdesign.potentials.interface:load_potential",
    "calibration": "invdesign.stability.calibration:Calibration.load",
    "hull": "invdesign.stability.hull.hull:Hull.load",
    "synthesizability": "invdesign.predictors.synthesizability:Synthesizability.load",
    "neighbors": "invdesign.predictors.explain.neighbors:Neighbors.load",
}


@dataclass(frozen=True)
class Parts:
    """What a campaign is made of; each a released artifact's name, a folder, or an object of one's own.

    Names are loaded once per process; objects must be picklable where relaxations run in other processes.
    """

    generator: Any = "gene-diffusion"  # or a tuple of several
    geometry: Any = "geometries"
    known: Any = "known-materials"
    ranker: Any = "gene-rank"
    potential: Any = "chgnet"
    calibration: Any = None
    hull: Any = "mp-hull"
    predictors: Mapping[str, Any] | None = None
    synthesizability: Any = "synthesizability"
    neighbors: Any = "neighbors"

    @classmethod
    def named(cls, config: CampaignConfig) -> Parts:
        """The parts that a config names."""
        from invdesign.predictors.registry import models_of

        names = ("generator", "geometry", "known", "ranker", "potential", "calibration", "hull")
        models = models_of(("band_gap", *config.target.windows), config.predictors)
        return cls(**{name: getattr(config, name) for name in names}, predictors=models)

    def get(self, kind: str) -> Any:  # noqa: ANN401 - the caller knows the kind's protocol
        """A part, loaded if it is a name."""
        part = getattr(self, kind)
        if kind == "calibration" and part is None:
            part = self.get("potential").name
        return _load(kind, part) if isinstance(part, str) else part

    @property
    def generators(self) -> dict[str, Any]:
        """The generators, still names or objects, by what they are called: the name, or an object's own."""
        given = self.generator if isinstance(self.generator, list | tuple) else [self.generator]
        called = {part if isinstance(part, str) else part.name: part for part in given}
        if len(called) < len(given):
            raise InputError("generator: two are called the same; give each another name.")
        return called

    def generator_called(self, name: str) -> Generator:
        """One of the generators."""
        part = self.generators[name]
        return cast("Generator", _load("generator", part) if isinstance(part, str) else part)

    def check_scale(self) -> None:
        """See that the calibration was made for the potential.

        Raises:
            InputError: it is another potential's, so that energies would be on no known scale.
        """
        calibration, potential = self.get("calibration"), self.get("potential")
        if calibration.potential != potential.name:
            raise InputError(
                f"calibration: it is {calibration.potential}'s, the potential is {potential.name}; "
                "give that potential's own."
            )
        if calibration.digest != potential.digest:
            raise InputError(
                f"calibration: it was made for other weights of {potential.name} than these; "
                "run `invdesign train` on its recipe with this potential, and give --calibration FOLDER."
            )
        self.get("hull").check_scale()

    @property
    def elements(self) -> frozenset[str]:
        """Elements that potential, calibration and hull know, all three."""
        return frozenset.intersection(*(self.get(k).elements for k in ("potential", "calibration", "hull")))

    def predictor(self, prop: str) -> Predictor:
        """The model of one property."""
        part = (self.predictors or {})[prop]
        predictor: Predictor = _predictor(prop, part) if isinstance(part, str) else part
        return predictor

    def estimates(
        self, structures: Sequence[Structure], described: Described | None = None
    ) -> list[dict[str, Estimate]]:
        """Every model's estimates of relaxed structures; each model is asked once, of one description.

        Args:
            structures: relaxed.
            described: their description, where CHGNet has seen them already.
        """
        from invdesign.predictors.features.structure import describe
        from invdesign.predictors.property_predictor import PropertyPredictor

        rows: list[dict[str, Estimate]] = [{} for _ in structures]
        said: dict[Any, list[dict[str, Estimate]]] = {}  # by model
        for prop, part in (self.predictors or {}).items() if structures else ():
            predictor, model = self.predictor(prop), part if isinstance(part, str) else id(part)
            if not isinstance(predictor, PropertyPredictor):
                found = predictor.predict(structures)
            else:
                if model not in said and predictor.sees == "structure":
                    described = described or describe(structures)
                    said[model] = predictor.of_described(described)
                elif model not in said:
                    said[model] = predictor.predict_all(structures)
                found = [row[predictor.property] for row in said[model]]
            for row, estimate in zip(rows, found, strict=True):
                row[prop] = estimate
        return rows

    def quick_estimates(self, genes: Sequence[Gene], target: Target) -> list[dict[str, Estimate]]:
        """The ranker's estimates of genes, and of what else is asked for what the composition tells."""
        from invdesign.core.released import FROM_COMPOSITION

        rows: list[dict[str, Estimate]] = self.get("ranker").predict(genes)
        for prop in sorted(target.windows.keys() & FROM_COMPOSITION.keys()):
            if rows and prop not in rows[0]:
                found = _predictor(prop, FROM_COMPOSITION[prop]).predict(genes)
                rows = [row | {prop: estimate} for row, estimate in zip(rows, found, strict=True)]
        return rows

    def signature(self) -> dict[str, str]:
        """What stands in for a name: objects by their own name or type, for the campaign's identity."""
        parts = {**vars(self), **{f"predictor {k}": v for k, v in (self.predictors or {}).items()}}
        del parts["predictors"]
        if len(self.generators) > 1:
            parts |= {f"generator {name}": part for name, part in self.generators.items()}
            del parts["generator"]
        return {
            kind: str(getattr(part, "name", type(part).__qualname__))
            for kind, part in parts.items()
            if part is not None and not isinstance(part, str)
        }


@lru_cache(maxsize=32)
def _load(kind: str, name: str) -> Any:  # noqa: ANN401 - the caller knows the kind's protocol
    module, attribute = _LOADERS[kind].split(":")
    loader: Any = import_module(module)
    for part in attribute.split("."):
        loader = getattr(loader, part)
    return loader(name)


@lru_cache(maxsize=8)
def _predictor(prop: str, name: str) -> Predictor:
    from invdesign.predictors.registry import load_predictor

    return load_predictor(prop, name)


@dataclass(frozen=True)
class Batch:
    """Genes to be generated: travels to a worker.

    Attributes:
        formulas: of the genes, with how many of each; none: any.
    """

    config: CampaignConfig
    parts: Parts
    number: int
    generator: str
    first: int
    n: int
    formulas: tuple[tuple[str, int], ...] = ()


def batches(config: CampaignConfig, parts: Parts) -> list[Batch]:
    """The batches of a campaign in order: generators take turns, each with an equal share of the genes."""
    names = list(parts.generators)
    genes = [config.n_genes // len(names) + (i < config.n_genes % len(names)) for i in range(len(names))]
    turns = [
        (name, n := min(config.gene_batch, own - start), shares(config.formulas, start, n, own))
        for start in range(0, max(genes), config.gene_batch)
        for name, own in zip(names, genes, strict=True)
        if start < own
    ]
    firsts = accumulate((n for _, n, _ in turns), initial=0)
    return [
        Batch(config, parts, number, name, first, n, formulas)
        for number, ((name, n, formulas), first) in enumerate(zip(turns, firsts, strict=False))
    ]


def propose_batch(batch: Batch) -> tuple[list[Candidate], Clock]:
    """Generate one batch of genes; the seed is (campaign seed, batch number), then the formula's place."""
    config, clock = batch.config, Clock()
    seed: tuple[int, ...] = (config.seed, batch.number)
    asked = [
        (with_formula(config.target, formula), n, (*seed, place))
        for place, (formula, n) in enumerate(batch.formulas)
    ] or [(config.target, batch.n, seed)]
    with one_thread(), clock.stage("generator"):
        generator = batch.parts.generator_called(batch.generator)
        candidates = [candidate for share in asked for candidate in generator.propose(*share)]
    for i, candidate in enumerate(candidates):
        candidate.id = f"c{batch.first + i:06d}"
        candidate.provenance |= {"generator": batch.generator, "batch": batch.number}
    return candidates, clock


def judge_batch(
    config: CampaignConfig, parts: Parts, candidates: Sequence[Candidate], seen: Mapping[str, str]
) -> Clock:
    """Put a batch through the gates that need no structure; survivors get the quick estimates.

    Args:
        config: the campaign.
        parts: what it is made of.
        candidates: a batch, in order of id.
        seen: id by gene hash of all earlier batches' genes; the first with a gene keeps it.
    """
    clock = Clock()
    owners = dict(seen)
    known, elements = parts.get("known"), parts.elements
    judges: dict[str, Callable[[Candidate], Verdict]] = {
        "target": lambda c: _in_target(c.gene, config, elements),
        "charge balance": lambda c: _charge_balance(c.gene),
        "unique": lambda c: _first_of_its_gene(c, owners),
        "novelty": lambda c: novelty_verdict(c.gene, known, include_known=config.include_known),
    }
    alive = list(candidates)
    for gate, judge in judges.items():
        with clock.stage(gate):
            alive = [candidate for candidate in alive if candidate.record(judge(candidate))]
    with clock.stage("quick rank"):
        estimates = parts.quick_estimates([candidate.gene for candidate in alive], config.target)
        for candidate, estimate in zip(alive, estimates, strict=True):
            candidate.properties = dict(estimate)
    return clock


def first_of_genes(candidates: Iterable[Candidate]) -> dict[str, str]:
    """Id by gene hash of the candidates that were the first with their gene."""
    return {c.gene.hash: c.id for c in candidates if "unique" in c.verdicts and c.verdicts["unique"].passed}


def _in_target(gene: Gene, config: CampaignConfig, elements: frozenset[str]) -> Verdict:
    if strange := sorted(set(gene.elements) - elements):
        return Verdict(
            "target",
            passed=False,
            reason=f"potential, calibration or hull do not know it: {', '.join(strange)}",
        )
    if not gene.realisable:
        return Verdict("target", passed=False, reason="two atoms on one point")
    if config.formulas and gene.formula not in config.formulas:
        return Verdict("target", passed=False, reason=f"none of the formulas: {gene.formula}")
    verdict: Verdict = config.target.allows(gene)
    return verdict


def _charge_balance(gene: Gene) -> Verdict:
    from invdesign.filters.charge_balance import charge_balance

    return charge_balance(gene.composition)


def _first_of_its_gene(candidate: Candidate, owners: dict[str, str]) -> Verdict:
    first = owners.setdefault(candidate.gene.hash, candidate.id)
    if first == candidate.id:
        return Verdict("unique", passed=True, reason="first with this gene")
    return Verdict("unique", passed=False, reason=f"same gene as an earlier one: {first}")


def novelty_verdict(gene: Gene, known: Any, *, include_known: bool) -> Verdict:  # noqa: ANN401 - KnownMaterials or alike
    """What is known of a gene; a known one is rejected unless such are wanted."""
    verdict: Verdict = known.novelty(gene)
    if verdict.figure == 0 and not include_known:
        return replace(verdict, passed=False)
    return verdict


def quick_rank(config: CampaignConfig, candidates: Sequence[Candidate]) -> Clock:
    """Record who of the gene phase's survivors is worth relaxing, and in which order.

    Each generator's candidates are ranked among themselves; the chosen carry their place in
    ``provenance["place"]``.
    """
    clock = Clock()
    alive: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.alive:
            alive.setdefault(candidate.provenance["generator"], []).append(candidate)
    with clock.stage("quick rank"):
        for own in alive.values():
            _rank(config, own)
    return clock


def _rank(config: CampaignConfig, alive: Sequence[Candidate]) -> None:
    scores = [hit_probability(candidate.properties, config.target) for candidate in alive]
    # chosen formulas are all to be tried
    per_formula = ceil(config.n_relax / len(config.formulas)) if config.formulas else 3
    chosen = select(
        [candidate.gene for candidate in alive],
        scores,
        config.n_relax,
        per_formula=per_formula,
        per_prototype=max(3, config.n_relax // 10),
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


def worth_relaxing(config: CampaignConfig, parts: Parts) -> list[Candidate]:
    """What a campaign would relax, without its store: the gene phase in one go, the chosen in order of id.

    Of several generators, each one's best ``n_relax``: as if the others yielded nothing.
    """
    candidates: list[Candidate] = []
    seen: dict[str, str] = {}
    for batch in batches(config, parts):
        proposed, _ = propose_batch(batch)
        judge_batch(config, parts, proposed, seen)
        seen |= first_of_genes(proposed)
        candidates += proposed
    quick_rank(config, candidates)
    return [candidate for candidate in candidates if "place" in candidate.provenance]
