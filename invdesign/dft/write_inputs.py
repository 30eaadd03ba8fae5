"""From a shortlist to folders that are ready to submit, and the manifest that ties them to it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.crystal.structure_files import file_formula
from invdesign.dft.codes.registry import GAP_BY_STATIC, check, prepared
from invdesign.dft.inputs import read_subjects, skipped
from invdesign.dft.jobflow import FLOW, check_flow, write_flow
from invdesign.dft.manifest import MANIFEST, poscar
from invdesign.dft.phonons import displace
from invdesign.dft.results.element_references import reference_subjects
from invdesign.dft.slurm import SCRIPT, slurm_script
from invdesign.errors import InputError
from invdesign.stability.phonons import require_phonopy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invdesign.dft.codes.registry import Code
    from invdesign.dft.inputs import Subject


def write_inputs(
    source: Path | Sequence[Path],
    code: str,
    out: Path,
    *,
    task: str = "relax",
    pseudos: Path | None = None,
    input_set: str | None = None,
    flow: bool = False,
    references: bool = False,
) -> Path:
    """Write one folder of DFT inputs per crystal, ``manifest.json`` and ``submit.sh``.

    Nothing in ``out`` is ever changed: the same call again finds the same inputs and leaves them be.

    Args:
        source: a campaign's folder, its ``shortlist.csv``, files of structures, or what an earlier call
            made with task ``relax``: then its finished relaxations.
        code: ``vasp``, ``espresso``, ``gpaw`` or ``elk``.
        out: folder to be made.
        task: ``relax`` (cell and positions), ``static`` (energy and gap), ``gap`` (also along the path
            between special points; VASP and Quantum ESPRESSO: as ``static``), or ``phonon-check`` (forces
            on displaced supercells).
        pseudos: folder of PBE pseudopotentials; Quantum ESPRESSO only.
        input_set: ``mp`` (the default) or ``matpes``; VASP only.
        flow: write ``flow.json`` too, for jobflow; VASP only, needs atomate2.
        references: write their elements instead, static, for formation energies (GPAW, Quantum ESPRESSO).

    Returns:
        Path of the manifest.

    Raises:
        InputError: options that do not go together, nothing to write, a file that is named but missing,
            unfit pseudopotentials, no crystal that the code can compute, what is needed is not installed,
            or ``out`` holds something else.
    """
    if references and task not in {"relax", "static"}:
        raise InputError(f"references: elements are computed with --task static; leave out --task {task}.")
    warnings = []
    if task == "gap" and code in GAP_BY_STATIC:
        warnings.append(f"gap: {code} computes it with --task static, on an even grid, not along a path.")
    task = "static" if references or warnings else task
    check(code, task, pseudos, input_set)
    if flow:
        check_flow(code, task)
    if task == "phonon-check":
        require_phonopy("task: phonon-check")
    subjects, left_out = read_subjects(source)
    if references:
        subjects, left_out = reference_subjects(subjects, code)
    elements = {str(element) for subject in subjects for element in subject.structure.composition}
    writer = prepared(code, task, elements, pseudos, input_set)
    subjects, unfit = _fit(subjects, code, writer)
    common = writer.settings | ({"flow": FLOW} if flow else {})
    if task == "phonon-check" and (strained := _not_relaxed(subjects, code)):
        warnings.append(strained)
    head = _head(code, task, common, left_out + unfit) | ({"warnings": warnings} if warnings else {})

    def fill(draft: Path) -> str:
        entries = [_entry(*numbered, draft, task, writer) for numbered in enumerate(subjects, start=1)]
        folders = [path for entry in entries for path in _folders(entry)]
        script = slurm_script(code, task, folders, head.get("potcar_release"))
        (draft / SCRIPT).write_text(script, encoding="utf-8")
        if flow:
            write_flow(subjects, task, input_set or "mp", draft / FLOW)  # type: ignore[arg-type]
        return json.dumps({**head, "candidates": entries}, indent=2, ensure_ascii=False) + "\n"

    return _write(fill, out)


def _not_relaxed(subjects: Sequence[Subject], code: str) -> str | None:
    """Who was not relaxed with the code that will compute its forces, as a sentence."""
    names = [subject.id for subject in subjects if subject.source.get("relaxed_with") != code]
    if not names:
        return None
    told = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return (
        f"{told}: not relaxed with {code}, so that strain may show as imaginary modes; "
        f"better `dft write --task relax` first, then give its folder as the source."
    )


def _head(
    code: str, task: str, settings: dict[str, Any], left_out: Sequence[dict[str, str]]
) -> dict[str, Any]:
    """What the manifest says of all folders, and of the crystals that have none."""
    versions = {name: version(name) for name in ("pymatgen", "ase")}
    head = {"format": 1, "code": code, "task": task, "written_with": versions, **settings}
    return head | {"skipped": left_out} if left_out else head


def _fit(subjects: Sequence[Subject], code: str, writer: Code) -> tuple[list[Subject], list[dict[str, str]]]:
    """Those that the code can compute, and the others with the reason."""
    reasons = [writer.unfit(subject.structure) for subject in subjects]
    both = list(zip(subjects, reasons, strict=True))
    fit = [subject for subject, reason in both if reason is None]
    unfit = [skipped(subject.id, subject.formula, reason) for subject, reason in both if reason is not None]
    if not fit:
        why = "; ".join(f"{one['formula']}: {one['reason']}" for one in unfit)
        raise InputError(f"source: nothing that {code} can compute ({why}).")
    return fit, unfit


def _write(fill: Callable[[Path], str], out: Path) -> Path:
    """Write everything beside ``out``, then move it there whole."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise InputError(
            f"out: {str(out)!r} cannot be made ({error.strerror}); give another folder."
        ) from error
    try:
        text = fill(draft)
        (draft / MANIFEST).write_text(text, encoding="utf-8")
        _settle(draft, out, text)
    except OSError as error:
        raise InputError(
            f"out: {str(out)!r} cannot be written ({error.strerror}); make room or give another folder."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out / MANIFEST


def _settle(draft: Path, out: Path, text: str) -> None:
    if out.is_dir() and any(out.iterdir()):
        manifest = out / MANIFEST
        if manifest.is_file() and manifest.read_text(encoding="utf-8") == text:
            return
        raise InputError(f"out: {str(out)!r} holds other files already; give an empty or a new folder.")
    if out.exists() and not out.is_dir():
        raise InputError(f"out: {str(out)!r} is a file; give a folder.")
    draft.chmod(0o777 & ~_umask())
    draft.replace(out)


def _umask() -> int:
    """The process's umask: mkdtemp makes folders that only their owner may enter."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _entry(number: int, subject: Subject, draft: Path, task: str, writer: Code) -> dict[str, Any]:
    name = f"{number:03d}_{file_formula(subject.formula)}"
    folder = draft / name
    if task == "phonon-check":
        supercells = displace(subject.structure, folder)
        each = [writer.write(supercell, folder / part) for part, supercell in supercells.items()]
        n_atoms = len(next(iter(supercells.values())))
        written = each[0] | {"displacements": list(supercells), "supercell_atoms": n_atoms}
    else:
        written = writer.write(subject.structure, folder)
    return {
        "folder": name,
        "candidate": subject.id,
        "formula": subject.formula,
        "n_atoms": len(subject.structure),
        "space_group": int(subject.structure.get_space_group_info(symprec=0.01)[1]),
        "target": subject.target,
        "predicted": subject.predicted,
        "source": subject.source,
        **({} if subject.reference_height is None else {"reference_height": subject.reference_height}),
        **written,
        "structure": poscar(subject.structure),
        "files": {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    }


def _folders(entry: dict[str, Any]) -> list[str]:
    """Where the calculations of a manifest's entry run."""
    parts = entry.get("displacements")
    return [f"{entry['folder']}/{part}" for part in parts] if parts else [entry["folder"]]
