"""Formulas in, one row of verdicts each out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from invdesign.validators.charge import charge_balance
from invdesign.validators.novelty import KnownMaterials, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class ScreenedFormula:
    """What the gates that need no structure say of a formula.

    Attributes:
        formula: as it was given.
        balanced: whether oxidation states balance, or none are needed (intermetallics, elements).
        charge: the likeliest states, or the reason why there are none.
        rarest_state_share: share of ICSD reports of the rarest state used, where there are states.
        known: ``yes`` (Materials Project), ``hypothetical`` (WBM only) or ``no``.
    """

    formula: str
    balanced: bool
    charge: str
    rarest_state_share: float | None
    known: str

    def row(self) -> dict[str, str | bool | float | None]:
        """For a table or JSON."""
        return asdict(self)


def screen(formulas: Iterable[str], known: KnownMaterials | None = None) -> Iterator[ScreenedFormula]:
    """Judge formulas one by one, about 5 000 a second.

    Args:
        formulas: such as ``CuInS2``, ``Ca3(PO4)2``, ``Li0.5CoO2``.
        known: index of known materials; the released one if not given.

    Raises:
        InputError: at the first formula that is none.
    """
    index = known or KnownMaterials.load()
    for formula in formulas:
        charge = charge_balance(formula)
        source = index.known_composition(formula)
        status = "no" if not source else "hypothetical" if source == Source.HYPOTHETICAL else "yes"
        yield ScreenedFormula(formula, charge.passed, charge.reason, charge.figure, status)
