"""How good is what a few results teach? Gaps of crystals with one, by corrections of the model's estimate.

    python benchmarks/active-learning/corrections.py ../shared/data

Labels drawn at random from the pools of ``active_learning.py``, errors measured on the other crystals that
have a gap (5 draws). Methods: the model's own estimate; a shift and a scale alone; what ships (shared errors
of like crystals, averaged over settings); BoTorch's ``SingleTaskGP``, its settings fitted to the errors.
Prints a table; writes ``corrections.json``.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from active_learning import GAP, POOLS
from scipy.stats import norm

from invdesign.campaign.active_learning.residual_gp import ErrorInputs, ErrorProcess

if TYPE_CHECKING:
    from active_learning import Pool

OUT = Path(__file__).with_name("corrections.json")
LABELS = (3, 10, 40, 80)
DRAWS = 5
Answer = tuple[np.ndarray, np.ndarray]
"""Mean and deviation of errors, in predicted deviations."""


def own(_errors: np.ndarray, _known: ErrorInputs, asked: ErrorInputs) -> Answer:
    """Nothing is learned."""
    return np.zeros(len(asked)), np.ones(len(asked))


def shift_and_scale(errors: np.ndarray, known: ErrorInputs, asked: ErrorInputs) -> Answer:
    """Correct all crystals by the same shift and scale."""
    return ErrorProcess.fit(ErrorInputs(known.unit), errors).predict(ErrorInputs(asked.unit))


def shared(errors: np.ndarray, known: ErrorInputs, asked: ErrorInputs) -> Answer:
    """Correct as the released code does."""
    return ErrorProcess.fit(known, errors).predict(asked)


def single_task(errors: np.ndarray, known: ErrorInputs, asked: ErrorInputs) -> Answer:
    """BoTorch's Gaussian process with its default priors, a reach for every dimension."""
    import torch
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    both = np.concatenate([known.vectors, asked.vectors])
    low, span = both.min(0), np.maximum(np.ptp(both, axis=0), 1e-9)
    here, there = (torch.from_numpy((v - low) / span) for v in (known.vectors, asked.vectors))
    model = SingleTaskGP(here, torch.from_numpy(errors)[:, None])
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    with torch.no_grad():
        found = model.posterior(there, observation_noise=True)
        return found.mean[:, 0].numpy(), found.variance.sqrt()[:, 0].numpy()


METHODS = {
    "the model's own": own,
    "shift and scale": shift_and_scale,
    "shared errors": shared,
    "SingleTaskGP": single_task,
}


def measure(pool: Pool, name: str, n: int) -> dict[str, float]:
    """Mean absolute error (eV), coverage of 90 % intervals, log likelihood (nats), seconds."""
    rows = [i for i, label in enumerate(pool.labels) if label[GAP] > 1e-3]
    gaps = np.array([pool.labels[i][GAP] for i in rows])
    mean, sigma = (
        np.array([getattr(pool.candidates[i].properties[GAP], k) for i in rows]) for k in ("mean", "sigma")
    )
    metrics = []
    for seed in range(DRAWS):
        order = np.random.default_rng(seed).permutation(len(rows))
        known, asked = order[:n], order[n:]
        unit = np.median(sigma[known]) / sigma
        start = time.process_time()
        shift, scale = METHODS[name](
            ((gaps - mean) / sigma)[known],
            *(ErrorInputs(unit[part], pool.vectors[rows][part]) for part in (known, asked)),
        )
        spent = time.process_time() - start
        predicted, spread = mean[asked] + sigma[asked] * shift, sigma[asked] * scale
        off = gaps[asked] - predicted
        inside = np.abs(off) < norm.ppf(0.95) * spread
        metrics.append((np.abs(off).mean(), inside.mean(), norm.logpdf(off, 0, spread).mean(), spent))
    keys = ("mae", "coverage", "log_likelihood", "seconds")
    return dict(zip(keys, np.mean(metrics, axis=0).tolist(), strict=True))


def main(data: Path) -> None:
    """Measure everything and print it."""
    warnings.filterwarnings("ignore")
    results = {}
    print("| pool | results | " + " | ".join(METHODS) + " |\n| --- | --- |" + " --- |" * len(METHODS))
    for scenario in ("pbe", "measured", "gllb"):
        pool = POOLS[scenario](data)
        for n in LABELS:
            # two or three errors fit a process with sixty reaches perfectly
            own = {name: measure(pool, name, n) for name in METHODS if n >= 10 or name != "SingleTaskGP"}
            results[f"{scenario} {n}"] = own
            cells = [
                f"{f['mae']:.2f}, {f['coverage']:.2f}, {f['log_likelihood']:.2f}"
                if (f := own.get(name))
                else ""
                for name in METHODS
            ]
            print(f"| {scenario} | {n} | {' | '.join(cells)} |", flush=True)
    OUT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
