"""Every released artifact loads with the code that ships with it."""

import json
from importlib import import_module

import pytest
import yaml

from invdesign.io.artifacts import root
from invdesign.training.registry import RECIPES

LOADERS = {
    "property": "predictors.property_predictor:PropertyPredictor",
    "gene-rank": "predictors.gene_ranker:GeneRanker",
    "neighbors": "predictors.explain.neighbors:Neighbors",
    "stability": "predictors.stability.model:StabilityModel",
    "synthesizability": "predictors.synthesizability:Synthesizability",
    "graph-band-gap": "predictors.graph.model:GraphBandGapPredictor",
    "gene-diffusion": "generators.gene_diffusion.pipeline:GeneDiffusion",
    "crystal-vae": "generators.crystal_vae.pipeline:CrystalVAE",
    "geometry-diffusion": "generators.geometry.pipeline:GeometryDiffusionPipeline",
    "calibration": "stability.calibration:EnergyCalibration",
    "mp-hull": "stability.hull.hull:Hull",
    "known-materials": "filters.novelty:KnownMaterials",
    "early-stopping": "relaxation.early_stopping:EarlyStoppingRule",
}
FUNCTIONS = {
    "geometries": "data.prototypes:load_library",
    "relaxed-genes": "data.relaxed_genes:read_relaxed",
    "elements": "dft.results.elements:references",
}
CARDS = {"textbook"}  # measured, and nothing that is loaded
FOLDERS = sorted(path for kind in ("models", "validators") for path in root(kind).iterdir() if path.is_dir())


def imported(where):
    module, name = where.split(":")
    return getattr(import_module(f"invdesign.{module}"), name)


def kind_of(folder):
    return yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))["kind"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_it_loads(folder):
    kind = kind_of(folder)
    if kind in LOADERS:
        assert imported(LOADERS[kind]).load(folder.name) is not None
    elif kind in CARDS:
        assert json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    elif kind == "elements":
        assert imported(FUNCTIONS[kind])()
    else:
        assert imported(FUNCTIONS[kind])(folder.name) is not None


@pytest.mark.parametrize(
    "index", sorted(root("models").glob("*/model_index.json")), ids=lambda path: path.parent.name
)
def test_a_pipeline_names_classes_that_are_there(index):
    parts = json.loads(index.read_text(encoding="utf-8"))
    for module, name in (part for part in parts.values() if isinstance(part, list)):
        assert hasattr(import_module(module), name)


def test_every_kind_is_one_that_train_knows():
    assert (
        {kind_of(folder) for folder in FOLDERS} == RECIPES.keys() == LOADERS.keys() | FUNCTIONS.keys() | CARDS
    )
