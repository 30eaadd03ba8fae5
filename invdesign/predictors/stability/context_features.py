"""Features of a composition: itself, its charges, the hull of its competitors, similar compounds.

The compound of the composition itself, known or not, is never seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from invdesign.composition.oxidation_state_arrays import ChargeCode
from invdesign.composition.oxidation_states import ChargeRules
from invdesign.filters.charge_balance_batch import charge_verdicts
from invdesign.predictors.features.composition_and_gene import composition_matrix
from invdesign.predictors.stability.analogues import Analogues, system_keys
from invdesign.stability.hull.batch import HullBatch

if TYPE_CHECKING:
    from invdesign.composition.batch import CompositionBatch
    from invdesign.predictors.stability.analogues import Known
    from invdesign.stability.hull.hull import Hull

VERSION = 1
BATCH = 8192
_RULES = (ChargeRules(commonality="low"), ChargeRules(commonality="medium"))


class HullContext:
    """Known phases and compounds as look-up tables; makes the features."""

    def __init__(self, hull: Hull, known: Known, hidden: NDArray[np.uint64] | None = None) -> None:
        """Prepare the tables.

        Args:
            hull: of known phases.
            known: compounds with their energies above hull.
            hidden: chemical systems (``system_keys``) of which nothing is to be known, to measure.
        """
        if hidden is None:
            self.hull = HullBatch(hull)
        else:
            self.hull = HullBatch(hull, ~np.isin(system_keys(hull.numbers), hidden))
            known = known.take(~np.isin(system_keys(known.batch.numbers), hidden))
        self.analogues = Analogues(known)

    def features(self, batch: CompositionBatch) -> NDArray[np.float32]:
        """Features (n, d), NaN where unknown."""
        parts = [self._features(batch.take(slice(i, i + BATCH))) for i in range(0, len(batch), BATCH)]
        return np.concatenate(parts)

    def _features(self, batch: CompositionBatch) -> NDArray[np.float32]:
        around = self.hull.competitors(batch)
        charges = [charge_verdicts(batch, rules) for rules in _RULES]
        columns = [
            around.energy,
            np.log1p(around.n_phases),
            np.log1p(around.n_full),
            around.nearest,
            around.pure,
            np.log(batch.amounts.sum(axis=1)),
            np.log(batch.amounts.max(axis=1)),
            *[code > 0 for code in charges],
            charges[0] == ChargeCode.INTERMETALLIC,
        ]
        parts = [
            composition_matrix(batch.counts()),
            np.stack(columns, axis=1),
            self.analogues.features(batch, around.energy),
        ]
        return np.concatenate(parts, axis=1).astype(np.float32)
