"""Potentials of the matgl library (M3GNet, TensorNet, …), batched; from a folder or by hub name.

matgl is the optional extra ``invdesign[matgl]``. matgl 4.1 reads ``model.pt`` and ``state.pt`` with
``torch.load(weights_only=True)`` (numpy arrays allowed), so no code in them is run; but it imports the module
that the files name and calls the class there, so ``load_matgl`` first checks that both are matgl's own.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from invdesign.errors import InputError
from invdesign.validators.potential import Evaluation, Frame, Pairs, as_frames, micro_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure
    from torch import Tensor

_Model: TypeAlias = Any  # a matgl potential; matgl is optional and untyped

MODEL_FILES = ("model.json", "model.pt", "state.pt")
GPA = 160.21766208  # in 1 eV/Å³
HUB_TIMEOUT = 5.0  # seconds; one attempt
EDGES_PER_PASS = {"cpu": 6_000, "cuda": 300_000}


class MatglPotential:
    """Any matgl potential for batches; the device is the GPU where there is one."""

    def __init__(self, name: str, model: _Model, device: str | None = None) -> None:
        """Wrap a loaded ``matgl.apps.pes.Potential``.

        Args:
            name: what it is called in reports.
            model: the matgl potential.
            device: torch device; None takes the GPU where there is one.
        """
        import torch
        from pymatgen.core import Element

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.name = name
        self.device = torch.device(device)
        self._model = model.to(self.device).eval().requires_grad_(requires_grad=False)
        symbols = model.model.element_types
        self.elements = frozenset(symbols)
        self._cutoff = float(model.model.cutoff)
        self._node_type = np.full(119, -1)
        self._node_type[[Element(symbol).Z for symbol in symbols]] = np.arange(len(symbols))

    def evaluate(self, crystals: Sequence[Structure | Frame]) -> Evaluation:
        """Energies (eV), forces (eV/Å) and stresses (eV/Å³); failures are named by index."""
        frames = as_frames(crystals)
        result = Evaluation.empty(frames)
        limit = EDGES_PER_PASS[self.device.type]
        for members, pairs in micro_batches(self, frames, self._cutoff, limit, result.failures):
            graph, cells = self._graph([frames[k] for k in members], pairs)
            energy, forces, stress, *_ = (
                part.detach().cpu().double().numpy() for part in self._model(graph, cells, state_attr=None)
            )
            stress = stress.reshape(-1, 3, 3) / GPA
            ends = np.cumsum([len(frames[k]) for k in members])
            for row, k in enumerate(members):
                own = forces[ends[row] - len(frames[k]) : ends[row]]
                if not (np.isfinite(energy.flat[row]) and np.isfinite(own).all()):
                    result.failures[k] = f"{self.name} returned an energy or force that is not finite"
                    continue
                result.energy[k] = energy.flat[row]
                result.forces[k] = own
                result.stress[k] = (stress[row] + stress[row].T) / 2
        return result

    def _graph(self, frames: list[Frame], pairs: list[Pairs]) -> tuple[Any, Tensor]:
        """One torch-geometric batch (edges sorted by source, as the three-body list needs) and its cells."""
        import torch
        from torch_geometric.data import Batch

        sizes = np.array([len(frame) for frame in frames])
        offsets = np.cumsum(sizes) - sizes
        sources, targets, shifts = [], [], []
        for pair, offset in zip(pairs, offsets, strict=True):
            source = np.concatenate([pair.first, pair.second])
            order = np.argsort(source, kind="stable")
            sources.append(source[order] + offset)
            targets.append(np.concatenate([pair.second, pair.first])[order] + offset)
            shifts.append(np.concatenate([pair.shifts, -pair.shifts])[order])
        fractional = np.concatenate([np.linalg.solve(f.cell.T, f.positions.T).T for f in frames])
        graph = Batch(
            edge_index=torch.from_numpy(np.stack([np.concatenate(sources), np.concatenate(targets)])),
            pbc_offset=torch.from_numpy(np.concatenate(shifts).astype(np.float32)),
            node_type=torch.from_numpy(self._node_type[np.concatenate([f.numbers for f in frames])]),
            frac_coords=torch.from_numpy(fractional.astype(np.float32)),
            batch=torch.from_numpy(np.repeat(np.arange(len(frames)), sizes)),
            ptr=torch.from_numpy(np.append(offsets, sizes.sum())),
            num_nodes=int(sizes.sum()),
        )
        cells = torch.from_numpy(np.stack([f.cell for f in frames]).astype(np.float32))
        return graph.to(self.device), cells.to(self.device)


def load_matgl(name: str) -> MatglPotential:
    """A matgl potential from a folder or by hub name; see ``potential.load_potential``.

    Raises:
        InputError: matgl is not installed; the folder lacks a file; the model cannot be read, is not a
            potential, or was saved before matgl 3.0 (this matgl evaluates it wrongly); or the name is not a
            folder and the hub does not have it or cannot be reached.
    """
    try:
        from matgl.apps.pes import Potential
        from matgl.utils.io import load_model
    except ImportError as error:
        msg = f"potential {name!r} needs matgl ({error}); install it with: pip install 'invdesign[matgl]'."
        raise InputError(msg) from error
    folder = Path(name).expanduser()
    folder = _checked(folder) if folder.is_dir() else _from_hub(name)
    _only_matgl_classes(folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = load_model(folder)
        except (ValueError, RuntimeError) as error:
            msg = f"potential folder {str(folder)!r} cannot be loaded ({_root(error)}); restore its files."
            raise InputError(msg) from error
    if any("Incompatible model version" in str(warning.message) for warning in caught):
        msg = (
            f"potential {name!r} was saved by an older matgl, and this one evaluates it wrongly; "
            "give a folder that was saved or converted with matgl 4."
        )
        raise InputError(msg)
    if not isinstance(model, Potential) or model.calc_charge or not model.calc_stresses:
        msg = f"potential {name!r} gives no energies, forces and stresses; give a matgl Potential that does."
        raise InputError(msg)
    return MatglPotential(folder.resolve().name if Path(name).expanduser().is_dir() else name, model)


def _checked(folder: Path) -> Path:
    """The folder, if its three files are there: matgl itself would go and ask the hub."""
    for file in MODEL_FILES:
        path = folder / file
        if not path.is_file() or path.stat().st_size == 0:
            msg = (
                f"potential folder {str(folder)!r} lacks {file} (or it is empty); "
                f"a matgl folder holds {', '.join(MODEL_FILES)}."
            )
            raise InputError(msg)
    return folder


def _only_matgl_classes(folder: Path) -> None:
    """Refuse files that name classes outside matgl: loading would import and call them."""
    import torch

    try:
        described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        arguments = torch.load(folder / "model.pt", map_location="cpu", weights_only=True)
        modules = [described["@module"]]
        modules += [v["@module"] for v in arguments.values() if isinstance(v, dict) and "@module" in v]
    except Exception as error:  # a broken zip, pickle or JSON raises a dozen kinds
        msg = f"potential folder {str(folder)!r} cannot be read ({_root(error)}); restore its files."
        raise InputError(msg) from error
    for module in modules:
        if not str(module).startswith("matgl."):
            msg = f"potential folder {str(folder)!r} names code outside matgl ({module}); give a matgl model."
            raise InputError(msg)


def _from_hub(name: str) -> Path:
    """Folder of a hub model in the local cache, downloaded first if need be (one short attempt)."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError
    from matgl.config import MATGL_CACHE
    from matgl.utils.io import HF_MATGL_ORG

    if not re.fullmatch(r"([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", name):
        msg = f"potential {name!r} is no folder; give chgnet, a matgl folder, or a hub name."
        raise InputError(msg)
    repository = name if "/" in name else f"{HF_MATGL_ORG}/{name}"

    def fetch(*, local: bool) -> Path:
        paths = [
            hf_hub_download(repository, file, cache_dir=MATGL_CACHE, local_files_only=local)
            for file in MODEL_FILES
        ]
        return Path(paths[0]).parent

    try:
        return fetch(local=True)
    except LocalEntryNotFoundError:
        pass
    _reach_hub(name, repository)
    try:
        return fetch(local=False)
    except OSError as error:  # every error of the hub client is one
        msg = (
            f"potential {name!r} could not be downloaded from the hub ({_root(error)}); give a local folder."
        )
        raise InputError(msg) from error


def _reach_hub(name: str, repository: str) -> None:
    """One short request, because the hub client retries for minutes when there is no connection."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    reason: object = "HF_HUB_OFFLINE is set"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() not in {"1", "TRUE", "ON", "YES"}:
        url = f"{endpoint}/{repository}/resolve/main/model.json"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=HUB_TIMEOUT):  # noqa: S310
                return
        except urllib.error.HTTPError as error:
            reason = f"the hub answers {error.code} for {repository}"
        except OSError as error:
            reason = f"the hub cannot be reached: {getattr(error, 'reason', error)}"
    msg = (
        f"potential {name!r} is neither a folder nor in the cache, and {reason}; "
        "give chgnet or a matgl folder."
    )
    raise InputError(msg)


def _root(error: BaseException) -> str:
    """First line of the innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
