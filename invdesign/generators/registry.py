"""What a generator is, and how one is found: by its name, or in a folder that a training wrote."""

from __future__ import annotations

import inspect
import json
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from invdesign.errors import InputError
from invdesign.io.artifacts import find, resolve
from invdesign.io.config import suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from invdesign.core.candidate import Candidate
    from invdesign.core.target import Target

LOADERS = {
    "gene-diffusion": "invdesign.generators.gene_diffusion.pipeline:GeneDiffusion",
    "crystal-vae": "invdesign.generators.crystal_vae.pipeline:CrystalVAE",
    "ion-exchange": "invdesign.generators.substitution.ion_exchange:IonExchange",
    "prototypes": "invdesign.generators.substitution.prototype_filling:Prototypes",
}
"""Class by name; its ``load`` takes a folder, and the options that a user may set."""

_LIBRARY = dict.fromkeys(("ion-exchange", "prototypes"), "geometries")  # what the baselines live off
_NAME_OF_CLASS = {"GeneDiffusionPipeline": "gene-diffusion", "CrystalVAEPipeline": "crystal-vae"}
_INDEX = "model_index.json"


class Generator(Protocol):
    """Anything that proposes crystals for a target."""

    name: str

    def propose(self, target: Target, n: int, seed: int | Sequence[int]) -> list[Candidate]:
        """Exactly ``n`` candidates, the same for the same seed.

        Each has a canonical gene that ``target.allows``, and a geometry where the generator makes its own
        (in the order of the gene's orbits; None leaves it to the geometry source). Its provenance says
        what the generator was conditioned on (``conditions``) and what else it knows (``parent``, …).

        Raises:
            InputError: the generator can propose nothing that the target allows.
        """
        ...


def load_generator(name: str | Path, **options: Any) -> Generator:  # noqa: ANN401 - each has its own type
    """A generator by name, or from a folder that ``invdesign train`` wrote.

    Args:
        name: one of :data:`LOADERS`, or a folder.
        options: what the generator lets one set, such as ``guidance`` and ``temperature``.

    Raises:
        InputError: there is no such generator, it lacks a file, or it knows no such option.
    """
    kind = _kind_of(name)
    load = _loader(kind)
    known = set(inspect.signature(load).parameters) - {"name"}
    if unknown := sorted(options.keys() - known):
        raise InputError(f"{unknown[0]}: the generator {kind} has no such option; leave it out.")
    return load(**options) if str(name) == kind else load(name, **options)


def folder_of(name: str | Path, *, beside: Sequence[str] = ()) -> Path:
    """Folder of what a generator is loaded from, without loading anything.

    Args:
        name: one of :data:`LOADERS`, or a folder.
        beside: what else the caller takes in its place, to be named in the error.

    Raises:
        InputError: there is no such generator.
    """
    kind = _kind_of(name, beside)
    return find("models", _LIBRARY.get(kind, kind) if str(name) == kind else name)


def _loader(kind: str) -> Callable[..., Generator]:
    module, attribute = LOADERS[kind].split(":")
    return cast("Callable[..., Generator]", getattr(import_module(module), attribute).load)


def _kind_of(name: str | Path, beside: Sequence[str] = ()) -> str:
    """The name of a generator, or of the one whose weights a folder holds."""
    if str(name) in LOADERS:
        return str(name)
    folder = resolve("models", name)
    known = (*beside, *LOADERS)
    if not folder.is_dir():
        raise InputError(
            f"generator: there is no {str(name)!r}; {suggest(str(name), known)}, or give a folder."
        )
    index = folder / _INDEX
    try:
        return _NAME_OF_CLASS[json.loads(index.read_text(encoding="utf-8"))["_class_name"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        wrong = f"its {_INDEX} names no generator known here" if index.exists() else f"it has no {_INDEX}"
        names = ", ".join(known)
        raise InputError(
            f"generator: {str(name)!r} is no generator: {wrong}; give {names}, or a folder of a training."
        ) from error
