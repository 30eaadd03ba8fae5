"""Band gaps by matgl's published multi-fidelity MEGNet, from a local folder.

On the hub it is `materialyze/MEGNet-BandGap-mfi-MP-2019.4.1` (older matgl: `MEGNet-MP-2019.4.1-BandGap-mfi`);
state 0 asks for PBE. It was trained on the Materials Project of April 2019, so it may well have seen test
rows of mp20; WBM is no part of that. Its card says 0.314 eV on validation crystals: if it is far worse on
mp20 here, the folder is one that this matgl misreads without a word.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.errors import InputError
from invdesign.potentials.matgl.checkpoint import MODEL_FILES, model_folder, root_cause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

HUB = "materialyze/MEGNet-BandGap-mfi-MP-2019.4.1"
PBE = 0


def load_published(name: str) -> Any:  # noqa: ANN401 (matgl is optional and untyped)
    """Load the model of a folder; none of its files can run code.

    Raises:
        InputError: matgl is not installed; there is no such folder or a file of it is missing or damaged; or
            it holds anything but a multi-fidelity MEGNet, or one that an older matgl saved.
    """
    try:
        from matgl.models import MEGNet, TransformedTargetModel
        from matgl.utils.io import load_model
    except ImportError as error:
        raise InputError(
            f"published: matgl is needed ({error}); install it with: pip install 'invdesign[matgl]'."
        ) from error
    if not Path(name).is_dir():
        raise InputError(
            f"published: there is no folder {name!r}; give one with {', '.join(MODEL_FILES)} of {HUB}."
        )
    folder = model_folder(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = load_model(folder)
        except (ValueError, RuntimeError) as error:
            raise InputError(
                f"published: folder {name!r} cannot be loaded ({root_cause(error)}); fetch {HUB} again."
            ) from error
    network = model.model if isinstance(model, TransformedTargetModel) else model
    if not isinstance(network, MEGNet) or not network.embedding.ntypes_state:
        kind = type(network).__name__
        raise InputError(f"published: folder {name!r} holds a {kind}, no multi-fidelity MEGNet; give {HUB}.")
    if any("Incompatible model version" in str(warning.message) for warning in caught):
        raise InputError(
            f"published: {name!r} was saved by an older matgl, which this one misreads; fetch {HUB} again."
        )
    return model.eval()


def published_gaps(model: Any, structures: Sequence[Structure]) -> np.ndarray:  # noqa: ANN401
    """PBE gaps (n,), eV, none below 0; nan where it cannot evaluate a crystal (strange or isolated atoms)."""
    import torch

    network = getattr(model, "model", model)
    known = set(network.element_types)
    gaps = np.full(len(structures), np.nan)
    for k, structure in enumerate(structures):
        alone = structure.get_neighbor_list(network.cutoff)[0].size == 0
        if not alone and {site.specie.symbol for site in structure} <= known:
            gaps[k] = max(0.0, float(model.predict_structure(structure, state_attr=torch.tensor([PBE]))))
    return gaps
