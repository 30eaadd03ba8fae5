"""Generators by name, from this package and from plug-ins, or by the folder that a training wrote."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from invdesign.core.candidate import Candidate
from invdesign.core.target import Target
from invdesign.errors import InputError
from invdesign.generators.networks import INDEX
from invdesign.io.artifacts import find, resolve
from invdesign.io.config import suggest
from invdesign.io.plugins import Registry
from invdesign.io.provenance import folder_digest

GENERATORS = Registry(
    "generator",
    "invdesign.generators",
    {
        "gene-diffusion": "invdesign.generators.gene_diffusion.pipeline:GeneDiffusion",
        "crystal-vae": "invdesign.generators.crystal_vae.pipeline:CrystalVAE",
        "ion-exchange": "invdesign.generators.substitution.ion_exchange:IonExchange",
        "prototypes": "invdesign.generators.substitution.prototype_filling:Prototypes",
    },
)
"""Classes of generators.

Besides what :class:`Generator` asks for, a class has ``load``, a class method that makes a generator and
whose keywords are the options that a user may set. One that reads files has ``artifact``, the released folder
that ``load`` takes unless it is given another as its first argument. One that ``invdesign train`` makes has
``pipeline_class``, the name of its pipeline's class in the folder's ``model_index.json``.
"""


class Generator(Protocol):
    """Anything that proposes crystals for a target."""

    name: str

    def propose(self, target: Target, n: int, seed: int | Sequence[int]) -> list[Candidate]:
        """Propose exactly ``n`` candidates, the same for the same seed.

        Each has a canonical gene that ``target.allows``, and a geometry where the generator makes its own
        (in the order of the gene's orbits; None leaves it to the geometry source). Its ``origin`` says
        what the generator was conditioned on (``conditions``) and what else it knows (``parent``, …).

        Raises:
            InputError: the generator can propose nothing that the target allows.
        """
        ...


def load_generator(
    name: str | Path,
    *,
    novelty: str = "new",
    **options: Any,  # noqa: ANN401 - each has its own type
) -> Generator:
    """Load a generator by name, or from a folder that ``invdesign train`` wrote.

    Args:
        name: one of :data:`GENERATORS`, or a folder.
        novelty: ``new``, ``any`` or ``known``: what a generator steers to that can.
        options: what the generator lets one set, such as ``guidance`` and ``temperature``.

    Raises:
        InputError: there is no such generator, it lacks a file, or it knows no such option.
    """
    kind = find_generator(name)
    load = GENERATORS.load(kind).load
    known = inspect.signature(load).parameters.keys() - {"name"}
    if unknown := sorted(options.keys() - known):
        raise InputError(f"{unknown[0]}: the generator {kind} has no such option; leave it out.")
    if "novelty" in known:
        options["novelty"] = novelty
    generator: Generator = load(**options) if str(name) == kind else load(name, **options)
    return generator


def find_generator(name: str | Path, *, also: Sequence[str] = ()) -> str:
    """Return the name of a generator, or of the one that a folder belongs to, without loading weights.

    Args:
        name: one of :data:`GENERATORS`, or a folder.
        also: what else the caller takes in its place, to be named in the error.

    Raises:
        InputError: there is no such generator.
    """
    known = GENERATORS.names()
    if str(name) in known:
        return str(name)
    folder, known = resolve("models", name), (*also, *known)
    if not folder.is_dir():
        raise InputError(
            f"generator: there is no {str(name)!r}; {suggest(str(name), known)}, or give a folder."
        )
    index = folder / INDEX
    try:
        pipeline = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        pipeline = None
    for kind in GENERATORS.names() if pipeline else ():
        if getattr(GENERATORS.load(kind), "pipeline_class", None) == pipeline:
            return kind
    wrong = f"its {INDEX} names no generator known here" if index.exists() else f"it has no {INDEX}"
    raise InputError(
        f"generator: {str(name)!r} is no generator: {wrong}; "
        f"give {', '.join(known)}, or a folder of a training."
    )


def generator_digest(name: str | Path) -> str:
    """Return the hash of the files that a generator is loaded from; without files, its plug-in's version.

    Raises:
        InputError: there is no such generator, or its files are missing.
    """
    kind = find_generator(name)
    if str(name) != kind:
        return folder_digest(find("models", name))
    artifact = getattr(GENERATORS.load(kind), "artifact", None)
    return folder_digest(find("models", artifact)) if artifact else GENERATORS.version(kind)
