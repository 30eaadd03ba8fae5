"""Networks of generators, read from the folder of a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from invdesign.errors import InputError
from invdesign.io.artifacts import find

if TYPE_CHECKING:
    from diffusers import ModelMixin

    Network = TypeVar("Network", bound=ModelMixin)

INDEX = "model_index.json"


def load_network(kind: type[Network], name: str | Path, part: str) -> Network:
    """Load the network of a released model, or of a folder that ``invdesign train`` wrote, in eval mode.

    Args:
        kind: its class.
        name: of the model, or a folder.
        part: subfolder of the pipeline that holds it.

    Raises:
        InputError: no such folder, or a file of it is missing or cannot be read.
    """
    import torch

    weights = f"{part}/diffusion_pytorch_model.safetensors"
    folder = find("models", name, needs=(INDEX, f"{part}/config.json", weights))
    try:
        network: Network = kind.from_pretrained(
            folder / part, dtype=torch.float32, low_cpu_mem_usage=False, use_safetensors=True
        )
    except Exception as error:
        why = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise InputError(
            f"models folder {str(folder)!r} cannot be read ({why}); restore it or retrain it."
        ) from error
    network.eval()
    return network
