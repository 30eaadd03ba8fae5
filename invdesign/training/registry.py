"""The trainings and builds that ``invdesign train CONFIG`` runs, by the config's ``kind``."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from invdesign.errors import InputError
from invdesign.io.config import build, read_yaml, suggest
from invdesign.io.progress import Progress
from invdesign.training.predictors.transfer import TransferResult

RECIPES = {
    "gene-diffusion": "invdesign.training.generators.gene_diffusion:GeneDiffusionConfig:train_gene_diffusion",
    "crystal-vae": "invdesign.training.generators.crystal_vae:CrystalVAEConfig:train_crystal_vae",
    "geometry-diffusion": (
        "invdesign.training.generators.geometry_diffusion:GeometryDiffusionConfig:train_geometry_diffusion"
    ),
    "geometries": "invdesign.training.generators.geometry_library:GeometryLibraryConfig:build_geometries",
    "relaxed-genes": "invdesign.training.generators.relaxed_genes:RelaxedGenesConfig:build_relaxed_genes",
    "known-materials": "invdesign.training.novelty:KnownMaterialsConfig:build",
    "mp-hull": "invdesign.training.stability.hull:HullConfig:build",
    "elements": "invdesign.training.tables.element_references:ElementsConfig:build_element_references",
    "textbook": "invdesign.training.stability.textbook:TextbookConfig:build_textbook",
    "calibration": "invdesign.training.stability.calibration:CalibrationConfig:build",
    "early-stopping": "invdesign.training.early_stopping:EarlyStoppingConfig:train_early_stopping",
    "property": "invdesign.training.predictors.property:PropertyConfig:train_property",
    "graph-band-gap": "invdesign.training.predictors.graph_band_gap:GraphBandGapConfig:train_graph_band_gap",
    "gene-rank": "invdesign.training.predictors.gene_rank:GeneRankConfig:train_gene_rank",
    "neighbors": "invdesign.training.predictors.neighbors:NeighborsConfig:build_neighbors",
    "stability": "invdesign.training.predictors.stability:StabilityConfig:train_stability",
    "synthesizability": (
        "invdesign.training.predictors.synthesizability:SynthesizabilityConfig:train_synthesizability"
    ),
}
"""Where each kind lives: module, its pydantic config, and ``build(config, *, progress) -> Path``."""


def train(path: Path, *, progress: Progress) -> Path:
    """Build the artifact that a recipe describes.

    Args:
        path: YAML with ``kind``, ``out``, mostly ``data`` and ``seed``, and the fields of the kind.
        progress: called with the share that is done and what is being done.

    Returns:
        Folder of the artifact.

    Raises:
        InputError: the file cannot be read, its kind is unknown, or a field is wrong.
    """
    fields = read_yaml(path)
    kind = str(fields.get("kind"))
    if kind not in RECIPES:
        raise InputError(f"recipe {str(path)!r}: there is no kind {kind!r}; {suggest(kind, tuple(RECIPES))}.")
    module_name, config_name, function_name = RECIPES[kind].split(":")
    module = import_module(module_name)
    config = build(getattr(module, config_name), fields, f"recipe {kind}")
    if isinstance(getattr(config, "data", None), Path) and not config.data.is_dir():
        raise InputError(
            f"data: {str(config.data)!r} is not a folder; set data: in {str(path)!r} to the one that holds "
            f"structures/ and compositions/."
        )
    folder: Path = getattr(module, function_name)(config, progress=progress)
    return folder


def train_from(
    name: str,
    data: Path,
    out: Path,
    *,
    column: str | None = None,
    unit: str = "",
    log10: bool = False,
    seed: int = 0,
    progress: Progress,
) -> TransferResult:
    """Make a model of a custom property from 10 to 1 000 labelled examples on a released model.

    Args:
        name: of the released model, or its folder.
        data: crystals or formulas with the property.
        out: folder to make; an artifact with weights, card, ``run.json`` and learning curve.
        column: the property; may be left out where only one column can be meant.
        unit: of the property.
        log10: learn the logarithm.
        seed: of cross-validation.
        progress: called with the share that is done and what is being done.

    Raises:
        InputError: model or data are missing, unreadable or too few.
    """
    from invdesign.io.provenance import sha256, write_run_json
    from invdesign.report.plots.learning_curve import draw_learning_curve
    from invdesign.training.predictors.transfer import metric_words, transfer
    from invdesign.training.predictors.transfer_cross_validation import points
    from invdesign.training.predictors.transfer_examples import read_examples

    examples = read_examples(data, column, unit=unit, log10=log10)
    outcome = transfer(examples, name, out, seed=seed, progress=progress)
    methods = dict.fromkeys(point.method for point in outcome.validation.curve)
    curves = {m: [(p.n, p.mean, p.std) for p in points(outcome.validation.curve, m)] for m in methods}
    title = f"{examples.name}: {len(examples.labels)} examples on {Path(name).name}"
    draw_learning_curve(curves, out / "learning_curve.png", ordinate=metric_words(examples), title=title)
    given = {"from": name, "data": str(data), "property": examples.name, "unit": unit, "log10": log10}
    write_run_json(out, {**given, "seed": seed, "data_sha256": sha256(data)})
    progress(1.0, f"written to {out}")
    return outcome
