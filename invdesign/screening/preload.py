"""Imported by the server that the workers of a screening are forked from: they share this in one copy."""

import gc
import os
from contextlib import suppress

import pymatgen.core  # noqa: F401
import smact.screening
import smact.utils.oxidation  # noqa: F401

import invdesign.predictors.property_predictor
import invdesign.predictors.stability.context_features
import invdesign.predictors.stability.model
import invdesign.screening.work_units
import invdesign.screening.writers  # noqa: F401
from invdesign.errors import InputError
from invdesign.screening.config import ScreenConfig
from invdesign.screening.gates import predictor, stability_model

if os.environ.get("INVDESIGN_PRELOAD_MODELS"):
    _CONFIG = ScreenConfig()
    with suppress(InputError):  # the worker that needs a damaged artifact reports it
        stability_model(_CONFIG.stability).context  # noqa: B018
        for _model in set(_CONFIG.estimated.values()):
            predictor(_model)
gc.freeze()  # a collection would write into every page, and so copy it
