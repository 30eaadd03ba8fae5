"""What drove a graph network's prediction: integrated gradients, atom by atom.

An atom enters the network as the embedding of its element. Every atom's goes in a straight line from the mean
over all elements to that of its element, the geometry staying as it is; the gradient of the predicted value
by an atom's embedding, integrated along the line, is that atom's contribution. Together they are the
difference between the two ends, but for the error of the quadrature, the residual.

The mean and not zero is where the line starts: where the origin of an embedding lies means nothing, while the
mean shifts with it; and the network takes sites of this average element for a metal, so that contributions
start from no gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.elements import SYMBOLS
from invdesign.potentials.batching import CrystalBatch, Pairs, neighbour_pairs
from invdesign.potentials.interface import as_frames
from invdesign.predictors.explain.shapley import Attribution, Driver

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.potentials.interface import Frame
    from invdesign.predictors.graph.model import GraphBandGapPredictor

START = "the same sites, each of an average element"
POINTS = (64, 128, 256)  # of Gauss and Legendre; more where the residual is large
COMPLETE = 0.01  # of the difference between the ends, or
NEGLIGIBLE = 1e-3  # eV: a residual that is small enough
_EMBEDDING = "m3gnet.embedding.layer_node_embedding.weight"


def attribute_atoms(
    evaluator: GraphBandGapPredictor, structures: Sequence[Structure], failures: dict[int, str]
) -> dict[int, Attribution]:
    """Take predictions apart, by index; an element's contribution is that of its atoms.

    Args:
        evaluator: the graph network.
        structures: the crystals.
        failures: is filled in by index with why a crystal could not be evaluated.
    """
    frames = as_frames(structures, failures)
    found = {}

    def compute(members: list[int], batch: CrystalBatch) -> None:
        for k, frame in zip(members, batch.frames, strict=True):
            found[k] = _taken_apart(evaluator, frame, neighbour_pairs(frame, evaluator.network.shape.cutoff))

    evaluator.batcher.run(frames, compute, failures)
    return found


def _taken_apart(evaluator: GraphBandGapPredictor, frame: Frame, pairs: Pairs) -> Attribution:
    ends, _ = _along(evaluator, frame, pairs, np.array([0.0, 1.0]))
    baseline, expected = ends.tolist()
    for n in POINTS:
        nodes, weights = np.polynomial.legendre.leggauss(n)
        _, gradients = _along(evaluator, frame, pairs, (nodes + 1) / 2)
        sites = weights / 2 @ gradients
        residual = expected - baseline - float(sites.sum())
        if abs(residual) <= max(COMPLETE * abs(expected - baseline), NEGLIGIBLE):
            break
    symbols = [SYMBOLS[number] for number in frame.numbers]
    shares = dict.fromkeys(symbols, 0.0)
    for symbol, share in zip(symbols, sites.tolist(), strict=True):
        shares[symbol] += share
    drivers = sorted(
        (Driver(*share) for share in shares.items()), key=lambda driver: -abs(driver.contribution)
    )
    return Attribution(baseline, expected, tuple(drivers), sites, START, residual)


def _along(
    evaluator: GraphBandGapPredictor, frame: Frame, pairs: Pairs, steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Value (n,) and its gradient by each atom's progress (n, atoms), at n steps from 0 to 1; eV."""
    import torch
    from torch.func import functional_call

    from invdesign.potentials.matgl.graph import pair_graph

    network = evaluator.network
    table = network.get_parameter(_EMBEDDING).detach()
    end = table[evaluator.types[frame.numbers]]
    start = table.mean(0).expand_as(end)
    values, gradients = [], []
    at_once = max(1, evaluator.batcher.max_edges // max(1, 2 * len(pairs.first)))
    for part in np.split(steps, range(at_once, len(steps), at_once)):
        progress = torch.from_numpy(part).to(end)[:, None].repeat(1, len(end)).requires_grad_()
        atoms = start + progress[:, :, None] * (end - start)
        n = len(part)
        graph = pair_graph(
            CrystalBatch.join([frame] * n, [pairs] * n), np.arange(n * len(end)), network, evaluator.device
        )
        # a row of the table for each atom, in place of one for each element
        raw = functional_call(network, {_EMBEDDING: atoms.flatten(0, 1)}, (graph,))
        value = evaluator.expected(raw)
        (gradient,) = torch.autograd.grad(value.sum(), progress)
        values.append(value.detach().cpu().double().numpy())
        gradients.append(gradient.cpu().double().numpy())
    return np.concatenate(values), np.concatenate(gradients)
