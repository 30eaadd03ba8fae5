"""Why a model predicts what it predicts, and what is known of the nearest materials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from invdesign.core.properties import PROPERTIES, models_from_structure
from invdesign.errors import InputError
from invdesign.io.config import suggest
from invdesign.predictors.explain.integrated_gradients import attribute_atoms
from invdesign.predictors.explain.neighbors import Neighbors
from invdesign.predictors.explain.shapley import Driver, attribute, in_words
from invdesign.predictors.features.structure import of_embedded
from invdesign.predictors.property_predictor import PropertyPredictor
from invdesign.predictors.registry import load_predictor

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.core.candidate import Estimate
    from invdesign.potentials.chgnet.potential import CHGNetPotential
    from invdesign.predictors.explain.neighbors import Neighbor
    from invdesign.predictors.explain.shapley import Attribution
    from invdesign.predictors.graph.model import GraphBandGapPredictor

ENERGY = "calibrated CHGNet energy"
WORTH_A_WORD = 0.05  # of the size of what is explained


@dataclass(frozen=True, slots=True)
class Explanation:
    """One prediction and what is behind it.

    Attributes:
        estimate: with its interval.
        attribution: what drove it; a sentence where a graph network cannot evaluate the crystal.
        neighbors: nearest known materials (with a value of the property, if any has one), nearest first;
            none where CHGNet cannot evaluate the crystal.
    """

    estimate: Estimate
    attribution: Attribution | str
    neighbors: list[Neighbor]


class Explainer:
    """Explains the predictions of one property.

    Example:
        >>> Explainer.load("band_gap").why([structure])  # doctest: +SKIP
        ['raised by O, Cl, lowered by La; nearest known: LaClO 4.14 eV (mp-23025)']
    """

    def __init__(self, predictor: PropertyPredictor, neighbors: Neighbors) -> None:
        self.predictor = predictor
        unit = predictor.properties[predictor.property].unit
        self._set_up(predictor.property, unit, neighbors)

    def _set_up(self, name: str, unit: str, neighbors: Neighbors) -> None:
        known = PROPERTIES.get(name)
        self.name = name
        self.words = known.words if known else name.replace("_", " ")
        self.unit = known.unit if known else unit
        self.neighbors = neighbors
        self._known = name if name in neighbors.names else None
        self._potential: CHGNetPotential | None = None

    @classmethod
    def load(cls, name: str | None = None, model: str | Path | None = None) -> Explainer:
        """Return a model of structures and the released known materials.

        Args:
            name: of the property; default: the band gap, or the model's first.
            model: a folder with a custom model, in place of the released model of that property.

        Raises:
            InputError: no model predicts it, or an artifact is missing or damaged.
        """
        if model is None:
            name = name or "band_gap"
            models = models_from_structure()
            if name not in models:
                raise InputError(
                    f"property: nothing predicts {name!r} from structure; {suggest(name, tuple(models))}."
                )
            model = models[name]
        predictor = load_predictor(name, model)
        if not isinstance(predictor, PropertyPredictor):
            return GraphExplainer(cast("GraphBandGapPredictor", predictor), Neighbors.load())
        if predictor.sees != "structure":
            raise InputError(
                f"model: {str(model)!r} sees the {predictor.sees} alone; give a model of structures."
            )
        if further := predictor.embeddings[1:]:
            raise InputError(
                f"model: {str(model)!r} sees the embedding of {', '.join(further)} too, and CHGNet's alone "
                "can be taken apart; give a model that sees no other, such as band-gap."
            )
        return cls(predictor, Neighbors.load())

    def explain(self, structures: Sequence[Structure], k: int = 5) -> list[Explanation]:
        """Explain the predictions for ordered crystals, with ``k`` neighbors each."""
        from invdesign.potentials.chgnet.potential import CHGNetPotential

        if not structures:
            return []
        self._potential = self._potential or CHGNetPotential()
        energies, atoms, failures = self._potential.embed_sites(structures)
        near = self.neighbors.nearest(np.stack([rows.mean(axis=0) for rows in atoms]), k, known=self._known)
        behind = self._behind(structures, energies, atoms, failures)
        return [Explanation(*found, known) for found, known in zip(behind, near, strict=True)]

    def _behind(
        self,
        structures: Sequence[Structure],
        energies: np.ndarray,
        atoms: Sequence[np.ndarray],
        failures: Mapping[int, str],
    ) -> list[tuple[Estimate, Attribution | str]]:
        """Estimate and attribution of each, with CHGNet's energies and embeddings."""
        from invdesign.potentials.chgnet.potential import CHGNetPotential
        from invdesign.stability.calibration import EnergyCalibration

        calibration = EnergyCalibration.load(CHGNetPotential.name)
        embeddings = np.stack([rows.mean(axis=0) for rows in atoms])
        described = of_embedded(structures, energies, embeddings, calibration)
        found: list[tuple[Estimate, Attribution | str]] = []
        for i, estimates in enumerate(self.predictor.of_features(described.features, described.energy)):
            estimate = estimates[self.name]
            if i in failures:
                estimate = replace(estimate, in_domain=False)
            row, energy = described.features[i], described.energy[i]
            found.append((estimate, self._taken_apart(structures[i], row, energy, atoms[i])))
        return found

    def _taken_apart(
        self, structure: Structure, features: np.ndarray, energy: float, atoms: np.ndarray
    ) -> Attribution:
        """In the property's unit; a model's correction comes in addition to CHGNet's energy."""
        measured, ensemble = self.predictor.properties[self.name], self.predictor.ensemble

        def value(rows: np.ndarray) -> np.ndarray:
            found = ensemble.distributions(rows)[self.name]
            mean = 10.0**found.mean if measured.log10 else found.mean
            return np.asarray(mean * (1 - found.p_zero))

        species = [site.specie.symbol for site in structure]
        found = attribute(value, ensemble, features, species, atoms)
        if not measured.beyond:
            return found
        offset = float(np.nan_to_num(energy))
        drivers = sorted(
            (*found.drivers, Driver(ENERGY, offset)), key=lambda driver: -abs(driver.contribution)
        )
        return replace(found, expected=found.expected + offset, drivers=tuple(drivers))

    def why(self, structures: Sequence[Structure]) -> list[str]:
        """One short phrase each: what drove the prediction, and the nearest known material's value."""
        return [self.phrase(explanation) for explanation in self.explain(structures, k=1)]

    def phrase(self, explanation: Explanation) -> str:
        """Return an explanation in one short phrase."""
        attribution, phrases = explanation.attribution, []
        if not isinstance(attribution, str):
            largest = max((abs(driver.contribution) for driver in attribution.drivers), default=0.0)
            phrases.append(in_words(attribution, WORTH_A_WORD * largest))
        if explanation.neighbors:
            nearest = explanation.neighbors[0]
            value = f" {nearest.properties[self.name]:.3g} {self.unit}" if self._known else ""
            phrases.append(f"nearest known: {nearest.formula}{value} ({nearest.id})")
        return "; ".join(filter(None, phrases))


class GraphExplainer(Explainer):
    """Explains the gaps of a graph network, such as the band-gap evaluator; neither selects anything."""

    def __init__(self, evaluator: GraphBandGapPredictor, neighbors: Neighbors) -> None:
        self.evaluator = evaluator
        self._set_up("band_gap", "eV", neighbors)

    def _behind(
        self, structures: Sequence[Structure], *_: object
    ) -> list[tuple[Estimate, Attribution | str]]:
        failures: dict[int, str] = {}
        found = attribute_atoms(self.evaluator, structures, failures)
        estimates = self.evaluator.predict(structures)
        return [(estimate, found.get(i) or failures[i]) for i, estimate in enumerate(estimates)]
