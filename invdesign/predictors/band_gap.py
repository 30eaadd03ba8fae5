"""The PBE band gap of relaxed structures: the released property model that ranks and selects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invdesign.predictors.property_predictor import PropertyPredictor

if TYPE_CHECKING:
    from pathlib import Path


class BandGapPredictor(PropertyPredictor):
    """Predicts PBE band gaps (eV): metal or not, then the gap.

    Example:
        >>> BandGapPredictor.load().predict([structure])[0].value  # doctest: +SKIP
        4.9
    """

    @classmethod
    def load(cls, name: str | Path = "band-gap", prop: str | None = "band_gap") -> BandGapPredictor:
        """A released model by name, or a user's own folder.

        Raises:
            InputError: as :meth:`PropertyPredictor.load`.
        """
        return cls(super().load(name, prop).ensemble, prop)
