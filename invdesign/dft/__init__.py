"""DFT calculations of a shortlist: write inputs, run them, collect the results.

>>> import invdesign
>>> invdesign.dft.write("run", code="vasp", out="run/dft")  # doctest: +SKIP
"""

from typing import Any

__all__ = ["collect", "run", "write"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - each function has its own type
    """Import a function when it is used: the codes' readers load nothing before."""
    if name not in __all__:
        raise AttributeError(f"module 'invdesign.dft' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("invdesign.dft.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
