"""One data block of a CIF, read by gemmi and checked against itself.

What a block says twice must agree: operators and symbols of the space group, the cell and its symmetry, the
cell and its volume, the sites and the formula, the number of formula units and the density.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.contacts import MIN_CONTACT, shortest_contact
from invdesign.crystal.elements import ATOMIC_NUMBER, element_table, volume_estimate
from invdesign.crystal.settings import (
    MAX_OPERATORS,
    Setting,
    centred,
    names_setting,
    setting_of_hall,
    setting_of_operators,
    settings_of,
    settings_of_number,
)
from invdesign.crystal.soundness import (
    HEAVY_HYDROGEN,
    MAX_ATOMS,
    check_cell,
    check_geometry,
    disordered,
)
from invdesign.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure

SAME_SITE = 0.25
"""Å; images of one site that are closer are one atom, and lie on a special position."""
FULL = 0.005
"""An occupancy within this of 1 is full."""
EXACT = 1e-4  # a coordinate this near to its special position or to a third is taken as it was read, or as 1/3
_VOLUME, _DENSITY = 0.01, 0.05  # relative differences between what is stated and what the cell and sites give
_AMOUNT = 0.01  # of an element in a formula, which may be rounded to two decimals
_USUAL_VOLUME, _POSSIBLE_VOLUME = (0.6, 2.0), (0.35, 2.5)  # relative to the estimate from the elements
_GRAM_PER_CM3 = 1.66053907  # 1 u/Å³
_DEUTERIUM = 2.014  # u

CELL = (
    *("cell_length_a", "cell_length_b", "cell_length_c"),
    *("cell_angle_alpha", "cell_angle_beta", "cell_angle_gamma"),
)
_OPERATORS = (
    *("symmetry_equiv_pos_as_xyz", "space_group_symop_operation_xyz"),
    *("space_group_symop_magn_operation_xyz", "space_group_symop_magn_operation_mxmymz"),
)
_SYMBOLS = ("symmetry_space_group_name_h-m", "space_group_name_h-m_alt", "space_group_name_h-m_full")
_HALL = ("space_group_name_hall", "symmetry_space_group_name_hall")
_NUMBER = ("space_group_it_number", "symmetry_int_tables_number")
_SYSTEM = ("space_group_crystal_system", "symmetry_cell_setting")
_UNKNOWN = {"", "?", "."}
_FRACTION = re.compile(r"([+-]?\d{1,4})\s*/\s*(\d{1,4})")
_AMOUNT_OF = re.compile(r"([A-Z][a-z]?)(\d+\.?\d*|\.\d+)?")
_GROUP = re.compile(r"H\d+O|[Ww]at|WAT|O-?[HhWw]|NH\d|T(?![a-z])")  # labels of groups, and tetrahedra
_ASCII = {0x2212: "-", 0x2013: "-", 0xA0: " ", 0x1A: " "}  # minus signs, fixed space, DOS end of file


@dataclass(frozen=True)
class _Site:
    """One row of the atom list: fractional ``position`` (3,), ``element`` with D and T as such."""

    number: int
    element: str
    position: np.ndarray
    occupancy: float
    multiplicity: str | None


@dataclass(frozen=True)
class _Reading:
    """The crystal that the block has in one setting."""

    setting: Setting
    structure: Structure
    as_listed: bool
    """Whether the sites have the multiplicities that are stated."""


def read(text: str, where: str) -> Structure:
    """Return the crystal of one data block, ``data_`` included.

    Raises:
        InputError: it cannot be read, is disordered, or says two things that do not agree.
    """
    block = _Block(_columns(text, where), where)
    faults: list[InputError] = []
    for settings in block.settings():
        readings = []
        for setting in settings:
            try:
                readings.append(block.reading(setting))
            except InputError as error:
                faults.append(error)
        if readings:
            return _chosen(readings, where).structure
    raise faults[0]


def structure_of(lattice: Sequence[float], symbols: Sequence[str], positions: np.ndarray) -> Structure:
    """Return the structure of cell parameters (Å, degrees), elements and fractional positions (n, 3)."""
    from pymatgen.core import Lattice, PeriodicSite, Structure

    cell = Lattice.from_parameters(*lattice)
    structure = Structure(cell, [], [])
    structure.sites = [  # the constructor would look at each site's species again, in half of the time of a CIF
        PeriodicSite(_species(symbol), position, cell, skip_checks=True)
        for symbol, position in zip(symbols, positions.copy(), strict=True)
    ]
    return structure


@lru_cache
def _species(symbol: str) -> Composition:
    from pymatgen.core import Composition

    return Composition({symbol: 1})


def snap_thirds(positions: np.ndarray) -> np.ndarray:
    """Return fractional coordinates with those of 0.3333 and 0.6667 made thirds, as the symmetry needs them."""
    for third in (1 / 3, 2 / 3):
        positions = np.where(np.abs(positions / third - 1) <= EXACT, third, positions)
    return positions


def check_content(
    stated: Mapping[str, str], counts: Mapping[str, int], volume: float, where: str, *, heavy: float = 0.0
) -> None:
    """Check the atoms and the volume of a cell against what a block says of them.

    Args:
        stated: values of a block by their names, in small letters, without the leading underscore.
        counts: atoms of each element in the cell.
        volume: Å³.
        where: the file or table row, for error messages.
        heavy: mass of deuterium and tritium beyond hydrogen's, u.

    Raises:
        InputError: formula, number of formula units, volume or density disagree.
    """
    factor = None
    if formula := stated_formula(stated):
        text, amounts = formula
        factor = sum(counts.values()) / sum(amounts.values())
        same = counts.keys() == amounts.keys() and all(
            abs(counts[element] / factor - n) <= _AMOUNT for element, n in amounts.items()
        )
        if not same or abs(factor - round(factor)) > 2 * _AMOUNT * factor:
            raise InputError(
                f"{where}: the sites give {_words(counts)} in the cell, the formula is {text!r}; "
                "give every site with its element and the space group, or the right formula."
            )
    units = number_of(stated.get("cell_formula_units_z"))
    if units is not None and units >= 1:
        whole = factor is None or round(factor) == 1  # the formula may be that of the cell, as pymatgen has it
        divides = whole and all(n % units == 0 for n in counts.values())
        if not divides and (factor is None or abs(factor - units) > 2 * _AMOUNT * units):
            raise InputError(
                f"{where}: the sites give {_words(counts)} in the cell, which is not Z = {units:g} formula units"
                f"{f' of {text!r}' if formula else ''}; give the right space group, sites or Z."
            )
    _check_size(stated, counts, volume, heavy, where)


def _words(counts: Mapping[str, int]) -> str:
    return " ".join(f"{element}{n}" for element, n in sorted(counts.items()))


def _check_size(
    stated: Mapping[str, str], counts: Mapping[str, int], volume: float, heavy: float, where: str
) -> None:
    said = number_of(stated.get("cell_volume"))
    if said and abs(said - volume) > max(_VOLUME * volume, 0.5):
        raise InputError(
            f"{where}: the cell parameters give {volume:.2f} Å³, the cell volume is said to be {said:g}; "
            "give the right cell."
        )
    said = number_of(stated.get("exptl_crystal_density_diffrn"))
    if said:
        mass = element_table()["mass"]
        total = heavy + sum(float(mass[ATOMIC_NUMBER[element]]) * n for element, n in counts.items())
        density = total / volume * _GRAM_PER_CM3
        if abs(said - density) > _DENSITY * density:
            raise InputError(
                f"{where}: the sites and the cell give {density:.3g} g/cm³, the density is said to be {said:g}; "
                "give every site, the right space group and cell, or the right density."
            )


def stated_formula(stated: Mapping[str, str]) -> tuple[str, dict[str, float]] | None:
    """Return the formula that a block states, as text and as amounts, D and T counted as H."""
    for name in ("chemical_formula_sum", "chemical_formula_structural", "chemical_formula_moiety"):
        text = stated.get(name, "").strip().strip("'\"")
        if text not in _UNKNOWN and (amounts := _amounts(text)):
            return text, amounts
    return None


@lru_cache(maxsize=1024)
def _amounts(formula: str) -> dict[str, float] | None:
    """Amounts of a plain formula such as ``Mg H2 O2``; None where it is more than that."""
    plain = "".join(formula.split())
    if re.sub(_AMOUNT_OF, "", plain):
        return None
    amounts: dict[str, float] = Counter()
    for element, amount in _AMOUNT_OF.findall(plain):
        amounts["H" if element in HEAVY_HYDROGEN else element] += float(amount or 1)
    return dict(amounts) if amounts.keys() <= ATOMIC_NUMBER.keys() and sum(amounts.values()) > 0 else None


def number_of(text: str | None) -> float | None:
    """Return a CIF number, such as ``5.64(1)`` or ``1/3``; None for what is none."""
    import gemmi

    if text is None:
        return None
    text = text.strip()
    number = gemmi.cif.as_number(text)
    if isfinite(number):
        return number
    match = _FRACTION.fullmatch(text)
    return int(match[1]) / int(match[2]) if match and int(match[2]) else None


def _columns(text: str, where: str) -> dict[str, list[str]]:
    """All values of a block by their names: small letters, no leading underscore, dots as underscores."""
    import gemmi

    try:
        document = gemmi.cif.read_string(text.translate(_ASCII).encode("ascii", "replace").decode())
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()).removeprefix("string:")[:200]
        raise InputError(
            f"{where}: the CIF cannot be read (line {reason}); give a complete, ordered crystal."
        ) from error
    if len(document) != 1:
        raise InputError(f"{where}: a data block begins within a line; begin each on a line of its own.")
    columns: dict[str, list[str]] = {}
    for item in document[0]:
        if item.pair:
            columns[_name(item.pair[0])] = [gemmi.cif.as_string(item.pair[1])]
        elif item.loop:
            tags, values = item.loop.tags, item.loop.values
            for start, tag in enumerate(tags):
                columns[_name(tag)] = [gemmi.cif.as_string(value) for value in values[start :: len(tags)]]
    return columns


def _name(tag: str) -> str:
    return tag[1:].lower().replace(".", "_")


class _Block:
    """What a data block says."""

    def __init__(self, columns: Mapping[str, list[str]], where: str) -> None:
        self.columns = columns
        self.where = where
        self.stated = {name: values[0].strip() for name, values in columns.items() if len(values) == 1}

    def unreadable(self, reason: str) -> InputError:
        return InputError(f"{self.where}: the CIF cannot be read ({reason}); give a complete, ordered crystal.")

    def value(self, names: Sequence[str]) -> str | None:
        """Return the first value that is known among those of some names."""
        return next((text for name in names if (text := self.stated.get(name, "")) not in _UNKNOWN), None)

    @cached_property
    def cell(self) -> list[float]:
        """Edges in Å and angles in degrees; an angle that is not given is 90, as the standard has it."""
        parameters = []
        for name in CELL:
            text = self.stated.get(name, "90" if "angle" in name else "")
            if (number := number_of(text)) is None:
                raise self.unreadable(f"_{name} {text!r} is no number")
            parameters.append(number)
        return parameters

    @cached_property
    def matrix(self) -> np.ndarray:
        from pymatgen.core import Lattice

        with np.errstate(invalid="ignore", divide="ignore"):
            try:
                matrix: np.ndarray = Lattice.from_parameters(*self.cell).matrix
            except (ValueError, ArithmeticError) as error:
                raise InputError(f"{self.where}: the unit cell has no volume; give one in Å.") from error
        check_cell(matrix, self.where)
        return matrix

    @cached_property
    def formula(self) -> dict[str, float] | None:
        formula = stated_formula(self.stated)
        return formula[1] if formula else None

    def settings(self) -> list[list[Setting]]:
        """Return the settings that symmetry and cell allow, the most usual first.

        Raises:
            InputError: none, or a statement of the symmetry that contradicts another or is unknown.
        """
        named = self._named_settings()
        metric = self.matrix @ self.matrix.T
        fitting = [fit for level in named if (fit := [s for s in level if s.keeps(metric)])]
        if not fitting:
            a, b, c, *angles = (f"{x:g}" for x in self.cell)
            setting = named[0][0]
            raise InputError(
                f"{self.where}: the cell ({a}, {b}, {c} Å; {', '.join(angles)}°) has not the symmetry of "
                f"{_described(setting)}; give the cell or the space group that belongs to the other."
            )
        return fitting

    def _named_settings(self) -> list[list[Setting]]:
        self._refuse_modulated()
        symbol, hall = self.value(_SYMBOLS), self.value(_HALL)
        text, code = self.value(_NUMBER), self.value(("space_group_it_coordinate_system_code",))
        number = round(number_of(text) or 0) or None
        by_hall = setting_of_hall(hall) if hall else None
        if operators := self._operators():
            try:
                setting = setting_of_operators(operators)
            except ValueError as error:
                raise self.unreadable(str(error)) from error
            if not self._magnetic:
                self._compare(setting, "its operators", symbol, number, by_hall)
            return [[setting]]
        if by_hall is not None:
            self._compare(by_hall, f"the Hall symbol {hall!r}", symbol, number, None)
            return [[by_hall]]
        if symbol:
            return self._of_symbol(symbol, number, code)
        if number:
            if levels := settings_of_number(number, code):
                return levels
            raise self.unreadable(f"there is no space group {number}")
        system = (self.value(_SYSTEM) or "triclinic").lower()
        if system != "triclinic":
            raise self.unreadable(f"it is {system}, but has no space group")
        return [[setting_of_operators(("x,y,z",))]]

    def _of_symbol(self, symbol: str, number: int | None, code: str | None) -> list[list[Setting]]:
        if levels := settings_of(symbol, number, code):
            return levels
        if others := settings_of(symbol):
            said = f"number {number}" if number and others[0][0].number != number else f"setting {code!r}"
            raise InputError(
                f"{self.where}: the space group {symbol!r} is {_described(others[0][0])}, but its {said} "
                "is another; give one of them."
            )
        raise self.unreadable(f"the space group {symbol[:60]!r} is not known, and its operators are not given")

    def _compare(
        self, setting: Setting, source: str, symbol: str | None, number: int | None, hall: Setting | None
    ) -> None:
        """Refuse a symbol or number that is not that of the operators."""
        named = [other for level in settings_of(symbol) for other in level] if symbol else []
        other = None
        if named and setting.number not in {s.number for s in named}:
            other = f"the symbol {symbol!r}"
        elif len(named) == 1 and names_setting(symbol or "") and not named[0].same_operators(setting):
            other = f"the symbol {symbol!r}"
        elif number and number != setting.number:
            other = f"the number {number}"
        elif hall is not None and not hall.same_operators(setting):
            other = f"the Hall symbol {self.value(_HALL)!r}"
        if other:
            raise InputError(
                f"{self.where}: {source} are of {_described(setting)}, with {len(setting.rotations)} operators; "
                f"{other} says otherwise; give the space group once, or alike."
            )

    @property
    def _magnetic(self) -> bool:
        return any("symop_magn" in name for name in self.columns)

    def _operators(self) -> tuple[str, ...]:
        listed = next((self.columns[name] for name in _OPERATORS if name in self.columns), [])
        operators = [text for text in listed if text.strip() not in _UNKNOWN]
        centring = self.columns.get("space_group_symop_magn_centering_xyz", [])
        if len(operators) * max(len(centring), 1) > MAX_OPERATORS:
            raise self.unreadable(f"{len(operators)} symmetry operators are more than any space group has")
        if not (centring and operators):
            return tuple(operators)
        try:
            return tuple(centred(operators, centring))
        except ValueError as error:
            raise self.unreadable(str(error)) from error

    def _refuse_modulated(self) -> None:
        if any("_ssg_" in name for name in self.columns) or self.value(("cell_modulation_dimension",)):
            raise InputError(
                f"{self.where}: the structure is modulated (a superspace group); give an ordinary crystal."
            )

    def reading(self, setting: Setting) -> _Reading:
        """Return the crystal in a setting.

        Raises:
            InputError: it is disordered, or is not what the block says it is.
        """
        symbols: list[str] = []
        images, as_listed, total = [], True, 0
        for site in self._full_sites(setting):
            orbit = orbit_of(site.position, setting, self.matrix)
            total += len(orbit)
            if total > MAX_ATOMS:
                raise InputError(f"{self.where}: more than {MAX_ATOMS} atoms in the cell; give a smaller one.")
            as_listed &= site.multiplicity == str(len(orbit))
            symbols += [site.element] * len(orbit)
            images.append(orbit)
        if not symbols:
            raise InputError(f"{self.where}: the CIF has no atoms; give a crystal.")
        positions = np.concatenate(images)
        volume = check_geometry(self.matrix, positions, self.where)
        plain = ["H" if symbol in HEAVY_HYDROGEN else symbol for symbol in symbols]
        heavy = (_DEUTERIUM - 1.008) * symbols.count("D") + 2 * symbols.count("T")
        check_content(self.stated, Counter(plain), volume, self.where, heavy=heavy)
        electronegativity = element_table()["electronegativity"]
        order = sorted(
            range(len(plain)), key=lambda i: (electronegativity[ATOMIC_NUMBER[plain[i]]], plain[i])
        )
        structure = structure_of(self.cell, [plain[i] for i in order], positions[order])
        return _Reading(setting, structure, as_listed)

    def _full_sites(self, setting: Setting) -> list[_Site]:
        """Sites with whole atoms; rows that share a site, as H and D do, are one.

        Raises:
            InputError: a site is partly or mixedly occupied.
        """
        partial = [site for site in self.sites if site.occupancy < 1 - FULL]
        left = {site.number: site for site in partial}
        merged = {}
        for site in partial:
            if site.number not in left:
                continue
            images = setting.rotations @ site.position + setting.translations
            sharing = [other for other in left.values() if self._meet(images, other.position)]
            kinds = {"H" if other.element in HEAVY_HYDROGEN else other.element for other in sharing}
            occupancy = sum(other.occupancy for other in sharing)
            if len(kinds) > 1 or abs(occupancy - 1) > FULL:
                species = ", ".join(f"{other.element}:{other.occupancy:g}" for other in sharing)
                raise disordered(site.number, species, site.position, self.where)
            for other in sharing:
                del left[other.number]
            merged[site.number] = sharing[0]
        return [s for s in self.sites if s.occupancy >= 1 - FULL or s.number in merged]

    def _meet(self, images: np.ndarray, position: np.ndarray) -> bool:
        gaps = images - position
        gaps -= np.rint(gaps)
        return bool((np.linalg.norm(gaps @ self.matrix, axis=1) < SAME_SITE).any())

    @cached_property
    def sites(self) -> list[_Site]:
        """Rows of the atom list, without dummies and empty sites.

        Raises:
            InputError: the list is incomplete, a row names no element or has no place.
        """
        axes = [self._column(f"fract_{axis}") for axis in "xyz"]
        if not all(axes):
            if self._column("cartn_x"):
                raise InputError(
                    f"{self.where}: the sites are Cartesian (_atom_site_Cartn_x), whose axes a CIF leaves open; "
                    "give fractional coordinates (_atom_site_fract_x)."
                )
            raise InputError(f"{self.where}: the CIF has no atoms with fractional coordinates; give them.")
        rows = len(axes[0])
        columns = {}
        for name in ("label", "type_symbol", "occupancy", "calc_flag", "disorder_group", "attached_hydrogens"):
            columns[name] = self._column(name) or ["."] * rows
        columns["multiplicity"] = self._column("symmetry_multiplicity") or ["?"] * rows
        if {len(column) for column in (*axes, *columns.values())} != {rows}:
            raise self.unreadable("the columns of its atoms are not of one length")
        if rows > MAX_ATOMS:
            raise InputError(f"{self.where}: more than {MAX_ATOMS} atoms; give a unit cell.")
        groups = {text for text in columns["disorder_group"] if text not in {*_UNKNOWN, "0"}}
        if len(groups) > 1 or any(group.startswith("-") for group in groups):
            raise InputError(
                f"{self.where}: the sites are in disorder groups ({', '.join(sorted(groups)[:4])}); "
                "give an ordered structure."
            )
        sites = []
        for row in range(rows):
            here = {name: column[row].strip() for name, column in columns.items()}
            place = [axis[row] for axis in axes]
            if (site := self._site(row + 1, place, here)) is not None:
                sites.append(site)
        return sites

    def _column(self, name: str) -> list[str]:
        return self.columns.get(f"atom_site_{name}", [])

    def _site(self, number: int, place: Sequence[str], row: Mapping[str, str]) -> _Site | None:
        if row["calc_flag"].lower() == "dum":
            return None
        title = f"site {number} ({row['label'] if row['label'] not in _UNKNOWN else row['type_symbol']})"
        occupancy = 1.0 if row["occupancy"] in _UNKNOWN else number_of(row["occupancy"])
        if occupancy is None or not -FULL <= occupancy <= 1 + FULL:
            raise self.unreadable(f"{title} has occupancy {row['occupancy'][:30]!r}")
        if occupancy <= 0:
            return None
        coordinates = [number_of(text) for text in place]
        if any(x is None for x in coordinates):
            raise self.unreadable(f"{title} has the coordinates {', '.join(text[:30] for text in place)}")
        if (number_of(row["attached_hydrogens"]) or 0) > 0:
            raise InputError(
                f"{self.where}: {title} has hydrogen atoms attached that are no sites; give their positions."
            )
        symbol, label = (row[name] for name in ("type_symbol", "label"))
        typed = symbol not in _UNKNOWN
        element = element_of_type(symbol) if typed else element_of_label(label, self.formula)
        if element is None:
            name, said = ("type symbol", symbol) if typed else ("label", label)
            raise self.unreadable(
                f"the {name} {said[:30]!r} of site {number} names no element: give it as _atom_site_type_symbol"
            )
        position = snap_thirds(np.array(coordinates, dtype=float))
        return _Site(number, element, position, occupancy, row["multiplicity"])


def orbit_of(position: np.ndarray, setting: Setting, matrix: np.ndarray) -> np.ndarray:
    """Return the distinct images (m, 3) of a site, in the order of the operators, in [0, 1).

    Images within :data:`SAME_SITE` of one another are one atom: the site is moved onto its special position
    if it is more than :data:`EXACT` off.

    Args:
        position: fractional, (3,).
        setting: of the space group.
        matrix: cell vectors (3, 3), Å.
    """
    special = position
    stabilizer = np.zeros(len(setting.rotations), bool)
    while True:
        images = setting.rotations @ special + setting.translations
        gaps = images - special
        gaps -= np.rint(gaps)
        near = np.linalg.norm(gaps @ matrix, axis=1) < SAME_SITE
        if (near <= stabilizer).all():
            break
        stabilizer |= near
        special = special + gaps[stabilizer].mean(axis=0)
    if stabilizer.sum() == 1:
        return (setting.rotations @ position + setting.translations) % 1
    gaps = images[:, None] - images
    gaps -= np.rint(gaps)
    same = np.einsum("ijk,ijk->ij", gaps, gaps) < EXACT**2
    first = same.argmax(axis=1) == np.arange(len(images))
    moved = special if np.abs(special - position).max() > EXACT else position
    return (setting.rotations[first] @ moved + setting.translations[first]) % 1


def element_of_type(symbol: str) -> str | None:
    """Return the element of a type symbol such as ``Fe3+``, ``Fe+3``, ``FE``, ``O2-``, ``D``, ``2H``."""
    match = re.fullmatch(r"\d{0,3}([A-Za-z]{1,2})(?:[\d+.-]*|[\s_]*\([IVX\d+-]+\)|\d*_.*)", symbol)
    name = match[1].capitalize() if match else ""
    return name if name in ATOMIC_NUMBER.keys() | HEAVY_HYDROGEN else None


def element_of_label(label: str, formula: Mapping[str, float] | None) -> str | None:
    """Return the element that a label such as ``Fe1``, ``FE1``, ``O2A`` names, with the formula's help.

    A label whose letters are more than an element's symbol (``OW1``, ``SiT``, ``NA`` for N) is read only if a
    formula is given, of which the element is a part; the count of atoms then shows whether it was right.
    """
    match = re.match(r"[A-Za-z]+(?:-[A-Za-z]+)?", label)
    letters = match[0].replace("-", "") if match else ""
    pair, single = letters[:2].capitalize(), letters[:1].upper()
    known = [name for name in dict.fromkeys((pair, single)) if name in ATOMIC_NUMBER or name == "D"]
    if letters[:2] == pair and pair in ATOMIC_NUMBER and len(pair) == 2:
        known = [pair]
    group = _GROUP.match(label)
    if formula:
        heavy = {"D"} if "H" in formula else set()
        return next((name for name in known if name in formula.keys() | heavy), known[0] if known else None)
    return known[0] if known and known[0].lower() == letters.lower() and not group else None


def _chosen(readings: Sequence[_Reading], where: str) -> _Reading:
    """Return the reading that the multiplicities, contacts and volume speak for.

    Raises:
        InputError: several remain, and are not the same crystal.
    """
    rest = list(readings)
    for fits in (lambda reading: reading.as_listed, _is_usual, _is_possible):
        if len(rest) > 1:
            rest = [reading for reading in rest if fits(reading)] or rest
    if len(rest) > 1 and not _alike(rest):
        names = " and ".join(reading.setting.name for reading in rest)
        raise InputError(
            f"{where}: the space group can be {names}, which give different crystals, and nothing in the CIF "
            "decides; name the setting or give the operators."
        )
    return rest[0]


def _is_usual(reading: _Reading) -> bool:
    return _has_room(reading.structure, _USUAL_VOLUME, 0.75)


def _is_possible(reading: _Reading) -> bool:
    return _has_room(reading.structure, _POSSIBLE_VOLUME, MIN_CONTACT)


def _has_room(structure: Structure, volumes: tuple[float, float], contact: float) -> bool:
    ratio = structure.volume / volume_estimate(structure.composition)
    return volumes[0] <= ratio <= volumes[1] and shortest_contact(structure)[3] >= contact


def _alike(readings: Sequence[_Reading]) -> bool:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(scale=False, primitive_cell=False, ltol=0.01, stol=0.02, angle_tol=0.1)
    first = readings[0].structure
    return all(matcher.fit(first, reading.structure) for reading in readings[1:])


def _described(setting: Setting) -> str:
    return f"{setting.name} ({setting.number})" if setting.name else f"a setting of space group {setting.number}"
