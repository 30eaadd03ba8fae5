"""What a campaign is made of: generators, models, reference data, each by name, folder or as an object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from invdesign.campaign.config import CampaignConfig
from invdesign.core.candidate import Estimate
from invdesign.core.measured_gap import agreeing
from invdesign.core.placement import Placement
from invdesign.core.properties import MEASURED_GAP, PBE_GAP, PROPERTIES, models_from_composition
from invdesign.core.target import Target
from invdesign.crystal.gene import Gene
from invdesign.errors import InputError
from invdesign.filters.novelty import KnownMaterials
from invdesign.generators.registry import Generator, load_generator
from invdesign.io.artifacts import Kind, resolve
from invdesign.io.provenance import folder_digest
from invdesign.potentials.registry import load_potential, same_potential
from invdesign.potentials.sevennet.potential import WEIGHTS as SEVENNETS
from invdesign.predictors.explain.neighbors import Neighbors
from invdesign.stability.calibration import EnergyCalibration
from invdesign.stability.hull.hull import Hull
from invdesign.stability.placement import compute_placement

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.generators.geometry.source import GeometrySource
    from invdesign.predictors.features.structure import Described
    from invdesign.predictors.gene_ranker import GeneRanker
    from invdesign.predictors.registry import Predictor
    from invdesign.predictors.synthesizability import Synthesizability


TRAIN = "run `invdesign train` on its recipe with this potential, and give --calibration FOLDER"


@dataclass(frozen=True)
class Components:
    """What a campaign is made of; each a released artifact's name, a folder, or a custom object.

    Names are loaded once per process; objects must be picklable where relaxations run in other processes.
    """

    generator: Any = "gene-diffusion"  # or a tuple of several
    geometry: Any = "geometries"
    known: Any = "known-materials"
    ranker: Any = "gene-rank"
    potential: Any = "chgnet"
    calibration: Any = None
    finisher: Any = None  # a potential; None: no finishing stage
    finisher_calibration: Any = None
    hull: Any = "mp-hull"
    predictors: Mapping[str, Any] | None = None
    novelty: str = "new"  # what generators are to steer to: in a campaign its config's
    synthesizability: Any = "synthesizability"
    neighbors: Any = "neighbors"

    @classmethod
    def from_config(cls, config: CampaignConfig) -> Components:
        """Take the components that a config names."""
        from invdesign.predictors.registry import models_of

        names = ("generator", "novelty", "geometry", "known", "ranker", "potential", "calibration", "hull")
        models = models_of((PBE_GAP, MEASURED_GAP, *config.target.windows), config.predictors)
        finisher: str | None = config.finish
        if config.finish == "none" or same_potential(config.finish, config.potential):
            finisher = None
        return cls(**{name: getattr(config, name) for name in names}, finisher=finisher, predictors=models)

    @classmethod
    def of(cls, config: CampaignConfig, given: Components | None) -> Components:
        """Take those that are given, or else what a config names; generators steer as the config asks."""
        return cls.from_config(config) if given is None else replace(given, novelty=config.novelty)

    def get(self, kind: str) -> Any:  # noqa: ANN401 - the caller knows the kind's protocol
        """Return a component, loaded if it is a name."""
        component = getattr(self, kind)
        if kind == "calibration" and component is None:
            component = self.get("potential").name
        return _load(kind, component) if isinstance(component, str) else component

    @property
    def generators(self) -> dict[str, Any]:
        """Return the generators by name, not loaded."""
        given = self.generator if isinstance(self.generator, list | tuple) else [self.generator]
        called = {
            component if isinstance(component, str) else component.name: component for component in given
        }
        if len(called) < len(given):
            raise InputError("generator: two have the same name; give each another name.")
        return called

    def generator_called(self, name: str) -> Generator:
        """Return one of the generators, loaded."""
        component = self.generators[name]
        return _generator(component, self.novelty) if isinstance(component, str) else component

    def best(self) -> Components:
        """Return the same with the finishing potential, where there is one, in place of the potential.

        Where that is a SevenNet, released models of properties give way to those that see its embedding.
        """
        if self.finisher is None:
            return self
        predictors = self.predictors
        if predictors and isinstance(self.finisher, str) and self.finisher in SEVENNETS:
            predictors = {prop: _finished_model(prop, model) for prop, model in predictors.items()}
        return replace(
            self, potential=self.finisher, calibration=self.finisher_calibration, predictors=predictors
        )

    def check_scale(self, advice: str = TRAIN) -> None:
        """Check that the calibration was made for the potential.

        Args:
            advice: what to do where the potential has other weights.

        Raises:
            InputError: it is another potential's, so that energies would be on no known scale.
        """
        calibration, potential = self.get("calibration"), self.get("potential")
        if calibration.potential != potential.name:
            raise InputError(
                f"calibration: it is {calibration.potential}'s, the potential is {potential.name}; "
                "give one made for that potential."
            )
        if calibration.digest != potential.digest:
            raise InputError(
                f"calibration: it was made for other weights of {potential.name} than these; {advice}."
            )
        self.get("hull").check_scale()

    @property
    def elements(self) -> frozenset[str]:
        """Return the elements that all potentials, their calibrations and the hull support."""
        parts = [made.get(k) for made in (self, self.best()) for k in ("potential", "calibration", "hull")]
        return frozenset.intersection(*(part.elements for part in parts))

    def predictor(self, prop: str) -> Predictor:
        """Return the model of one property."""
        component = (self.predictors or {})[prop]
        predictor: Predictor = _predictor(prop, component) if isinstance(component, str) else component
        return predictor

    def estimates(
        self, structures: Sequence[Structure], described: Described | None = None
    ) -> list[dict[str, Estimate]]:
        """Estimate all properties of relaxed structures; a model of several properties runs once.

        Args:
            structures: relaxed.
            described: their features, where CHGNet has evaluated them already.
        """
        from invdesign.predictors.features.structure import describe, embedded
        from invdesign.predictors.property_predictor import PropertyPredictor

        rows: list[dict[str, Estimate]] = [{} for _ in structures]
        predictions: dict[Any, list[dict[str, Estimate]]] = {}  # by model
        for prop, component in (self.predictors or {}).items() if structures else ():
            predictor, model = (
                self.predictor(prop),
                component if isinstance(component, str) else id(component),
            )
            if not isinstance(predictor, PropertyPredictor):
                found = predictor.predict(structures)
            else:
                if model not in predictions and predictor.sees == "structure":
                    described = embedded(described or describe(structures), structures, predictor.embeddings)
                    predictions[model] = predictor.of_described(described)
                elif model not in predictions:
                    predictions[model] = predictor.predict_all(structures)
                found = [row[predictor.property] for row in predictions[model]]
            for row, estimate in zip(rows, found, strict=True):
                row[prop] = estimate
        return [agreeing(row) for row in rows]

    def placement(self, structure: Structure, energy: float) -> Placement:
        """Place a relaxed crystal on the hull.

        Args:
            structure: relaxed.
            energy: the potential's total energy of the cell, eV.

        Raises:
            InputError: calibration or hull lack one of its elements.
        """
        return compute_placement(
            structure.composition,
            energy,
            self.get("calibration"),
            self.get("hull"),
            crystal_known=self.get("known").is_reported(structure),
        )

    def gene_estimates(self, genes: Sequence[Gene], target: Target) -> list[dict[str, Estimate]]:
        """Estimate genes: the ranker's properties, and those of the target that have a composition model."""
        rows: list[dict[str, Estimate]] = self.get("ranker").predict(genes)
        models = models_from_composition()
        for prop in sorted(target.windows.keys() & models.keys()):
            if rows and prop not in rows[0]:
                found = _predictor(prop, models[prop]).predict(genes)
                rows = [row | {prop: estimate} for row, estimate in zip(rows, found, strict=True)]
        return [agreeing(row) for row in rows]

    def signature(self) -> dict[str, str]:
        """Return the custom objects by name or type, for the campaign's identity."""
        objects = {**vars(self), **{f"predictor {k}": v for k, v in (self.predictors or {}).items()}}
        del objects["predictors"]
        if len(self.generators) > 1:
            objects |= {f"generator {name}": given for name, given in self.generators.items()}
            del objects["generator"]
        return {
            kind: str(getattr(given, "name", type(given).__qualname__))
            for kind, given in objects.items()
            if given is not None and not isinstance(given, str)
        }


def made_with(config: CampaignConfig, components: Components) -> dict[str, Any]:
    """Describe the campaign as plain JSON for ``shortlist.json``, without time and machine.

    Returns:
        ``target`` in the language of targets and in ``words``, ``seed``, ``potential``, ``finish`` (the
        potential that placed what was finished; None without that stage), and ``weights``:
        a SHA-256 by part of every folder of weights or tables (16 digits of the potential's file). Custom
        objects have none.
    """
    potential = components.get("potential")
    finisher = components.best().get("potential")
    weights = {f"potential {one.name}": one.digest for one in (potential, finisher)}
    models = [*components.generators.values(), *(components.predictors or {}).values()]
    models += (components.best().predictors or {}).values()
    models += [components.geometry, components.ranker, components.synthesizability]
    tables = [components.known, components.hull, components.calibration or potential.name]
    tables.append(components.finisher_calibration or finisher.name)
    weights |= _digests("models", models) | _digests("validators", tables)
    return {
        "target": str(config.target),
        "words": config.describe(),
        "seed": config.seed,
        "potential": potential.name,
        "finish": None if components.finisher is None else finisher.name,
        "weights": weights,
    }


def _digests(kind: Kind, components: Iterable[Any]) -> dict[str, str]:
    """Hash by name of what lies in a folder; a generator without weights has none."""
    folders = {resolve(kind, part) for part in components if isinstance(part, str)}
    return {f"{kind}/{folder.name}": folder_digest(folder) for folder in sorted(folders) if folder.is_dir()}


def _finished_model(prop: str, model: Any) -> Any:  # noqa: ANN401 - a name, a folder or an object
    known = PROPERTIES.get(prop)
    if known is None or not known.from_finished or model != known.from_structure:
        return model
    return known.from_finished


@lru_cache(maxsize=32)
def _load(kind: str, name: str) -> Any:  # noqa: ANN401 - the caller knows the kind's protocol
    return _LOADERS[kind](name)


def _load_geometry(name: str) -> GeometrySource:
    from invdesign.generators.geometry.source import GeometrySource

    return GeometrySource.load(name)


def _load_ranker(name: str) -> GeneRanker:
    from invdesign.predictors.gene_ranker import GeneRanker

    return GeneRanker.load(name)


def _load_synthesizability(name: str) -> Synthesizability:
    from invdesign.predictors.synthesizability import Synthesizability

    return Synthesizability.load(name)


_LOADERS: dict[str, Callable[[str], Any]] = {
    "geometry": _load_geometry,
    "known": KnownMaterials.load,
    "ranker": _load_ranker,
    "potential": load_potential,
    "calibration": EnergyCalibration.load,
    "hull": Hull.load,
    "synthesizability": _load_synthesizability,
    "neighbors": Neighbors.load,
}


@lru_cache(maxsize=8)
def _generator(name: str, novelty: str) -> Generator:
    return load_generator(name, novelty=novelty)


@lru_cache(maxsize=8)
def _predictor(prop: str, name: str) -> Predictor:
    from invdesign.predictors.registry import load_predictor

    return load_predictor(prop, name)
