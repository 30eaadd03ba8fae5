from __future__ import annotations

import numpy as np
import pytest

from invdesign.crystal.elements import (
    ATOMIC_NUMBER,
    EXCLUDED_BY_DEFAULT,
    SYMBOLS,
    atomic_number,
    element_table,
    volume_estimate,
)
from invdesign.errors import InputError


def test_symbols_are_in_order_of_atomic_number() -> None:
    from ase.data import chemical_symbols

    assert list(SYMBOLS[1:]) == chemical_symbols[1:104]
    assert ATOMIC_NUMBER["Lr"] == 103


def test_no_property_is_missing() -> None:
    table = element_table()
    assert table.values.shape == (104, len(table.names))
    assert np.isfinite(table.values).all()
    for positive in ("electronegativity", "covalent_radius", "atomic_radius", "ionic_radius", "mass"):
        assert (table[positive][1:] > 0).all()


@pytest.mark.parametrize(
    ("symbol", "valence"),
    [
        ("Na", (1, 0, 0, 0)),
        ("O", (2, 4, 0, 0)),
        ("Fe", (2, 0, 6, 0)),
        ("U", (2, 0, 1, 3)),
        ("Ne", (2, 6, 0, 0)),
    ],
)
def test_valence_electrons(symbol: str, valence: tuple[int, ...]) -> None:
    table = element_table()
    assert tuple(table[f"valence_{shell}"][ATOMIC_NUMBER[symbol]] for shell in "spdf") == valence


@pytest.mark.parametrize(
    ("cell", "volume"), [({"Na": 4, "Cl": 4}, 179.0), ({"Mg": 1, "O": 1}, 18.8), ({"Cu": 4}, 47.2)]
)
def test_volume_of_well_known_crystals(cell: dict[str, float], volume: float) -> None:
    assert volume_estimate(cell) == pytest.approx(volume, rel=0.2)


def test_volume_is_proportional_to_amount() -> None:
    from pymatgen.core import Composition

    small, large = Composition("BaTiO3"), Composition("Ba2Ti2O6")
    assert volume_estimate(large) == pytest.approx(2 * volume_estimate(small))


def test_default_exclusions() -> None:
    assert {"Tc", "Pm", "Po", "Ra", "Ac", "Pu", "He", "Xe"} <= EXCLUDED_BY_DEFAULT
    assert not {"Th", "U", "Bi"} & EXCLUDED_BY_DEFAULT


def test_unknown_symbol_is_an_input_error() -> None:
    with pytest.raises(InputError, match="Xy"):
        atomic_number("Xy")
    with pytest.raises(InputError):
        volume_estimate({"D": 1})
