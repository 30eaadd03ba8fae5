"""How like crystals that were made a gene is: reported against hypothetical.

A reported crystal can be made; an unreported one is unlabelled: some hypothetical ones could be made.
So each member of a bag learns to distinguish the reported from a random draw of as many unlabelled
crystals (positive-unlabelled bagging: Mordelet and Vert 2014, doi:10.1016/j.patrec.2013.06.010), and the
score is their mean. It does not see the energy: what lies low is another column.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from invdesign.crystal.gene import Gene
from invdesign.predictors.features.composition_and_gene import VERSION, gene_matrix
from invdesign.predictors.models.ensemble import StackedLinear
from invdesign.predictors.models.files import read_model, weights_of, write_model

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
        with read_model(name, KIND, features_version=VERSION) as (config, tensors):
            bag = Bag(*(config["shape"][key] for key in ("members", "n_features", "width")))
            bag.load_state_dict(weights_of(tensors, "bag."))
            return cls(bag, tensors["feature_mean"], tensors["feature_std"], config["temperature"])

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` (weights in half precision) and ``config.json``."""
        tensors = {f"bag.{k}": v.numpy().astype(np.float16) for k, v in self.bag.state_dict().items()}
        tensors |= {"feature_mean": self.feature_mean, "feature_std": self.feature_std}
        members, n_features, width = self.bag.inward.weight.shape
        config = {
            "kind": KIND,
            "features_version": VERSION,
            "shape": {"members": members, "n_features": n_features, "width": width},
            "temperature": self.temperature,
        }
        write_model(folder, config, tensors)

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
