"""From a shortlist to folders that are ready to submit, and the manifest that ties them to it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from invdesign.crystal.files import file_formula
from invdesign.dft.espresso import find_pseudopotentials, write_espresso
from invdesign.dft.espresso import settings as espresso_settings
from invdesign.dft.gpaw import settings as gpaw_settings
from invdesign.dft.gpaw import unfit, write_gpaw
from invdesign.dft.grid import Task
from invdesign.dft.manifest import MANIFEST
from invdesign.dft.subjects import read_subjects
from invdesign.dft.vasp import settings as vasp_settings
from invdesign.dft.vasp import write_vasp
from invdesign.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pymatgen.core import Structure

    from invdesign.dft.subjects import Subject

    Writer = Callable[[Structure, Path], dict[str, Any]]

Code = Literal["vasp", "espresso", "gpaw"]


def write_inputs(
    source: Path | Sequence[Path],
    code: str,
    out: Path,
    *,
    task: str = "relax",
    pseudos: Path | None = None,
) -> Path:
    """Write one folder of DFT inputs per crystal, and ``manifest.json``.

    Nothing in ``out`` is ever changed: the same call again finds the same inputs and leaves them be.

    Args:
        source: a campaign's folder, its ``shortlist.csv``, or files of structures.
        code: ``vasp``, ``espresso`` or ``gpaw``.
        out: folder to be made.
        task: ``relax`` (cell and positions), ``static`` (energy and gap), or ``gap`` (also along the
            path between special points; GPAW only).
        pseudos: folder of PBE pseudopotentials; Quantum ESPRESSO only.

    Returns:
        Path of the manifest.

    Raises:
        InputError: unknown code or task, nothing to write, a file that is named but missing, unfit
            pseudopotentials, no crystal that the code can compute, or ``out`` holds something else.
    """
    if code not in get_args(Code):
        msg = f"code: {code!r} is not known; give one of {', '.join(get_args(Code))}."
        raise InputError(msg)
    if task not in get_args(Task):
        msg = f"task: {task!r} is not known; give one of {', '.join(get_args(Task))}."
        raise InputError(msg)
    if pseudos is not None and code != "espresso":
        msg = f"pseudos: {code} takes none from here; leave it out, or give --code espresso."
        raise InputError(msg)
    if task == "gap" and code != "gpaw":
        msg = f"task: gap is for gpaw; give --task static, with which {code} computes the gap too."
        raise InputError(msg)
    subjects = read_subjects(source)
    writer: Writer
    skipped: list[dict[str, str]] = []
    if code == "vasp":
        common, writer = vasp_settings(), partial(write_vasp, task=task)  # type: ignore[arg-type]
    elif code == "gpaw":
        subjects, skipped = _fit(subjects)
        common, writer = gpaw_settings(), partial(write_gpaw, task=task)  # type: ignore[arg-type]
    else:
        elements = {str(element) for subject in subjects for element in subject.structure.composition}
        files = find_pseudopotentials(elements, pseudos)
        common = espresso_settings(files)
        writer = partial(write_espresso, task=task, pseudos=files)  # type: ignore[arg-type]
    versions = {name: version(name) for name in ("pymatgen", "ase")}
    head = {"format": 1, "code": code, "task": task, "written_with": versions, **common}
    if skipped:
        head["skipped"] = skipped
    return _write(subjects, head, writer, out)


def _fit(subjects: Sequence[Subject]) -> tuple[list[Subject], list[dict[str, str]]]:
    """Those that GPAW can compute, and the others with the reason."""
    reasons = [unfit(subject.structure) for subject in subjects]
    fit = [subject for subject, reason in zip(subjects, reasons, strict=True) if reason is None]
    skipped = [
        {"candidate": subject.id, "formula": subject.formula, "reason": reason}
        for subject, reason in zip(subjects, reasons, strict=True)
        if reason is not None
    ]
    if not fit:
        why = "; ".join(f"{one['formula']}: {one['reason']}" for one in skipped)
        msg = f"source: nothing that GPAW can compute ({why})."
        raise InputError(msg)
    return fit, skipped


def _write(subjects: Sequence[Subject], head: dict[str, Any], writer: Writer, out: Path) -> Path:
    """Write everything beside ``out``, then move it there whole."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        msg = f"out: {str(out)!r} cannot be made ({error.strerror}); give another folder."
        raise InputError(msg) from error
    try:
        entries = [_entry(subject, number, draft, writer) for number, subject in enumerate(subjects, start=1)]
        text = json.dumps({**head, "candidates": entries}, indent=2, ensure_ascii=False) + "\n"
        (draft / MANIFEST).write_text(text, encoding="utf-8")
        _settle(draft, out, text)
    except OSError as error:
        msg = f"out: {str(out)!r} cannot be written ({error.strerror}); make room or give another folder."
        raise InputError(msg) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out / MANIFEST


def _settle(draft: Path, out: Path, text: str) -> None:
    if out.is_dir() and any(out.iterdir()):
        manifest = out / MANIFEST
        if manifest.is_file() and manifest.read_text(encoding="utf-8") == text:
            return
        msg = f"out: {str(out)!r} holds other files already; give an empty or a new folder."
        raise InputError(msg)
    if out.exists() and not out.is_dir():
        msg = f"out: {str(out)!r} is a file; give a folder."
        raise InputError(msg)
    draft.chmod(0o777 & ~_umask())
    draft.replace(out)


def _umask() -> int:
    """The process's umask: mkdtemp makes folders that only their owner may enter."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _entry(subject: Subject, number: int, draft: Path, writer: Writer) -> dict[str, Any]:
    name = f"{number:03d}_{file_formula(subject.formula)}"
    folder = draft / name
    written = writer(subject.structure, folder)
    return {
        "folder": name,
        "candidate": subject.id,
        "formula": subject.formula,
        "n_atoms": len(subject.structure),
        "space_group": int(subject.structure.get_space_group_info(symprec=0.01)[1]),
        "target": subject.target,
        "predicted": subject.predicted,
        "source": subject.source,
        **written,
        "files": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())
        },
    }
