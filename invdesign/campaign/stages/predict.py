"""Properties of relaxed candidates, and the gate that asks whether they lie in the target's windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.ranking import window_probability
from invdesign.campaign.stages.gates import Context
from invdesign.core.candidate import Candidate
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from invdesign.predictors.features.structure import Described

UNLIKELY_IN_WINDOWS = "unlikely in its windows"


def in_windows(candidates: Sequence[Candidate], context: Context) -> list[Verdict]:
    """Estimate every property of relaxed candidates and compare it with its window."""
    components = context.components
    structures = [c.structure for c in candidates]
    features = _described(candidates, context.embeddings, components)
    found = components.estimates(structures, features)  # type: ignore[arg-type]
    for candidate, estimates in zip(candidates, found, strict=True):
        candidate.properties |= estimates
    return [properties_verdict(candidate, context.config) for candidate in candidates]


def properties_verdict(candidate: Candidate, config: CampaignConfig) -> Verdict:
    """Compare the probability that all properties lie in their windows with the least one asked for."""
    probability = window_probability(candidate.properties, config.target.windows)
    listed = ", ".join(
        f"{name} {e.value:.2f} ({e.low:.2f} to {e.high:.2f})"
        for name, e in candidate.properties.items()
        if name in config.target.windows
    )
    passed = probability >= config.min_probability
    words = "likely enough in its windows" if passed else UNLIKELY_IN_WINDOWS
    reason = f"{words}: {probability:.0%}, {listed}"
    return Verdict("properties", passed, reason, probability, config.min_probability)


def estimate_missing(candidates: Sequence[Candidate], components: Components) -> None:
    """Estimate the properties of relaxed candidates that were rejected at the hull, before any estimate."""
    wanted = set(components.predictors or {})
    bare = [candidate for candidate in candidates if not wanted <= candidate.properties.keys()]
    found = components.estimates([candidate.structure for candidate in bare])  # type: ignore[misc]
    for candidate, estimates in zip(bare, found, strict=True):
        candidate.properties |= estimates


def _described(
    candidates: Sequence[Candidate], embeddings: Mapping[str, np.ndarray], components: Components
) -> Described | None:
    """Features from CHGNet's last step of the relaxation; None with another potential."""
    from invdesign.potentials.chgnet.potential import CHGNetPotential
    from invdesign.predictors.features.structure import of_embedded
    from invdesign.stability.calibration import EnergyCalibration

    if not candidates or not isinstance(components.get("potential"), CHGNetPotential):
        return None
    return of_embedded(
        [c.structure for c in candidates],  # type: ignore[misc]
        np.array([c.relaxation.energy for c in candidates]),  # type: ignore[union-attr]
        np.stack([embeddings[c.id] for c in candidates]),
        EnergyCalibration.load(CHGNetPotential.name),
    )
