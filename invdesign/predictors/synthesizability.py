"""How like crystals that were made a gene is: reported against hypothetical.

A reported crystal can be made; an unreported one is unlabelled: some hypothetical ones could be made.
So each member of a bag learns to distinguish the reported from a random draw of as many unlabelled
crystals (positive-unlabelled bagging: Mordelet and Vert 2014, doi:10.1016/j.patrec.2013.06.010), and the
score is their mean. It does not see the energy: what lies low is another column.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from invdesign.crystal.gene import Gene
from invdesign.errors import InputError
from invdesign.io.artifacts import find
from invdesign.predictors.features.composition_and_gene import VERSION, gene_matrix
from invdesign.predictors.models.ensemble import FILES, StackedLinear

KIND = "synthesizability"


class Bag(nn.Module):
    """Small networks side by side, one a member: (members, n, features) → logits (members, n)."""

    def __init__(self, members: int, n_features: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.inward = StackedLinear(members, n_features, width)
        self.block = StackedLinear(members, width, width)
        self.outward = StackedLinear(members, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of having been reported."""
        h = self.dropout(functional.silu(self.inward(x)))  # (m, n, width)
        h = h + self.dropout(functional.silu(self.block(h)))
        out: torch.Tensor = self.outward(h)
        return out.squeeze(-1)


class Synthesizability:
    """The score of genes, 0 to 1: the chance of having been reported, were as many reported as not.

    Example:
        >>> Synthesizability.load().score([Gene.parse("225 Na@a Cl@b")])  # doctest: +SKIP
        array([0.97])
    """

    def __init__(
        self,
        bag: Bag,
        feature_mean: NDArray[np.float32],
        feature_std: NDArray[np.float32],
        temperature: float = 1.0,
    ) -> None:
        self.bag = bag.eval()
        self.feature_mean = feature_mean.astype(np.float32)
        self.feature_std = feature_std.astype(np.float32)
        self.temperature = temperature

    @classmethod
    def load(cls, name: str | Path = KIND) -> Synthesizability:
        """Return a released model by name, or a model from a folder.

        Raises:
            InputError: the folder or a file of it is missing, damaged, or of other features than these.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = find("models", name, needs=FILES)
        try:
            config: dict[str, Any] = json.loads((folder / FILES[0]).read_text())
            if (config["kind"], config["features_version"]) != (KIND, VERSION):
                raise InputError(
                    f"models folder {str(folder)!r} holds a {config['kind']} model of features version "
                    f"{config['features_version']}; a {KIND} model of version {VERSION} is needed: retrain."
                )
            tensors = load_file(folder / FILES[1])
            bag = Bag(*(config["shape"][key] for key in ("members", "n_features", "width")))
            prefix = "bag."
            weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            bag.load_state_dict({k: torch.from_numpy(v).float() for k, v in weights.items()})
            return cls(bag, tensors["feature_mean"], tensors["feature_std"], config["temperature"])
        except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"models folder {str(folder)!r} cannot be read ({error}); restore it or retrain it."
            ) from error

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` (weights in half precision) and ``config.json``."""
        from safetensors.numpy import save

        folder.mkdir(parents=True, exist_ok=True)
        state = self.bag.state_dict().items()
        tensors = {f"bag.{k}": np.ascontiguousarray(v.numpy().astype(np.float16)) for k, v in state}
        tensors |= {"feature_mean": self.feature_mean, "feature_std": self.feature_std}
        (folder / FILES[1]).write_bytes(save(tensors))
        members, n_features, width = self.bag.inward.weight.shape
        config = {
            "kind": KIND,
            "features_version": VERSION,
            "shape": {"members": members, "n_features": n_features, "width": width},
            "temperature": self.temperature,
        }
        (folder / FILES[0]).write_text(json.dumps(config, indent=2) + "\n")

    def score(self, genes: Sequence[Gene]) -> NDArray[np.float64]:
        """Scores (n,) of genes, or of what is known of them; equivalent settings get one answer."""
        if not genes:
            return np.zeros(0)
        return self.score_features(gene_matrix([gene.canonical() for gene in genes]))

    def score_features(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Scores (n,) of rows of ``gene_matrix`` (n, d)."""
        logits = self.logits(features) / self.temperature
        return np.asarray((1 / (1 + np.exp(-logits))).mean(axis=0))

    def logits(self, features: NDArray[np.float32], batch: int = 4096) -> NDArray[np.float64]:
        """Uncalibrated answers of every member, (members, n)."""
        members = len(self.bag.inward.weight)
        rows = torch.from_numpy(self.standardise(features))
        with torch.inference_mode():
            parts = [self.bag(part.expand(members, *part.shape)) for part in torch.split(rows, batch)]
        return torch.cat(parts, dim=1).double().numpy()

    def standardise(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (n, d) on the scale of training; what is unknown is the mean."""
        scaled = (features.astype(np.float32) - self.feature_mean) / self.feature_std
        return np.asarray(np.nan_to_num(np.clip(scaled, -8.0, 8.0), nan=0.0))
