"""The two files of a trained model: ``config.json`` and ``model.safetensors``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from invdesign.errors import InputError
from invdesign.io.artifacts import find

CONFIG, WEIGHTS = FILES = ("config.json", "model.safetensors")


def write_model(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Write both files to a folder, which is made."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(save({k: np.ascontiguousarray(v) for k, v in tensors.items()}))
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


@contextmanager
def read_model(
    name: str | Path, kind: str, **version: int
) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Yield configuration and tensors of a released model (by name) or of a folder.

    Args:
        name: of the model, or its folder.
        kind: of the model.
        version: that is needed, under the name that the configuration has for it.

    Raises:
        InputError: the folder or a file is missing, it holds another kind or version of model, or what is
            read, also within the context, is not what the model needs.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = find("models", name, needs=FILES)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        _check_kind(folder, config, kind, version)
        yield config, load_file(folder / WEIGHTS)
    except InputError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(
            f"models folder {str(folder)!r} cannot be read ({error}); restore it or retrain it."
        ) from error


def weights_of(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, torch.Tensor]:
    """Return the network's weights, which are the tensors under a prefix."""
    weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return {k: torch.from_numpy(v).float() for k, v in weights.items()}


def _check_kind(folder: Path, config: Mapping[str, Any], kind: str, version: Mapping[str, int]) -> None:
    found = {field: config.get(field) for field in version}
    if (config["kind"], found) != (kind, version):
        described = "".join(f" of {field.replace('_', ' ')} {n}" for field, n in found.items())
        needed = "".join(f" of version {n}" for n in version.values())
        raise InputError(
            f"models folder {str(folder)!r} holds a {config['kind']} model{described}; "
            f"a {kind} model{needed} is needed: retrain."
        )
