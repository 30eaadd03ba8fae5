"""Inverse design of inorganic crystals: from a target property to a shortlist worth computing.

>>> import invdesign
>>> result = invdesign.design("band_gap=1.5±0.25", out="run", elements="O")  # doctest: +SKIP
>>> result.shortlist[0].structure  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invdesign.version import __version__

if TYPE_CHECKING:
    from invdesign.api import design, next_round
    from invdesign.core.target import Target, parse_target
    from invdesign.errors import InputError
    from invdesign.screening.api import screen

__all__ = ["InputError", "Target", "__version__", "design", "next_round", "parse_target", "screen"]

_HOMES = {
    "design": "invdesign.api",
    "InputError": "invdesign.errors",
    "next_round": "invdesign.api",
    "screen": "invdesign.screening.api",
    "Target": "invdesign.core.target",
    "parse_target": "invdesign.core.target",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - each attribute has its own type
    """Import what is asked for, when it is: ``import invdesign`` itself loads nothing heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'invdesign' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
