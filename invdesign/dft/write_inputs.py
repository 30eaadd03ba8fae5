"""From a shortlist to folders that are ready to submit, and the manifest that ties them to it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from invdesign.crystal.structure_files import file_formula
from invdesign.dft.codes.interface import Code, InputWriter, check_options
from invdesign.dft.codes.registry import get_code
from invdesign.dft.inputs import InputStructure, read_input_structures, skipped
from invdesign.dft.manifest import MANIFEST, poscar
from invdesign.dft.phonons import displace
from invdesign.dft.results.elements import reference_structures
from invdesign.dft.slurm import SCRIPT, slurm_script
from invdesign.errors import InputError
from invdesign.stability.phonons import require_phonopy

FLOW = "flow.json"


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
    """Write one folder of DFT inputs per crystal, as :func:`invdesign.dft.write` says; return the manifest.

    Files in ``out`` are never changed: the same call again finds the same inputs and leaves them.

    Raises:
        InputError: as there.
    """
    dft = get_code(code)
    if references and task not in {"relax", "static"}:
        raise InputError(f"references: elements are computed with --task static; leave out --task {task}.")
    warnings = []
    if task == "gap" and "gap" not in dft.tasks and "static" in dft.tasks:
        warnings.append(f"gap: {code} computes it with --task static, on an even grid, not along a path.")
    task = "static" if references or warnings else task
    check_options(dft, task, pseudos, input_set)
    if flow and task not in dft.flow_tasks:
        raise InputError(
            f"flow: not for {code} with task {task}; give --code vasp with --task relax or static."
        )
    if task == "phonon-check":
        require_phonopy("task: phonon-check")
    inputs, left_out = read_input_structures(source)
    if references:
        inputs, left_out = reference_structures(inputs, dft)
    elements = {symbol for one in inputs for symbol in one.structure.symbol_set}
    input_set = input_set or next(iter(dft.input_sets), None)
    writer = dft.prepare(task, elements, pseudos, input_set)  # type: ignore[arg-type]
    inputs, unsupported = _supported(inputs, dft)
    if task == "phonon-check" and (warning := _strain_warning(inputs, code)):
        warnings.append(warning)
    head = {
        "format": 1,
        "code": code,
        "task": task,
        "written_with": {name: version(name) for name in ("pymatgen", "ase")},
        **writer.settings,
        **({"flow": FLOW} if flow else {}),
        **({"skipped": left_out + unsupported} if left_out + unsupported else {}),
        **({"warnings": warnings} if warnings else {}),
    }

    def fill(draft: Path) -> str:
        entries = [_entry(*numbered, draft, task, writer) for numbered in enumerate(inputs, start=1)]
        folders = [path for entry in entries for path in _folders(entry)]
        script = slurm_script(dft.slurm_job(task, writer.settings), folders)  # type: ignore[arg-type]
        (draft / SCRIPT).write_text(script, encoding="utf-8")
        if flow:
            dft.write_flow([(one.id, one.structure) for one in inputs], task, input_set, draft / FLOW)  # type: ignore[arg-type]
        return json.dumps({**head, "candidates": entries}, indent=2, ensure_ascii=False) + "\n"

    return _write(fill, out)


def _strain_warning(inputs: Sequence[InputStructure], code: str) -> str | None:
    """Name the crystals that were not relaxed with the code that will compute their forces."""
    names = [one.id for one in inputs if one.source.get("relaxed_with") != code]
    if not names:
        return None
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return (
        f"{shown}: not relaxed with {code}, so that strain may show as imaginary modes; "
        f"better `dft write --task relax` first, then give its folder as the source."
    )


def _supported(
    inputs: Sequence[InputStructure], code: Code
) -> tuple[list[InputStructure], list[dict[str, str]]]:
    """Separate the crystals that the code can compute from the others, which get the reason."""
    reasons = [code.unsupported_reason(one.structure) for one in inputs]
    both = list(zip(inputs, reasons, strict=True))
    supported = [one for one, reason in both if reason is None]
    unsupported = [skipped(one.id, one.formula, reason) for one, reason in both if reason is not None]
    if not supported:
        why = "; ".join(f"{one['formula']}: {one['reason']}" for one in unsupported)
        raise InputError(f"source: nothing that {code.name} can compute ({why}).")
    return supported, unsupported


def _write(fill: Callable[[Path], str], out: Path) -> Path:
    """Write everything into a temporary folder next to ``out``, then move it there as a whole."""
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
        _move(draft, out, text)
    except OSError as error:
        raise InputError(
            f"out: {str(out)!r} cannot be written ({error.strerror}); make room or give another folder."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out / MANIFEST


def _move(draft: Path, out: Path, text: str) -> None:
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
    """Return the process's umask: mkdtemp makes folders that only their owner may enter."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _entry(
    number: int, crystal: InputStructure, draft: Path, task: str, writer: InputWriter
) -> dict[str, Any]:
    name = f"{number:03d}_{file_formula(crystal.formula)}"
    folder = draft / name
    if task == "phonon-check":
        supercells = displace(crystal.structure, folder)
        each = [writer.write(supercell, folder / part) for part, supercell in supercells.items()]
        n_atoms = len(next(iter(supercells.values())))
        written = each[0] | {"displacements": list(supercells), "supercell_atoms": n_atoms}
    else:
        written = writer.write(crystal.structure, folder)
    return {
        "folder": name,
        "candidate": crystal.id,
        "formula": crystal.formula,
        "n_atoms": len(crystal.structure),
        "space_group": int(crystal.structure.get_space_group_info(symprec=0.01)[1]),
        "target": crystal.target,
        "predicted": crystal.predicted,
        **(
            {"distributions": {name: asdict(one) for name, one in crystal.distributions.items()}}
            if crystal.distributions
            else {}
        ),
        "source": crystal.source,
        **(
            {}
            if crystal.reference_e_above_hull is None
            else {"reference_e_above_hull": crystal.reference_e_above_hull}
        ),
        **written,
        "structure": poscar(crystal.structure),
        "files": {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    }


def _folders(entry: dict[str, Any]) -> list[str]:
    """Return the folders in which the calculations of a manifest's entry run."""
    parts = entry.get("displacements")
    return [f"{entry['folder']}/{part}" for part in parts] if parts else [entry["folder"]]
