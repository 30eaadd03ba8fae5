"""Writing a trained predictor: weights, recipe, and the card with what it measured on held-out crystals."""

from __future__ import annotations

from collections.abc import Callable, Container

import numpy as np

from invdesign.predictors.gene_ranker import query_origin_features
from invdesign.predictors.models.ensemble import Distribution, Ensemble
from invdesign.training.metrics import domain_metrics, gap_metrics, held_out, rank_metrics, trivial
from invdesign.training.predictors.table import PARTS, PredictorConfig, Table

View = Callable[[np.ndarray], np.ndarray]

HULL_THRESHOLD = 0.1  # eV/atom
GAP_ROWS = {
    "n": "non-metals held out",
    "mae": "MAE of the gap on non-metals, eV",
    "rmse": "RMSE of the gap on non-metals, eV",
    "coverage_90": "90 % interval holds, non-metals",
    "coverage_90_third_1": "… lowest third of predictions",
    "coverage_90_third_2": "… middle third",
    "coverage_90_third_3": "… highest third",
    "mean_width_90": "mean width of the interval, eV",
    "n_all": "crystals held out",
    "auc_zero": "AUC metal / non-metal",
    "ece_zero": "calibration error of P(metal)",
    "mae_all": "MAE of the single best figure, all crystals, eV",
    "mae_best_on_nonzero": "MAE of the single best figure (0 if metal is likelier), non-metals, eV",
}
_HULL_ROWS = {
    "n": "crystals held out",
    "share_under": "share under 0.1 eV/atom",
    "spearman": "rank correlation",
    "auc_under": "AUC of E above hull < 0.1 eV/atom, by the mean",
    "auc_probability": "AUC of the same, by the probability",
    "share_under_best_tenth": "share under 0.1 in the best tenth by probability",
    "ece_under": "calibration error of that probability",
    "mae": "MAE, eV/atom",
    "rmse": "RMSE, eV/atom",
    "coverage_90": "90 % interval holds",
    "coverage_90_third_1": "… lowest third of predictions",
    "coverage_90_third_2": "… middle third",
    "coverage_90_third_3": "… highest third",
}


def write_release(ensemble: Ensemble, config: PredictorConfig, card: str) -> None:
    """Write weights, configuration, card and recipe to ``config.out``."""
    import yaml

    ensemble.save(config.out, config.kind)
    (config.out / "README.md").write_text(card)
    (config.out / "recipe.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def _figures(
    ensemble: Ensemble,
    table: Table,
    head: str,
    *,
    compared: Container[str] | None = None,
    asked: View | None = None,
) -> dict[str, dict[str, float]]:
    """Columns of the card's table: model, as queries are shown to it, composition alone, trivial; by source.

    Args:
        ensemble: the model.
        table: its test rows are measured.
        head: property.
        compared: the sources that composition alone and trivial are given for; all if None.
        asked: features of a held-out crystal to those of a query, if they differ.
    """
    index = [h.name for h in ensemble.heads].index(head)
    zero = ensemble.heads[index].zero

    def measure(found: Distribution, label: np.ndarray) -> dict[str, float]:
        return gap_metrics(found, label) if zero else rank_metrics(found, label, HULL_THRESHOLD)

    columns = {}
    for source, (found, label, inside) in held_out(ensemble, table, head).items():
        columns[source] = measure(found, label) | {"inside": float(inside.mean())}
    if asked:
        for source, (found, label, _) in held_out(ensemble, table, head, asked).items():
            columns[f"{source}, as a query"] = measure(found, label)
    for source, (found, label, _) in held_out(ensemble, table, head, _composition_alone(table)).items():
        if compared is not None and source not in compared:
            continue
        columns[f"{source}, composition alone"] = measure(found, label)
        columns[f"{source}, trivial"] = measure(trivial(table, index, len(label), zero=zero), label)
    return columns


def _composition_alone(table: Table) -> View:
    """Hides everything but the composition: what the rest of the features adds."""
    width = table.composition_width

    def seen(features: np.ndarray) -> np.ndarray:
        alone = features.copy()
        alone[:, width:] = np.nan
        alone[:, width] = 0.0
        return alone

    return seen


def markdown(columns: dict[str, dict[str, float]], names: dict[str, str]) -> str:
    """Markdown table, one row a figure, one column a data set or baseline."""
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for key, words in names.items():
        cells = [f"{c[key]:d}" if isinstance(c[key], int) else f"{c[key]:.3f}" for c in columns.values()]
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def split_words(table: Table) -> str:
    """How the rows were split, in words."""
    sizes = ", ".join(f"{len(table.rows(part))} {part}" for part in PARTS)
    return (
        f"Split by reduced composition (no compound on two sides): {sizes} crystals; "
        f"{int(table.extra.sum())} further compositions teach the composition part, none of them held out. "
        "Early stopping on validation; temperature and interval scales from validation and calibration; "
        "figures from test."
    )


def gene_rank_card(ensemble: Ensemble, table: Table) -> str:
    """Return the card of a gene ranker."""
    compared = ("wbm", "generated")
    return f"""# gene-rank: energy above hull and band gap of a generated gene, before any geometry

{ensemble.network.shape.members} residual networks on features of the composition, the space group, which
elements occupy which sites, the hull at the composition (its depth, how many phases the chemical system has,
into what it would decompose), and the known crystals with the same space group and Wyckoff letters (whether
there are any, how many, how unlike the elements of the nearest are, reported ones apart: a gene inherits its
geometry from the nearest); no geometry. It decides which genes are worth a relaxation; relaxed candidates are
judged by others.

**Data.** E above hull of `mp20` and `mpts52` (reported crystals of at most 20 atoms), `wbm` (hypothetical;
computed against `mp-hull` on one energy scale) and `relaxed-genes` (generated; relaxed with M3GNet, mean of
its and TensorNet-MatPES's heights, rejected ones included); values beyond -0.2 and 0.5 eV/atom are cut
there. PBE gaps of mp20 and wbm; of `relaxed-genes` what `band-gap` tells of the relaxed structures. The
height above hull of the lowest entry of 85 000 compositions (`mp_hull`) and the lowest gap of 73 000
(`mp_band_gap`) teach the composition part; formation energies are learned beside them, for the shared
layers only. Where a crystal is from (reported, substituted, generated) is an input: a query counts as
generated for E above hull, and as halfway between reported and substituted for its gap (as generated it
would follow `band-gap`, and intervals miss DFT). mp20, mpts52 and wbm are themselves the known crystals
(`models/geometries`): for these rows the nearest is sought among other
compositions. All CC BY 4.0.
{split_words(table)} One split, one seed; a handful of settings
were compared on these same test crystals, so expect slightly worse elsewhere.

Columns: "generated" is the campaign of `relaxed-genes` that relaxed nearly all its survivors. None of its
compositions is learned from; half of it calibrates the intervals of E above hull, half is the test.
"generated, chosen" are campaigns that relaxed the best of an earlier ranker.

**CHGNet, which judges campaigns, has no part in this.** What it says of candidates in the order of this
ranker, yield per relaxation and per core second: `docs/concepts/pre-ranking.md`.

## Held-out E above hull
{markdown(_figures(ensemble, table, "e_above_hull", compared=compared), _HULL_ROWS)}

Earlier rankers on these generated crystals: without similarity to known crystals AUC 0.759, rank correlation
0.498, 90 % interval held 0.878; the first one, without generated crystals and hull too (on all 1 361): 0.557,
0.205, 0.626.

{_domain(domain_metrics(ensemble, table, "e_above_hull"))}

## Held-out band gap
{markdown(_figures(ensemble, table, "band_gap", compared=compared, asked=query_origin_features), GAP_ROWS)}

"As a query": counted as halfway between reported and substituted. "Composition alone" is this model with
space group, sites, hull, known crystals and origin hidden; "trivial" gives every crystal the same answer.

## What it is for
Ordering thousands of generated genes before relaxing some of them. The "generated" column is the one that
matters.

## What it is not for
A verdict on stability. Crystals of other generators: its labels are of `gene-diffusion`'s. Genes of more than
20 atoms. Finding the unfamiliar: it prefers genes like known crystals, since those hold. It does not see
geometry: two crystals of one gene get one answer. Hull and known crystals are `mp-hull` and `geometries`,
whatever a campaign uses.
"""


def _domain(found: dict[str, float | None]) -> str:
    outside = f", {found['mae_outside']:.3f} outside" if found["mae_outside"] is not None else ""
    return (
        f"{found['n_outside']} of {found['n']} held-out rows are flagged as outside the training domain; "
        f"mean absolute error {found['mae_inside']:.3f} inside{outside}."
    )
