"""Imported where a screening's workers are forked from: what is here they share, in one copy."""

import gc

import pymatgen.core  # noqa: F401
import smact.screening
import smact.utils.oxidation  # noqa: F401

import invdesign.predictors.property
import invdesign.predictors.stability
import invdesign.predictors.surroundings
import invdesign.screening.run  # noqa: F401

gc.freeze()  # a collection would write into every page, and so copy it
