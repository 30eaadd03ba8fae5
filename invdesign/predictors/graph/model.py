"""A second opinion on band gaps: matgl's M3GNet with a readout over atoms, trained on the gaps alone.

It shares neither features nor weights with ``band_gap``, which guides and ranks; so it can evaluate what that
has chosen. matgl is the optional extra ``invdesign[matgl]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import nn

from invdesign.core.candidate import Estimate, Estimates
from invdesign.errors import InputError
from invdesign.potentials.batching import CrystalBatch, MicroBatcher
from invdesign.potentials.interface import as_frames
from invdesign.potentials.matgl.graph import PairGraph, pair_graph
from invdesign.potentials.matgl.m3gnet import FastM3GNet
from invdesign.potentials.matgl.potential import EDGES_PER_BATCH
from invdesign.predictors.models.ensemble import MIN_SIGMA, Distribution, Domain
from invdesign.predictors.models.files import read_model, weights_of, write_model

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from torch import Tensor

    from invdesign.potentials.interface import Frame

_Layers: TypeAlias = Any  # matgl's modules, untyped

KIND = "graph-band-gap"
VERSION = 1
OUTPUTS = 3  # logit of a metal, gap, log of the gap's sigma


@dataclass(frozen=True, slots=True)
class GraphShape:
    """What fixes the network's parameters; distances in Å."""

    elements: tuple[str, ...]
    width: int = 64
    blocks: int = 3
    cutoff: float = 5.0
    threebody_cutoff: float = 4.0
    dropout: float = 0.2


@dataclass(frozen=True, slots=True)
class Scales:
    """What maps raw outputs to honest distributions of the gap (eV).

    ``shift`` and ``unit`` are median and standard deviation of the training gaps, ``metals`` the share
    of metals.
    ``temperature`` divides the logit; ``edges``, two predicted gaps, determine which of the three
    ``intervals`` multiplies sigma.
    """

    shift: float
    unit: float
    metals: float
    temperature: float = 1.0
    edges: Sequence[float] = (0.0, 0.0)
    intervals: Sequence[float] = (1.0, 1.0, 1.0)


class GraphNetwork(nn.Module):
    """``matgl.models.M3GNet`` with its property head, on graphs of pairs: what matgl computes, for less."""

    def __init__(self, shape: GraphShape) -> None:
        super().__init__()
        m3gnet = _m3gnet_class()
        self.shape = shape
        self.m3gnet = m3gnet(
            element_types=shape.elements,
            dim_node_embedding=shape.width,
            dim_edge_embedding=shape.width,
            units=shape.width,
            nblocks=shape.blocks,
            cutoff=shape.cutoff,
            threebody_cutoff=shape.threebody_cutoff,
            is_intensive=True,
            readout_type="weighted_atom",
            ntargets=OUTPUTS,
        )
        self.dropout = nn.Dropout(shape.dropout)

    def order(self, first: np.ndarray, second: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """How the pairs of a graph are to be sorted: those inside the three-body cutoff first."""
        del first, second
        return np.argsort(distances > self.shape.threebody_cutoff, kind="stable")

    def sites(self, graph: PairGraph) -> Tensor:
        """Return the atoms' features, (atoms, width); weights are rearranged anew, so that they train."""
        return FastM3GNet(_FeaturesOnly(self.m3gnet)).sites(graph)

    def features(self, graph: PairGraph) -> Tensor:
        """Return the crystals' features: weighted means over their atoms, (n, width)."""
        features: Tensor = self.m3gnet.readout(self.sites(graph), graph.crystal)
        return features

    def forward(self, graph: PairGraph, state_attr: None = None) -> Tensor:
        """Raw outputs, (n, 3); the signature is what matgl's Lightning module calls."""
        del state_attr
        out: Tensor = self.m3gnet.final_layer(self.dropout(self.features(graph)))
        return out

    def initialise_from(self, potential: _Layers) -> None:
        """Take all layers but the readout from a trained ``matgl.models.M3GNet`` of the same shape."""
        backbone = ("embedding.", "three_body_interactions.", "graph_layers.")
        weights = {k: v for k, v in potential.state_dict().items() if k.startswith(backbone)}
        self.m3gnet.load_state_dict(weights, strict=False)


class _FeaturesOnly:
    """An M3GNet whose last layer passes on the features of the atoms (``sites`` takes its first column)."""

    def __init__(self, model: _Layers) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (matgl's modules)
        return getattr(self._model, name)

    @staticmethod
    def final_layer(atoms: Tensor) -> Tensor:
        return atoms[:, None]


class GraphBandGapPredictor:
    """Predicts PBE band gaps (eV) from structures; on a GPU where there is one.

    Example:
        >>> GraphBandGapPredictor.load().predict([structure])[0].value  # doctest: +SKIP
        4.8
    """

    for_evaluation = True  # no campaign may select by it

    def __init__(self, network: GraphNetwork, scales: Scales, domain: Domain | None = None) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = network.eval().to(self.device)
        self.scales = scales
        self.domain = domain
        shape = network.shape
        self.types = node_types(shape.elements)
        limit = EDGES_PER_BATCH[self.device.type]
        self.batcher = MicroBatcher("the band-gap evaluator", frozenset(shape.elements), shape.cutoff, limit)

    def predict(self, structures: Sequence[Structure]) -> list[Estimate]:
        """Estimates of the gap (eV), in the order given.

        A crystal that cannot be evaluated (disordered, colliding or isolated atoms, an element that the
        network does not know) gets the distribution of the training set and is marked as outside the
        training domain.

        Args:
            structures: ordered, relaxed crystals.
        """
        failures: dict[int, str] = {}
        raw, features = self.raw(as_frames(structures, failures), failures)
        inside = np.ones(len(raw), dtype=bool) if self.domain is None else np.zeros(len(raw), dtype=bool)
        inside[list(failures)] = False
        sound = np.setdiff1d(np.arange(len(raw)), list(failures))
        if self.domain is not None and len(sound):
            inside[sound] = self.domain.distance(features[sound]) <= self.domain.threshold
        found = self.distribution(raw)
        return Estimates(found.mean, found.sigma, found.p_zero, inside).rows()

    def raw(self, frames: Sequence[Frame], failures: dict[int, str]) -> tuple[np.ndarray, np.ndarray]:
        """Uncalibrated outputs (n, 3) and features (n, width); those of failures are a training average.

        Args:
            frames: the crystals.
            failures: is filled in by index with why a crystal could not be evaluated.
        """
        share = np.clip(self.scales.metals, 1e-6, 1 - 1e-6)
        average = [self.scales.temperature * np.log(share / (1 - share)), 0.0, 0.0]
        raw = np.tile(np.array(average, dtype=np.float32), (len(frames), 1))
        features = np.zeros((len(frames), self.network.shape.width), dtype=np.float32)

        def compute(members: list[int], batch: CrystalBatch) -> None:
            graph = pair_graph(batch, self.types[batch.numbers], self.network, self.device)
            with torch.inference_mode():
                of_crystals = self.network.features(graph)
                raw[members] = self.network.m3gnet.final_layer(of_crystals).cpu().numpy()
                features[members] = of_crystals.cpu().numpy()

        self.batcher.run(frames, compute, failures)
        return raw, features

    def distribution(self, raw: np.ndarray) -> Distribution:
        """Calibrated distributions of raw outputs (n, 3)."""
        scales = self.scales
        logit, mean, log_sigma = raw.astype(float).T
        mean = mean * scales.unit + scales.shift
        sigma = np.exp(np.clip(log_sigma, -7.0, 3.0)) * scales.unit
        sigma = sigma * np.asarray(scales.intervals)[np.digitize(mean, scales.edges)]
        return Distribution(mean, np.maximum(sigma, MIN_SIGMA), 1 / (1 + np.exp(-logit / scales.temperature)))

    def expected(self, raw: Tensor) -> Tensor:
        """Return expected gaps (n,), eV, of raw outputs (n, 3), weighted by P(metal); differentiable."""
        logit, mean, _ = raw.T
        gap = mean * self.scales.unit + self.scales.shift
        expected: Tensor = gap * (-logit / self.scales.temperature).sigmoid()
        return expected

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` and ``config.json``."""
        tensors = {f"network.{k}": v.cpu().numpy() for k, v in self.network.state_dict().items()}
        config = {
            "kind": KIND,
            "version": VERSION,
            "shape": asdict(self.network.shape),
            "scales": asdict(self.scales),
        }
        if self.domain is not None:
            tensors |= self.domain.tensors()
            config["domain"] = {"threshold": self.domain.threshold}
        write_model(folder, config, tensors)

    @classmethod
    def load(cls, name: str | Path = "band-gap-evaluator", prop: str | None = None) -> GraphBandGapPredictor:
        """Return a released model by name, or a model from a folder.

        Raises:
            InputError: matgl is not installed, the folder or a file of it is missing, damaged or of another
                kind, or another property than the band gap is asked for.
        """
        if prop not in {None, "band_gap"}:
            raise InputError(f"property: model {str(name)!r} predicts band_gap, not {prop}.")
        _m3gnet_class()
        with read_model(name, KIND, version=VERSION) as (config, tensors):
            shape = config["shape"] | {"elements": tuple(config["shape"]["elements"])}
            network = GraphNetwork(GraphShape(**shape))
            network.load_state_dict(weights_of(tensors, "network."))
            scales: dict[str, Any] = config["scales"]
            scales |= {name: tuple(scales[name]) for name in ("edges", "intervals")}
            return cls(network, Scales(**scales), Domain.of(tensors, config.get("domain")))


def node_types(elements: Sequence[str]) -> np.ndarray:
    """Index of an element in the network by atomic number, (119,); -1 where it does not know it."""
    from pymatgen.core import Element

    types = np.full(119, -1)
    types[[Element(symbol).Z for symbol in elements]] = np.arange(len(elements))
    return types


def _m3gnet_class() -> Any:  # noqa: ANN401 (matgl is optional and untyped)
    """Return the class of matgl's M3GNet.

    Raises:
        InputError: matgl is not installed.
    """
    try:
        from matgl.models import M3GNet
    except ImportError as error:
        raise InputError(
            f"graph networks need matgl ({error}); install it with: pip install 'invdesign[matgl]'."
        ) from error
    return M3GNet
