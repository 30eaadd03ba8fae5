"""Training of an ensemble on a table of features and labels: fit, calibrate, know the domain.

Serves every predictor: a label may be missing (NaN), and so may a feature (a row that is
known by its composition only still trains the shared layers).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from invdesign.core.candidate import Z90
from invdesign.errors import InputError
from invdesign.io.progress import Progress
from invdesign.predictors.features.composition_and_gene import FRACTIONS
from invdesign.predictors.models.ensemble import Domain, Ensemble, EnsembleNetwork, Head, Shape
from invdesign.predictors.models.kernel import CLIP, LOGIT, Kernel, gaussian
from invdesign.training.conformal import by_thirds, temperature
from invdesign.training.predictors.table import PARTS, Settings, Table
from invdesign.training.predictors.trees import grow, out_of_fold_features

LEAST = {"train": 20, "validation": 1, "calibration": 1, "test": 1}
"""Rows with a label that each head needs in each part."""
ROWS_ADVISED = 100
LEAST_SCORES = 9
"""Errors of a head in validation and calibration: the largest of fewer bounds less than 90 %."""


def fit(table: Table, heads: tuple[Head, ...], settings: Settings, seed: int, progress: Progress) -> Ensemble:
    """Train and calibrate an ensemble, and find its applicability domain.

    Args:
        table: rows of all parts; ``test`` rows are not touched.
        heads: what each label column is.
        settings: sizes and schedule.
        seed: of weights, bags and batches.
        progress: called with (share done, message) after each epoch.

    Raises:
        InputError: as :func:`check_labels`.
    """
    check_labels(table, heads)
    torch.manual_seed(seed)
    shape = Shape(
        table.features.shape[1], heads, settings.members, settings.width, settings.depth, settings.dropout
    )
    train = table.rows("train")
    feature_mean = np.nan_to_num(np.nanmean(table.features[train], axis=0))
    feature_std = np.nan_to_num(np.nanstd(table.features[train], axis=0))
    ensemble = Ensemble(
        EnsembleNetwork(shape),
        feature_mean,
        np.where(feature_std > 1e-6, feature_std, 1.0),
        _label_scale(table.labels[train], heads),
    )
    x = torch.from_numpy(ensemble.standardise(table.features))
    _optimise(ensemble, x, table, settings=settings, seed=seed, progress=progress)
    # in the end the rows that set the intervals are trained on as well: these then cover a little over 90 %
    learned = np.concatenate([table.rows(part) for part in PARTS if part != "test"])
    if settings.kernel:
        choice = best_kernel(ensemble, x.numpy(), table, settings.kernel)
        ensemble.kernel = kernel_of(ensemble, x.numpy(), table, choice, train)
    if settings.trees:
        stacked = out_of_fold_features(ensemble, x.numpy(), table, settings, seed=seed, rows=np.sort(learned))
        ensemble.trees = grow(ensemble, x.numpy(), table, settings, seed=seed, rows=train, stacked=stacked)
    calibrate(ensemble, x.numpy(), table)
    if settings.kernel:
        ensemble.kernel = kernel_of(ensemble, x.numpy(), table, choice, learned)
    if settings.trees:
        ensemble.trees = grow(ensemble, x.numpy(), table, settings, seed=seed, rows=learned, stacked=stacked)
    ensemble.domain = find_domain(x[train].numpy(), x[table.rows("calibration")].numpy(), seed)
    return ensemble


def check_labels(table: Table, heads: tuple[Head, ...]) -> None:
    """Whether every head has labels enough to learn, calibrate and measure.

    Raises:
        InputError: too few in some part, or all of one value.
    """
    for index, head in enumerate(heads):
        column, label = table.labels[:, index], f"{head.name} above zero" if head.zero else head.name
        known = column > 0 if head.zero else ~np.isnan(column)
        rows = {part: table.rows(part)[known[table.rows(part)]] for part in PARTS}
        n = sum(map(len, rows.values()))
        for part, least in LEAST.items():
            if len(rows[part]) < least:
                raise _too_few(label, n, part, len(rows[part]), least)
        held = table.source[np.concatenate([rows["validation"], rows["calibration"]])]
        for counted in calibration_rows(head, held):
            if counted.sum() < LEAST_SCORES:
                apart = ", hypothetical and known ones apart" if head.hypothetical else ""
                raise _too_few(
                    label, n, f"validation and calibration{apart}", int(counted.sum()), LEAST_SCORES
                )
        if np.ptp(column[rows["train"]]) == 0:
            raise InputError(
                f"data: all {len(rows['train'])} training rows with a {label} have the same, "
                f"{column[rows['train'][0]]:g}; there is nothing to learn: give a property that varies."
            )


def _too_few(label: str, n: int, part: str, found: int, least: int) -> InputError:
    return InputError(
        f"data: {n} rows have a {label}, {found} of them in {part}; at least {least} are needed there, which "
        f"about {ROWS_ADVISED} rows give: give more, or train --from a released model on a few."
    )


def _label_scale(labels: np.ndarray, heads: tuple[Head, ...]) -> np.ndarray:
    """Shift and unit of each head's normal part, (heads, 2)."""
    scale = []
    for column, head in zip(labels.T, heads, strict=True):
        known = column[~np.isnan(column)]
        known = known[known > 0] if head.zero else known
        scale.append((float(np.median(known)), float(known.std())))
    return np.asarray(scale, dtype=np.float32)


def _loss(out: torch.Tensor, y: torch.Tensor, weight: torch.Tensor, ensemble: Ensemble) -> torch.Tensor:
    """Mean loss: cross-entropy of zero, smooth absolute error of the mean, likelihood of sigma.

    The mean is not weighed by its own sigma: a likelihood alone lets hard cases go.

    Args:
        out: raw outputs, (members, n, heads, 3).
        y: labels, (members, n, heads), NaN where not known.
        weight: of each row, (members, n).
        ensemble: has the heads and the label scales.
    """
    total = out.new_zeros(())
    for index, head in enumerate(ensemble.heads):
        logit, mean, log_sigma = out[:, :, index].unbind(-1)
        label = y[:, :, index]
        known = ~torch.isnan(label)
        if head.zero:
            zero = (label[known] <= 0).float()
            entropy = functional.binary_cross_entropy_with_logits(logit[known], zero, reduction="none")
            total = total + (weight[known] * entropy).sum()
            known = known & (label > 0)
        shift, unit = ensemble.label_scale[index]
        error = mean[known] - (label[known] - float(shift)) / float(unit)
        log_s = log_sigma[known].clamp(-7.0, 3.0)
        likelihood = log_s + 0.5 * (error.detach() * torch.exp(-log_s)) ** 2
        distance = functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.1, reduction="none")
        total = total + (weight[known] * (distance + 0.1 * likelihood)).sum()
    return total / weight.sum()


def _epoch_rows(
    rows: np.ndarray, extra: np.ndarray, settings: Settings, rng: np.random.Generator
) -> torch.Tensor:
    """One epoch's row indices of every member, shuffled, (members, n)."""
    n_extra = min(len(extra), int(settings.extra_share * rows.shape[1]))
    drawn = [np.concatenate([bag, rng.choice(extra, n_extra, replace=False)]) for bag in rows]
    return torch.from_numpy(np.stack([rng.permutation(bag) for bag in drawn]))


def _optimise(
    ensemble: Ensemble, x: torch.Tensor, table: Table, *, settings: Settings, seed: int, progress: Progress
) -> None:
    """AdamW with one warm-up and decay; keeps the weights of the best validation loss."""
    rng = np.random.default_rng(seed)
    network, y = ensemble.network, torch.from_numpy(table.labels.astype(np.float32))
    main, extra = table.rows("train"), np.flatnonzero((table.part == "train") & table.extra)
    weight = torch.from_numpy(np.where(table.extra, settings.extra_weight, 1.0).astype(np.float32))
    times = np.array([settings.repeat.get(source, 1) for source in table.source[main].tolist()])
    main = np.repeat(main, times)
    bags = np.stack(
        [rng.choice(main, int(settings.bag * len(main)), replace=False) for _ in range(settings.members)]
    )
    validation = torch.from_numpy(table.rows("validation"))
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    n_batches = -(-_epoch_rows(bags, extra, settings, rng).shape[1] // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.epochs * n_batches, pct_start=0.15
    )
    best, best_epoch, kept = float("inf"), 0, network.state_dict()
    for epoch in range(settings.epochs):
        network.train()
        for rows in torch.split(_epoch_rows(bags, extra, settings, rng), settings.batch, dim=1):
            loss = _loss(network(x[rows]), y[rows], weight[rows], ensemble)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            schedule.step()
        network.eval()
        with torch.inference_mode():
            out = network(x[validation].expand(settings.members, -1, -1)).mean(0, keepdim=True)
            validation_loss = float(_loss(out, y[validation][None], weight[validation][None], ensemble))
        if validation_loss < best:
            best, best_epoch = validation_loss, epoch
            kept = {k: v.clone() for k, v in network.state_dict().items()}
        progress((epoch + 1) / settings.epochs, f"validation loss {validation_loss:.4f} (best {best:.4f})")
        if epoch - best_epoch >= settings.patience:
            break
    network.load_state_dict(kept)
    network.eval()


def calibrate(ensemble: Ensemble, standardised: np.ndarray, table: Table) -> None:
    """Fit temperature and interval scales of each reported head on the parts that no weight was fitted to.

    The scale is the finite-sample 90 % quantile of |error| / (1.645 sigma).
    """
    calibration = ensemble.calibration
    places = (calibration.edges, calibration.scales), (calibration.known_edges, calibration.known_scales)
    rows = np.concatenate([table.rows("validation"), table.rows("calibration")])
    found = ensemble.distributions(standardised[rows])
    raw_logit = ensemble.logits(standardised[rows])
    for index, head in enumerate(ensemble.heads):
        label = table.labels[rows, index]
        known = ~np.isnan(label)
        sets = calibration_rows(head, table.source[rows])
        if head.zero:
            counted = known & np.any(sets, axis=0)
            calibration.temperature[head.name] = temperature(raw_logit[counted, index], label[counted] <= 0)
            known &= label > 0
        mean, sigma = found[head.name].mean, found[head.name].sigma
        score = np.abs(label - mean) / (Z90 * sigma)
        for chosen, (edges, scales) in zip(sets, places, strict=False):
            counted = known & chosen
            edges[head.name], scales[head.name] = by_thirds(mean[counted], score[counted])


def calibration_rows(head: Head, source: np.ndarray) -> list[np.ndarray]:
    """Which rows, of these sources (n,), calibrate a head's intervals, (n,) bool.

    Two sets where the head distinguishes hypothetical crystals, the first, from known ones.
    """
    if head.hypothetical:
        return [source == head.hypothetical, source != head.hypothetical]
    return [source == head.calibrated_on if head.calibrated_on else np.ones(len(source), dtype=bool)]


def find_domain(train: np.ndarray, unseen: np.ndarray, seed: int) -> Domain:
    """Cluster the training rows (n, d) in whitened principal components (k-means).

    The threshold is the distance within which 99 % of ``unseen`` rows (m, d) of the same kind lie.
    """
    from sklearn.cluster import KMeans

    n_axes, n_centres = min(24, train.shape[1]), min(1500, len(train))
    generator = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(train)
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    axes = vectors[:, -n_axes:] / values[-n_axes:].clamp(min=1e-6).sqrt()
    points = (x @ axes).numpy()  # (n, axes)
    start = points[torch.randperm(len(x), generator=generator)[:n_centres].numpy()]
    found = KMeans(n_centres, init=start, n_init=1, max_iter=8, tol=0.0).fit(points)
    domain = Domain(axes.contiguous().numpy(), found.cluster_centers_, 0.0)
    return replace(domain, threshold=float(np.quantile(domain.distance(unseen), 0.99)))


ROUNDS = 6
"""Of reweighting; the error changes by less than a percent after them."""


def fit_kernel(
    standardised: np.ndarray, targets: np.ndarray, *, width: float, ridge: float, most: float
) -> Kernel:
    """Solve the ridge regression of each target on the rows where it is known, with Huber's loss.

    Found by reweighting: no row may pull harder than ``most``. A wrong label in twenty is common in computed
    properties; on AFLOW's bulk moduli this takes the error of the logarithm from 0.034 to 0.031.

    Args:
        standardised: features, (m, d).
        targets: (m, heads, 2) zero logit and mean, centred near 0; NaN where not known.
        width: of the kernel, as in :class:`Kernel`.
        ridge: added to the diagonal.
        most: largest weight of a row.
    """
    points = np.clip(standardised, -CLIP, CLIP).astype(np.float16)
    x = torch.from_numpy(points.astype(np.float32))
    gram = gaussian(x, x, width)
    weights = np.zeros(targets.shape, dtype=np.float32)
    for place in np.ndindex(*targets.shape[1:]):
        target = targets[(slice(None), *place)]
        known = np.flatnonzero(~np.isnan(target))
        if len(known):
            block = gram[np.ix_(known, known)]
            weights[(known, *place)] = _robust(block, torch.from_numpy(target[known]), ridge, most).numpy()
    return Kernel(points, weights, width)


def _robust(gram: torch.Tensor, target: torch.Tensor, ridge: float, most: float) -> torch.Tensor:
    """Weights (m,) of one target (m,)."""
    noise = torch.full_like(target, ridge)
    weights = target
    for _ in range(ROUNDS):
        factor = torch.linalg.cholesky(gram + torch.diag(noise))
        weights = torch.cholesky_solve(target[:, None].float(), factor)[:, 0]
        noise = ridge * (noise * weights / (ridge * most)).abs().clamp(min=1.0)
    return weights


RIDGES = ((0.003, 10.0), (0.01, 5.0), (0.03, 3.0))
"""Tried for a kernel regression: ridge, and how hard a row may pull."""


def best_kernel(
    ensemble: Ensemble, standardised: np.ndarray, table: Table, widths: tuple[float, ...]
) -> tuple[float, float, float]:
    """Width, ridge and hardest pull whose regression of the training rows errs least on validation."""
    targets, train, unseen = _targets(ensemble, table), table.rows("train"), table.rows("validation")

    def error(choice: tuple[float, float, float]) -> float:
        found = kernel_of(ensemble, standardised, table, choice, train).predict(standardised[unseen])
        return float(np.nanmean(np.abs(found - targets[unseen]) / (LOGIT, 1.0)))

    return min(((width, *ridge) for width in widths for ridge in RIDGES), key=error)


def kernel_of(
    ensemble: Ensemble,
    standardised: np.ndarray,
    table: Table,
    choice: tuple[float, float, float],
    rows: np.ndarray,
) -> Kernel:
    """Fit the kernel regression to some rows, without the columns of single elements."""
    width, ridge, most = choice
    seen = standardised[rows, FRACTIONS:]
    return fit_kernel(seen, _targets(ensemble, table)[rows], width=width, ridge=ridge, most=most)


def _targets(ensemble: Ensemble, table: Table) -> np.ndarray:
    """Return the targets (n, heads, 2): logit of zero and scaled label; nan: not known."""
    shift, unit = ensemble.label_scale[:, 0], ensemble.label_scale[:, 1]
    zero = np.array([head.zero for head in ensemble.heads])
    targets = np.full((*table.labels.shape, 2), np.nan, dtype=np.float32)
    signs = np.where(np.isnan(table.labels), np.nan, np.where(table.labels <= 0, LOGIT, -LOGIT))
    targets[..., 0] = np.where(zero, signs, np.nan)
    targets[..., 1] = np.where(zero & (table.labels <= 0), np.nan, (table.labels - shift) / unit)
    return targets
