"""Inverse design of inorganic crystals: from a target property to a shortlist worth computing.

>>> import invdesign
>>> result = invdesign.design("band_gap=1.5±0.25", out="run", elements="O")  # doctest: +SKIP
>>> result.shortlist[0].structure  # doctest: +SKIP

Each command of the command line is a function of the same name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invdesign.version import __version__

if TYPE_CHECKING:
    from invdesign import dft
    from invdesign.analysis import latent
    from invdesign.analysis.evaluate.run import evaluate
    from invdesign.analysis.explain_files import explain
    from invdesign.analysis.generate import generate
    from invdesign.analysis.hull_placement import hull
    from invdesign.analysis.materials_map import materials_map
    from invdesign.analysis.predict_files import predict
    from invdesign.analysis.relax_files import relax
    from invdesign.analysis.structure_prediction.run import predict_structure
    from invdesign.api import design, train
    from invdesign.campaign.active_learning.round import next_round
    from invdesign.core.target import Target, parse_target
    from invdesign.errors import InputError
    from invdesign.screening.api import screen

__all__ = [
    "InputError",
    "Target",
    "__version__",
    "design",
    "dft",
    "evaluate",
    "explain",
    "generate",
    "hull",
    "latent",
    "materials_map",
    "next_round",
    "parse_target",
    "predict",
    "predict_structure",
    "relax",
    "screen",
    "train",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - each attribute has its own type
    """Import a function when it is used: ``import invdesign`` itself loads nothing heavy."""
    if name not in __all__:
        raise AttributeError(f"module 'invdesign' has no attribute {name!r}")
    from invdesign import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
