"""Imported where a screening's workers are forked from: what is here they share, in one copy."""

import gc

import pymatgen.core  # noqa: F401
import smact.screening
import smact.utils.oxidation  # noqa: F401

import invdesign.predictors.property_predictor
import invdesign.predictors.stability.context_features
import invdesign.predictors.stability.model
import invdesign.screening.run  # noqa: F401

gc.freeze()  # a collection would write into every page, and so copy it
