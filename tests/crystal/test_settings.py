"""All 530 settings of the space groups: symbols mean what spglib's operators do, unseen by the reader."""

from __future__ import annotations

import numpy as np
import pytest
import spglib

from invdesign.crystal.readers import cif_block
from invdesign.crystal.settings import settings_of
from invdesign.errors import InputError

HALL_NUMBERS = range(1, 531)
GENERAL = np.array([[0.137, 0.288, 0.412], [0.061, 0.173, 0.339]])
SPECIAL = np.array([[0.0, 0.0, 0.0], [0.125, 0.125, 0.125]])


def operators(hall_number: int) -> tuple[np.ndarray, np.ndarray]:
    found = spglib.get_symmetry_from_database(hall_number)
    return found["rotations"], found["translations"]


def cell(rotations: np.ndarray) -> str:
    """A cell of about 15 Å that these rotations keep and nothing else does."""
    shape = np.array([[1.0, 0.11, -0.07], [0.11, 1.21, 0.09], [-0.07, 0.09, 1.48]]) * 225
    metric = np.einsum("nji,jk,nkl->il", rotations, shape, rotations) / len(rotations)
    edges = np.sqrt(np.diag(metric))
    angles = np.degrees(np.arccos([metric[j, k] / edges[j] / edges[k] for j, k in ((1, 2), (0, 2), (0, 1))]))
    names = [f"_cell_length_{x}" for x in "abc"] + [f"_cell_angle_{x}" for x in ("alpha", "beta", "gamma")]
    return "\n".join(f"{name} {x:.6f}" for name, x in zip(names, [*edges, *angles], strict=True))


def images(rotations: np.ndarray, translations: np.ndarray, site: np.ndarray) -> np.ndarray:
    every = (rotations @ site + translations) % 1
    gaps = every[:, None] - every
    same = np.abs(gaps - np.rint(gaps)).max(axis=2) < 1e-4
    return every[same.argmax(axis=1) == np.arange(len(every))]


def block(symmetry: str, rotations: np.ndarray, sites: np.ndarray, more: str = "") -> str:
    rows = "\n".join(f"{el} {x} {y} {z}" for el, (x, y, z) in zip(("Cs", "F"), sites, strict=True))
    return f"""data_x
{symmetry}
{more}
{cell(rotations)}
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
{rows}
"""


def assert_crystal(text: str, expected: dict[str, np.ndarray]) -> None:
    structure = cif_block.read(text, "x")
    assert len(structure) == sum(map(len, expected.values()))
    for element, sites in expected.items():
        found = np.array([site.frac_coords for site in structure if site.specie.symbol == element])
        gaps = found[:, None] - sites
        distances = np.abs(gaps - np.rint(gaps)).max(axis=2)
        assert (distances.min(axis=0) < 1e-4).all()
        assert (distances.min(axis=1) < 1e-4).all()


def spellings(kind: spglib.SpaceGroupType) -> dict[str, list[str]]:
    """Symbols of a setting by CIF name."""
    number, choice = kind.number, kind.choice
    names = [kind.international_full]
    if number > 15:
        names.append(kind.international.split(" = ")[0])
    if number in {67, 68} and choice in {"", "1", "2"}:  # "e" is either of two glides: the older symbol
        names = [names[1].replace("e", "a")]
    mark = choice if number in {67, 68} else choice[:1] if choice[:1] in {"1", "2", "H", "R"} else ""
    marked = [f"{name} :{mark}" if mark and number > 15 else name for name in names]
    old = [name.replace("-3", "3") for name in marked if number >= 195]
    return {
        "_symmetry_space_group_name_H-M": marked,
        "_space_group_name_H-M_alt": [marked[0].replace(" ", "").replace("_", "").upper(), *old],
        "_space_group_name_Hall": [kind.hall_symbol.replace('"', "''")],
    }


@pytest.mark.parametrize("tenth", range(10))
def test_symbols_alone_give_the_crystal_of_the_operators(tenth: int) -> None:
    for hall_number in HALL_NUMBERS[tenth::10]:
        kind = spglib.get_spacegroup_type(hall_number)
        rotations, translations = operators(hall_number)
        expected = {
            element: images(rotations, translations, site)
            for element, site in zip(("Cs", "F"), GENERAL, strict=True)
        }
        for name, symbols in spellings(kind).items():
            for symbol in symbols:
                try:
                    assert_crystal(block(f'{name} "{symbol}"', rotations, GENERAL), expected)
                except (InputError, AssertionError) as error:
                    raise AssertionError(f"{hall_number} {kind.choice}: {name} {symbol}: {error}") from error


@pytest.mark.parametrize("symbol", ["C m m e", "C 2/m 2/m 2/e", "A e m m", "F d -3 m", "P 4/n m m"])
def test_a_symbol_of_several_settings_that_give_other_crystals_is_refused(symbol: str) -> None:
    (settings, *_) = settings_of(symbol)
    assert len(settings) == 2
    with pytest.raises(InputError, match=f"can be {settings[0].name} and {settings[1].name}"):
        cif_block.read(block(f"_space_group_name_H-M_alt '{symbol}'", settings[0].rotations, GENERAL), "x")
