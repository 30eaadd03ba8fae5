"""The measured band gap next to the PBE gap: the line between both, and estimates that do not contradict.

The line is fitted by least absolute deviations to 201 known compounds of mp20 with a PBE gap and a measured
one (Zhuo et al. 2018; test compositions left out). It is a rule of thumb: 90 % of the measured gaps lie
within -1.2 and +1.8 eV of it (``benchmarks/prediction/measured_gap.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf, isfinite
from typing import TypeVar

import numpy as np

from invdesign.core.candidate import Estimate, Estimates
from invdesign.core.properties import MEASURED_GAP, PBE_GAP, Window

AnyEstimate = TypeVar("AnyEstimate", Estimate, Estimates)

SLOPE, OFFSET = 1.18, 0.36  # measured gap = SLOPE × PBE gap + OFFSET, eV
NEVER = 1e-9  # not 0: a gap stays a quantity that may be zero, and is never negative
METAL_TOO = 0.91
"""Share of 619 compounds of mp20 that PBE calls metals and that have no measured gap above 0.3 eV."""
NARROW = 1.0  # eV: gaps up to which PBE misses some (Ge, InAs)
LEAST = 0.1  # eV: a smaller PBE gap is not asked of a generator
TOLD = (0.5, 3.0)  # eV: windows of the PBE gap that somebody may have meant as measured


def as_pbe(measured: Window) -> Window:
    """Return the PBE gaps of a window of measured gaps, by the line."""
    low, high = ((end - OFFSET) / SLOPE if isfinite(end) else end for end in (measured.low, measured.high))
    return Window(max(0.0, low) if low > -inf else low, max(LEAST, high))


def as_measured(pbe: Window) -> Window:
    """Return the measured gaps of a window of PBE gaps, by the line."""
    return Window(*(SLOPE * end + OFFSET if isfinite(end) and end else end for end in (pbe.low, pbe.high)))


def meaning(pbe: Window) -> str:
    """Say what a window of the PBE gap means on the measured scale; empty far from 0.5 to 3 eV."""
    if not any(TOLD[0] <= end <= TOLD[1] for end in (pbe.low, pbe.high)):
        return ""
    window = as_measured(pbe)
    if window.low == -inf:
        return f"measured: below about {window.high:.1f} eV"
    if window.high == inf:
        return f"measured: above about {window.low:.1f} eV"
    return f"measured: about {window.low:.1f} to {window.high:.1f} eV"


def agreeing(estimates: Mapping[str, AnyEstimate]) -> dict[str, AnyEstimate]:
    """Return estimates whose measured gap agrees with their PBE gap.

    It is no metal where PBE opens a gap. Where PBE opens none it nearly always is one, unless it is narrow.
    """
    found = dict(estimates)
    if PBE_GAP in found and MEASURED_GAP in found:
        pbe, measured = found[PBE_GAP], found[MEASURED_GAP]
        wide = np.asarray(measured.mean) > NARROW
        least = np.where(wide, np.maximum(METAL_TOO * np.asarray(pbe.p_zero), NEVER), NEVER)
        most = np.maximum(pbe.p_zero, NEVER)
        found[MEASURED_GAP] = replace(measured, p_zero=np.clip(measured.p_zero, least, most))
    return found
