"""The manifest read back: which folder belongs to which candidate, and whether both are still as written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.errors import InputError, no_such_file

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.core.candidate import Estimate

MANIFEST = "manifest.json"
_NO_SETTINGS = frozenset({"format", "task", "written_with", "pseudo_dir", "skipped", "candidates"})


@dataclass(frozen=True, slots=True)
class Job:
    """One folder of a manifest.

    Attributes:
        folder: where its inputs and results lie.
        code: that it was written for.
        task: what is computed.
        entry: the manifest's, whole.
        settings: what all folders of the manifest have in common; energies compare where these are equal.
    """

    folder: Path
    code: str
    task: str
    entry: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the folder's name in the manifest."""
        return str(self.entry["folder"])

    def parts(self) -> list[Job]:
        """Return the calculations it consists of: one per displacement of a phonon check, else itself."""
        names = self.entry.get("displacements", [])
        return [self._part(name) for name in names] if names else [self]

    def _part(self, name: str) -> Job:
        files = {
            path.removeprefix(f"{name}/"): digest
            for path, digest in self.entry["files"].items()
            if path.startswith(f"{name}/")
        }
        entry = self.entry | {"folder": f"{self.name}/{name}", "files": files, "displacements": []}
        return Job(self.folder / name, self.code, self.task, entry, self.settings)

    def distributions(self) -> dict[str, Estimate]:
        """Return the predicted distributions by property."""
        from invdesign.core.candidate import Estimate  # needs numpy, which `invdesign --help` does not

        return {name: Estimate(**values) for name, values in self.entry.get("distributions", {}).items()}

    def inputs_changed(self) -> str | None:
        """Return which input is no longer as it was written, as a sentence; None where all are."""
        for name, digest in self.entry["files"].items():
            if not (self.folder / name).is_file():
                return f"{name} is missing"
            if _digest(self.folder / name) != digest:
                return f"{name} changed since it was written"
        return None

    def source_changed(self) -> str | None:
        """Return whether the candidate's file has changed, as a sentence.

        A file that has gone is no change: folders travel to other machines.
        """
        source = self.entry["source"]
        path = Path(source["path"])
        if "sha256" in source and path.is_file() and _digest(path) != source["sha256"]:
            return f"its structure in {path} changed since the inputs were written; write them anew"
        return None

    def structure(self) -> Structure:
        """Return the structure as it was written."""
        from pymatgen.io.vasp import Poscar

        return Poscar.from_str(self.entry["structure"]).structure


def poscar(structure: Structure) -> str:
    """Return a structure as a manifest keeps it."""
    from pymatgen.io.vasp import Poscar

    return Poscar(structure).get_str(significant_figures=16)


def read_manifest(folder: Path) -> list[Job]:
    """Read the jobs that ``dft write`` made in ``folder``.

    Raises:
        InputError: no manifest there, or one that cannot be read.
    """
    path = folder / MANIFEST
    if not folder.exists():
        raise no_such_file(folder, "a folder that `invdesign dft write` made")
    if not path.is_file():
        raise InputError(
            f"folder: {str(folder)!r} has no {MANIFEST}; give a folder that `invdesign dft write` made."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        settings = {name: value for name, value in content.items() if name not in _NO_SETTINGS}
        jobs = [
            Job(
                folder / entry["folder"], content["code"], entry.get("task", content["task"]), entry, settings
            )
            for entry in content["candidates"]
        ]
        for job in jobs:  # what every step needs
            job.structure()
            _ = job.entry["candidate"], job.entry["source"]["path"], job.entry["files"].items()
    except Exception as error:  # of json and pymatgen, or what is missing
        raise InputError(
            f"folder: {path} is no manifest of `invdesign dft write` ({str(error)[:100]!r}); restore it."
        ) from error
    return jobs


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file; that of none where it may not be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
