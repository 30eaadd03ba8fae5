"""Where the three files of a matgl model are: in a folder, in the hub's cache, or on the hub.

matgl 4.1 reads ``model.pt`` and ``state.pt`` with ``torch.load(weights_only=True)`` (numpy arrays allowed),
so no code in them is run; but it imports the module that the files name and calls the class there, so
``model_folder`` first checks that both belong to matgl.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

from invdesign.errors import InputError

MODEL_FILES = ("model.json", "model.pt", "state.pt")
HUB_TIMEOUT = 5.0  # seconds; one attempt
HUB_NAME = re.compile(r"(?P<model>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>\w[\w./-]*))?")


def model_folder(name: str) -> Path:
    """Find the folder of a model; it is complete and names no code outside matgl.

    Args:
        name: a folder, or a hub name: ``OWNER/MODEL`` or ``OWNER/MODEL@REVISION`` (a commit, tag or branch).
            The cache is asked first, then the hub, once and shortly.

    Raises:
        InputError: the folder lacks a file, cannot be read or names code outside matgl; or the name is not
            a folder and the hub does not have it or cannot be reached.
    """
    folder = Path(name).expanduser()
    folder = _complete(folder) if folder.is_dir() else _from_hub(name)
    _only_matgl_classes(folder)
    return folder


def root_cause(error: BaseException) -> str:
    """Return the first line of the innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _complete(folder: Path) -> Path:
    """Return the folder if its three files are there: matgl itself would ask the hub."""
    for file in MODEL_FILES:
        path = folder / file
        if not path.is_file() or path.stat().st_size == 0:
            raise InputError(
                f"potential folder {str(folder)!r} lacks {file} (or it is empty); "
                f"a matgl folder holds {', '.join(MODEL_FILES)}."
            )
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
        raise InputError(
            f"potential folder {str(folder)!r} cannot be read ({root_cause(error)}); restore its files."
        ) from error
    for module in modules:
        if not str(module).startswith("matgl."):
            raise InputError(
                f"potential folder {str(folder)!r} names code outside matgl ({module}); give a matgl model."
            )


def _from_hub(name: str) -> Path:
    """Folder of a hub model in the local cache, downloaded first if need be (one short attempt)."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError
    from matgl.config import MATGL_CACHE

    if (parts := HUB_NAME.fullmatch(name)) is None:
        raise InputError(
            f"potential {name!r} is no folder; "
            "give chgnet, 7net-0, 7net-l3i5, a matgl folder, or a hub name (OWNER/NAME@REVISION)."
        )
    repository, revision = parts["model"], parts["revision"]

    def fetch(*, local: bool) -> Path:
        paths = [
            hf_hub_download(
                repository, file, revision=revision, cache_dir=MATGL_CACHE, local_files_only=local
            )
            for file in MODEL_FILES
        ]
        return Path(paths[0]).parent

    try:
        return fetch(local=True)
    except LocalEntryNotFoundError:
        pass
    _reach_hub(name, repository, revision or "main")
    try:
        return fetch(local=False)
    except OSError as error:  # every error of the hub client is one
        cause = root_cause(error)
        raise InputError(
            f"potential {name!r} could not be downloaded from the hub ({cause}); give a local folder."
        ) from error


def _reach_hub(name: str, repository: str, revision: str) -> None:
    """One short request, because the hub client retries for minutes when there is no connection."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    reason: object = "HF_HUB_OFFLINE is set"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() not in {"1", "TRUE", "ON", "YES"}:
        url = f"{endpoint}/{repository}/resolve/{quote(revision, safe='')}/model.json"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=HUB_TIMEOUT):  # noqa: S310
                return
        except urllib.error.HTTPError as error:
            reason = f"the hub answers {error.code} for {repository}@{revision}"
        except OSError as error:
            reason = f"the hub cannot be reached: {getattr(error, 'reason', error)}"
    raise InputError(
        f"potential {name!r} is neither a folder nor in the cache, and {reason}; "
        "give chgnet, 7net-0, 7net-l3i5 or a matgl folder."
    )
