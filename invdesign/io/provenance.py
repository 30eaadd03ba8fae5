"""Provenance of a result: code, packages, weights, hardware; written next to it as ``run.json``."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from invdesign.io.artifacts import root
from invdesign.io.atomic import atomic_write
from invdesign.version import __version__

RUN_FILE = "run.json"

PACKAGES = (
    "ase",
    "chgnet",
    "diffusers",
    "e3nn",
    "matgl",
    "moyopy",
    "numpy",
    "pymatgen",
    "safetensors",
    "scipy",
    "sevenn",
    "smact",
    "torch",
)
"""Packages whose version can change a result."""


def write_run_json(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write ``run.json``: the content, and where and with what it came about; never half a file.

    Args:
        folder: of the results.
        content: what the caller knows: config, seeds, counts. Its keys come first.

    Returns:
        Path of the file.
    """
    path = folder / RUN_FILE
    text = json.dumps({**content, **provenance()}, indent=2, ensure_ascii=False, sort_keys=False)
    with atomic_write(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")
    return path


def provenance() -> dict[str, Any]:
    """Version, git revision, packages, hashes of the released artifacts, device, and the time now."""
    return {
        "invdesign": __version__,
        "git_revision": git_revision(),
        "packages": package_versions(),
        "artifacts": artifact_hashes(),
        "hardware": hardware(),
        "command": sys.argv,
        "written": datetime.now(tz=UTC).isoformat(timespec="seconds"),
    }


def git_revision() -> str | None:
    """Commit of the checkout that this package runs from, ``+changes`` where it differs; None in a wheel."""
    top = Path(__file__).resolve().parents[2]
    if not (top / ".git").exists():
        return None
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"],  # noqa: S607 - git of the user's PATH
            cwd=top,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):  # no git here, or not our repository
        return None
    return run.stdout.strip()


def package_versions() -> dict[str, str]:
    """Versions of the installed packages among :data:`PACKAGES`."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def artifact_hashes() -> dict[str, str]:
    """SHA-256 of every released weight and table file, by ``models/band-gap/model.safetensors``."""
    return {
        f"{kind}/{folder.name}/{file}": digest
        for kind in ("models", "validators")
        for folder in sorted(root(kind).glob("*/"))
        for file, digest in folder_hashes(folder).items()
    }


def folder_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every weight and table file of an artifact's folder, by path within it.

    The card and its ``metrics.json`` are left out: rewording or measuring again changes no result.
    """
    return {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in {".md", ".yaml", ".png"} and path.name != "metrics.json"
    }


def folder_digest(folder: Path) -> str:
    """One hash of all of a folder's weights and tables."""
    return hashlib.sha256(json.dumps(folder_hashes(folder)).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Hash of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hardware() -> dict[str, Any]:
    """Return the machine: processor, cores this process may use, accelerator, system."""
    import torch

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), model)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": model,
        "cores": usable,
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
    }
