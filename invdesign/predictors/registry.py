"""Which model predicts a property, and how one is found: by name, or in a folder that a training wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from invdesign.core.properties import models_from_composition, models_from_structure
from invdesign.errors import InputError
from invdesign.io.artifacts import find
from invdesign.io.plugins import Registry

if TYPE_CHECKING:
    from invdesign.core.candidate import Estimate

PREDICTORS = Registry(
    "kind of model",
    "invdesign.predictors",
    {
        "property": "invdesign.predictors.property_predictor:PropertyPredictor",
        "transfer": "invdesign.predictors.property_predictor:PropertyPredictor",
        "graph-band-gap": "invdesign.predictors.graph.model:GraphBandGapPredictor",
    },
)
"""Classes by the ``kind`` that a model's ``config.json`` names.

Each has ``load``, a class method of the model's name or folder and the property that is asked for (None: the
model's first), which makes a :class:`Predictor`.
"""

BY_ENERGY = ("e_above_hull", "formation_energy_per_atom")
"""Properties that relaxation itself gives: no model is asked."""


class Predictor(Protocol):
    """Anything that estimates one property."""

    def predict(self, given: Sequence[Any], /) -> list[Estimate]:
        """One estimate for each relaxed structure; for each gene or formula, where the model sees no more."""
        ...


def models_of(properties: Iterable[str], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Model by property: of those named the released one, unless another is given.

    From structure where there is such a model, else from composition.
    """
    models = models_from_composition() | models_from_structure()
    asked = sorted({*properties} & models.keys() - {*BY_ENERGY})
    return {name: models[name] for name in asked} | dict(given or {})


def load_predictor(prop: str | None, name: str | Path) -> Predictor:
    """Return the model of a property, by name or folder; the model's first property if None.

    Raises:
        InputError: the folder or a file of it is missing or damaged, or the model predicts something else.
    """
    folder = find("models", name, needs=("config.json",))
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("kind")
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise InputError(
            f"models folder {str(folder)!r} cannot be read ({error}); restore it or retrain it."
        ) from error
    if kind not in PREDICTORS.names():
        raise InputError(
            f"models folder {str(folder)!r} holds a {kind} model, which is no model of a property; "
            f"give one of the kinds {', '.join(PREDICTORS.names())}."
        )
    predictor: Predictor = PREDICTORS.load(kind).load(name, prop)
    return predictor
