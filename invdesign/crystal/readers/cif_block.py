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
from typing import TYPE_CHECKING, cast

import numpy as np

from invdesign.crystal.elements import ATOMIC_NUMBER, HEAVY_HYDROGEN, element_table
from invdesign.crystal.readers.cif_choice import Reading, chosen
from invdesign.crystal.readers.cif_content import (
    CELL,
    UNKNOWN,
    blur_of,
    check_content,
    element_of_label,
    element_of_type,
    fault_of_text,
    names_two_elements,
    number_of,
    snap_thirds,
    stated_formula,
)
from invdesign.crystal.settings import (
    MAX_OPERATORS,
    Setting,
    centred,
    names_setting,
    orbit_of,
    setting_of_hall,
    setting_of_operators,
    settings_of,
    settings_of_number,
)
from invdesign.crystal.soundness import (
    MAX_ATOMS,
    MAX_COORDINATE,
    MAX_EDGE,
    check_cell,
    check_geometry,
    disordered,
)
from invdesign.errors import InputError, quoted

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure

SHARED_SITE = 0.05
"""Å; rows of partial occupancy this near to one another share a site."""
MOST_LISTED = 1000
"""Rows of a list that may have all atoms of the cell, and its symmetry too."""
FULL = 0.005
"""An occupancy within this of 1 is full."""
_DEUTERIUM = 2.014  # u

_OPERATORS = (
    *("symmetry_equiv_pos_as_xyz", "space_group_symop_operation_xyz"),
    "space_group_symop_magn_operation_xyz",
)
_SYMBOLS = ("symmetry_space_group_name_h-m", "space_group_name_h-m_alt", "space_group_name_h-m_full")
_HALL = ("space_group_name_hall", "symmetry_space_group_name_hall")
_NUMBER = ("space_group_it_number", "symmetry_int_tables_number")
_SYSTEM = ("space_group_crystal_system", "symmetry_cell_setting")
_SITE_COLUMNS = (
    *("label", "type_symbol", "occupancy", "calc_flag", "disorder_group", "attached_hydrogens"),
    *("symmetry_multiplicity", "wyckoff_symbol"),
)
_WYCKOFF = re.compile(r"(\d+)\s*[a-zA-Z]")
_ASCII = {0x2212: "-", 0x2013: "-", 0xA0: " ", 0x1A: " "}  # minus signs, fixed space, DOS end of file


@dataclass(frozen=True)
class _Site:
    """One row of the atom list: fractional ``position`` (3,), good to ``blur`` (Å); D and T as such."""

    number: int
    element: str
    position: np.ndarray
    blur: float
    occupancy: float
    multiplicity: str


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
            return chosen(readings, where).structure
    raise faults[0]


def structure_of(lattice: Sequence[float], symbols: Sequence[str], positions: np.ndarray) -> Structure:
    """Return the structure of cell parameters (Å, degrees), elements and fractional positions (n, 3)."""
    from pymatgen.core import Lattice, PeriodicSite, Structure

    cell = Lattice.from_parameters(*lattice)
    structure = Structure(cell, [], [])
    structure.sites = [  # what the constructor does more costs a quarter of the time of a CIF
        PeriodicSite(_species(symbol), position, cell, skip_checks=True)
        for symbol, position in zip(symbols, positions.copy(), strict=True)
    ]
    return structure


@lru_cache
def _species(symbol: str) -> Composition:
    from pymatgen.core import Composition

    return Composition({symbol: 1})


def _columns(text: str, where: str) -> dict[str, list[str]]:
    """All values of a block by their names: small letters, no leading underscore, dots as underscores."""
    import gemmi

    try:
        document = gemmi.cif.read_string(text.translate(_ASCII).encode("ascii", "replace").decode())
    except (RuntimeError, ValueError) as error:
        line = " ".join(str(error).split()).removeprefix("string:")[:200]
        reason = fault_of_text(text) or f"line {line}; give a complete, ordered crystal"
        raise InputError(f"{where}: the CIF cannot be read: {reason}.") from error
    if len(document) != 1:
        raise InputError(f"{where}: a data block begins within a line; begin each on a line of its own.")
    columns: dict[str, list[str]] = {}
    for item in document[0]:
        tags, values = [], []
        if item.pair is not None:
            tag, value = cast("tuple[str, str]", item.pair)
            tags, values = [tag], [value]
        elif item.loop is not None:
            tags, values = item.loop.tags, item.loop.values
        for start, tag in enumerate(tags):
            column = [gemmi.cif.as_string(value) for value in values[start :: len(tags)]]
            if columns.setdefault(_name(tag), column) != column:
                raise InputError(f"{where}: {tag} is given twice, differently; give it once.")
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
        return InputError(
            f"{self.where}: the CIF cannot be read ({reason}); give a complete, ordered crystal."
        )

    def value(self, names: Sequence[str]) -> str | None:
        """Return the first value that is known among those of some names."""
        return next((text for name in names if (text := self.stated.get(name, "")) not in UNKNOWN), None)

    @cached_property
    def cell(self) -> list[float]:
        """Edges in Å and angles in degrees; an angle that is not given is 90, as the standard has it."""
        parameters = []
        for name in CELL:
            text = self.stated.get(name, "90" if "angle" in name else "")
            number = number_of(text)
            if number is None or not 0 < number < (180 if "angle" in name else MAX_EDGE):
                raise self.unreadable(f"_{name} is {quoted(text)}")
            parameters.append(number)
        return parameters

    @cached_property
    def matrix(self) -> np.ndarray:
        from pymatgen.core import Lattice

        cell = self.cell
        with np.errstate(invalid="ignore", divide="ignore"):
            try:
                matrix: np.ndarray = Lattice.from_parameters(*cell).matrix
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
        self._refuse_two_groups()
        if operators := self._operators():
            try:
                setting = setting_of_operators(operators)
            except ValueError as error:
                raise self.unreadable(str(error)) from error
            if not self._magnetic:
                self._compare(setting, "its symmetry operators", symbol, number, by_hall)
            return [[setting]]
        if by_hall is not None:
            self._refuse_other_setting(by_hall, symbol)
            self._compare(by_hall, f"the operators of the Hall symbol {quoted(hall)}", symbol, number, None)
            return [[by_hall]]
        if symbol:
            return self._of_symbol(symbol, number, code)
        if number:
            if levels := settings_of_number(number, code):
                return levels
            raise self.unreadable(f"there is no space group {number}")
        if hall:
            raise self.unreadable(f"the Hall symbol {quoted(hall)} is not known")
        self._refuse_unread_symmetry()
        return [[setting_of_operators(("x,y,z",))]]

    def _refuse_two_groups(self) -> None:
        """Refuse symbols, or numbers, of different groups."""
        for names in (_SYMBOLS, _NUMBER):
            texts = {text for name in names if (text := self.value((name,)))}
            if len(texts) == 1:
                continue
            known = {text: _groups(text) for text in sorted(texts) if _groups(text)}
            if not known:
                continue
            one, *others = known
            other = next((text for text in others if not known[one] & known[text]), None)
            if other is None and names is _SYMBOLS:
                other = next((text for text in others if not _share_a_setting(one, text)), None)
            if other is not None:
                raise InputError(
                    f"{self.where}: the space group is {quoted(one)} and {quoted(other)}, which are two; "
                    "give the one that is right."
                )

    def _refuse_other_setting(self, by_hall: Setting, symbol: str | None) -> None:
        """Refuse a Hall symbol of a setting in the tables that is none of those its symbol means."""
        named = [one for level in settings_of(symbol) for one in level] if symbol else []
        if by_hall.name and named and not any(one.same_operators(by_hall) for one in named):
            raise InputError(
                f"{self.where}: the Hall symbol {quoted(self.value(_HALL))} is {_described(by_hall)}, the "
                f"symbol is {quoted(symbol)}; give the one that is right."
            )

    def _refuse_unread_symmetry(self) -> None:
        """Refuse a block whose space group is not read, though it says something of its symmetry."""
        system = (self.value(_SYSTEM) or "triclinic").lower()
        if system != "triclinic":
            raise self.unreadable(f"it is {system}, but has no space group")
        for name, values in self.columns.items():
            said = {text.strip() for text in values} - UNKNOWN
            of_symmetry = name.startswith(("space_group_", "symmetry_")) and not name.endswith("_id")
            if name.endswith("symmetry_multiplicity"):
                of_symmetry, said = True, said - {"1"}
            if of_symmetry and said and name not in _SYSTEM:
                raise self.unreadable(
                    f"_{name} is {quoted(min(said))}, but no space group or operator can be read"
                )

    def _of_symbol(self, symbol: str, number: int | None, code: str | None) -> list[list[Setting]]:
        if levels := settings_of(symbol, number, code):
            return levels
        if others := settings_of(symbol):
            said = f"number {number}" if number and others[0][0].number != number else f"setting {code!r}"
            raise InputError(
                f"{self.where}: the space group {symbol!r} is {_described(others[0][0])}, but its {said} "
                "is another; give one of them."
            )
        raise self.unreadable(
            f"the space group {quoted(symbol)} is not known, and its operators are not given"
        )

    def _compare(
        self, setting: Setting, source: str, symbol: str | None, number: int | None, hall: Setting | None
    ) -> None:
        """Refuse a symbol or number that is not that of the operators."""
        named = [other for level in settings_of(symbol) for other in level] if symbol else []
        exact = symbol is not None and names_setting(symbol)
        agreeing = [
            s for s in named if s.number == setting.number and (not exact or s.same_operators(setting))
        ]
        other = None
        if named and not agreeing:
            other = f"the symbol {quoted(symbol)}"
        elif number and number != setting.number:
            other = f"the number {number}"
        elif hall is not None and not hall.same_operators(setting):
            other = f"the Hall symbol {quoted(self.value(_HALL))}"
        if other:
            raise InputError(
                f"{self.where}: {source} ({len(setting.rotations)}) are those of {_described(setting)}, "
                f"but {other} says otherwise; give the one that is right."
            )

    @property
    def _magnetic(self) -> bool:
        return any("symop_magn" in name for name in self.columns)

    def _operators(self) -> tuple[str, ...]:
        lists = [self.columns[name] for name in _OPERATORS if name in self.columns]
        known = [[text for text in listed if text.strip() not in UNKNOWN] for listed in lists]
        self._refuse_two_lists([tuple(listed) for listed in known if listed])
        operators = known[0] if known else []
        centring = self.columns.get("space_group_symop_magn_centering_xyz", [])
        if len(operators) * max(len(centring), 1) > MAX_OPERATORS:
            raise self.unreadable(f"{len(operators)} symmetry operators are more than any space group has")
        if not (centring and operators):
            return tuple(operators)
        try:
            return tuple(centred(operators, centring))
        except ValueError as error:
            raise self.unreadable(str(error)) from error

    def _refuse_two_lists(self, lists: Sequence[tuple[str, ...]]) -> None:
        if self._magnetic or len(lists) < 2 or max(map(len, lists)) > MAX_OPERATORS:
            return
        try:
            one, other = (setting_of_operators(listed) for listed in lists)
        except ValueError as error:
            raise self.unreadable(str(error)) from error
        if not one.same_operators(other):
            raise InputError(
                f"{self.where}: one list of operators ({len(one.rotations)}) is that of "
                f"{_described(one)}, the other ({len(other.rotations)}) that of {_described(other)}; "
                "give the right one."
            )

    def _refuse_modulated(self) -> None:
        dimension = number_of(self.stated.get("cell_modulation_dimension"))
        if dimension or any("_ssg_" in name for name in self.columns):
            raise InputError(
                f"{self.where}: the structure is modulated (a superspace group); give an ordinary crystal."
            )

    def reading(self, setting: Setting) -> Reading:
        """Return the crystal in a setting.

        Raises:
            InputError: it is disordered, or is not what the block says it is.
        """
        sites, images, total = self._full_sites(setting), [], 0
        for site in sites:
            images.append(orbit_of(site.position, setting, self.matrix, site.blur))
            total += len(images[-1])
            if total > MAX_ATOMS:
                raise InputError(
                    f"{self.where}: more than {MAX_ATOMS} atoms in the cell; give a smaller one."
                )
        if not sites:
            raise InputError(f"{self.where}: the CIF has no atoms; give a crystal.")
        for site, orbit in zip(sites, images, strict=True):
            self._check_multiplicity(site, len(orbit), setting)
        as_listed = all(
            site.multiplicity == str(len(orbit)) for site, orbit in zip(sites, images, strict=True)
        )
        if len(sites) < min(total, MOST_LISTED):
            sites, images = self._each_orbit_once(sites, images)
        symbols = [site.element for site, orbit in zip(sites, images, strict=True) for _ in orbit]
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
        return Reading(setting, structure, as_listed)

    def _check_multiplicity(self, site: _Site, found: int, setting: Setting) -> None:
        """Refuse a multiplicity that is neither of the cell, nor of a primitive one, nor the site's order.

        Rhombohedral axes may go with the multiplicities of hexagonal ones.
        """
        stated = number_of(site.multiplicity)
        order = len(setting.rotations)
        primitive = found * len({rotation.tobytes() for rotation in setting.rotations}) / order
        said = {found, 3 * found, primitive, order / found}
        if stated and order > 1 and stated not in said:
            raise InputError(
                f"{self.where}: site {site.number} ({site.element}) has the multiplicity {stated:g}, but "
                f"{found} positions in {_described(setting)}; give the one that is right."
            )

    def _each_orbit_once(
        self, sites: list[_Site], images: list[np.ndarray]
    ) -> tuple[list[_Site], list[np.ndarray]]:
        """Leave out sites that are images of others, where a block lists all atoms and the symmetry too."""
        from scipy.spatial import cKDTree

        tree = cKDTree(np.concatenate(images) % 1, boxsize=1)
        owner = np.repeat(np.arange(len(sites)), list(map(len, images)))
        places = np.array([site.position for site in sites]) % 1
        met = tree.query_ball_point(places, SHARED_SITE / max(self.cell[:3]))
        listed: dict[int, set[int]] = {}
        for row, found in enumerate(met):
            alike = [i for i in found if sites[owner[i]].element == sites[row].element]
            first = min(owner[alike], default=row)
            listed.setdefault(int(first), set()).update(i for i in alike if owner[i] == first)
        whole = len(sites) == sum(map(len, listed.values())) and all(
            len(images[first]) == len(found) for first, found in listed.items()
        )
        if not whole:
            return sites, images
        return [sites[i] for i in listed], [images[i] for i in listed]

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
        return bool((np.linalg.norm(gaps @ self.matrix, axis=1) < SHARED_SITE).any())

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
                    f"{self.where}: the sites are Cartesian (_atom_site_Cartn_x), in axes that a CIF leaves "
                    "open; give fractional coordinates (_atom_site_fract_x)."
                )
            raise InputError(f"{self.where}: the CIF has no atoms with fractional coordinates; give them.")
        rows = len(axes[0])
        columns = {name: self._column(name) or ["."] * rows for name in _SITE_COLUMNS}
        if {len(column) for column in (*axes, *columns.values())} != {rows}:
            raise self.unreadable("the columns of its atoms are not of one length")
        if rows > MAX_ATOMS:
            raise InputError(f"{self.where}: more than {MAX_ATOMS} atoms; give a unit cell.")
        groups = {text for text in columns["disorder_group"] if text not in {*UNKNOWN, "0"}}
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
        title = f"site {number} ({row['label'] if row['label'] not in UNKNOWN else row['type_symbol']})"
        occupancy = 1.0 if row["occupancy"] in UNKNOWN else number_of(row["occupancy"])
        if occupancy is None or not -FULL <= occupancy <= 1 + FULL:
            raise self.unreadable(f"{title} has occupancy {quoted(row['occupancy'])}")
        if occupancy <= 0:
            return None
        coordinates = [number_of(text) for text in place]
        if any(x is None or abs(x) > MAX_COORDINATE for x in coordinates):
            raise self.unreadable(f"{title} has the coordinates {quoted(', '.join(place))}")
        if (number_of(row["attached_hydrogens"]) or 0) > 0:
            raise InputError(
                f"{self.where}: {title} has hydrogen atoms attached that are no sites; give their positions."
            )
        symbol, label = (row[name] for name in ("type_symbol", "label"))
        typed = symbol not in UNKNOWN
        if not typed and names_two_elements(label):
            raise disordered(number, label, np.array(coordinates), self.where)
        element = element_of_type(symbol) if typed else element_of_label(label, self.formula)
        if element is None:
            name, said = ("type symbol", symbol) if typed else ("label", label)
            raise self.unreadable(f"the {name} {quoted(said)} of site {number} names no element")
        position = snap_thirds(np.array(coordinates, dtype=float))
        blur = blur_of(place, self.cell[:3])
        multiplicity = row["symmetry_multiplicity"]
        if multiplicity in UNKNOWN and (wyckoff := _WYCKOFF.fullmatch(row["wyckoff_symbol"])):
            multiplicity = wyckoff[1]
        return _Site(number, element, position, blur, occupancy, multiplicity)


def _groups(text: str) -> set[int]:
    """Numbers of the space groups that a symbol or number can mean."""
    number = number_of(text)
    return {round(number)} if number else {one.number for level in settings_of(text) for one in level}


def _share_a_setting(symbol: str, other: str) -> bool:
    first, second = ([one for level in settings_of(text) for one in level] for text in (symbol, other))
    return any(one.same_operators(another) for one in first for another in second)


def _described(setting: Setting) -> str:
    return (
        f"{setting.name} ({setting.number})" if setting.name else f"a setting of space group {setting.number}"
    )
