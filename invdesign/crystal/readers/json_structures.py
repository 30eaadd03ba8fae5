"""JSON with structures: pymatgen's, ASE's, OPTIMADE's (our ``shortlist.json`` among it), JARVIS's.

No class named in a file is imported or made: only numbers and symbols are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.crystal.readers.entry import PERIODIC, Record, Unreadable, crystal, entry, label_of, stem
from invdesign.errors import InputError
from invdesign.io.config import parse_json

if TYPE_CHECKING:
    from pymatgen.core import Structure

_KINDS = "Structure.as_dict() of pymatgen, ASE's JSON, OPTIMADE structures or a shortlist.json"
_TRUTH = {True: True, False: False, "True": True, "False": False}  # 1 and 0 are equal to these
_MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)


def read_json_structures(text: str, path: Path) -> Iterator[Record | Unreadable]:
    """Yield the structures of a JSON file, with the plain values next to them.

    Raises:
        InputError: not JSON, or none with structures.
    """
    content = parse_json(text, str(path))
    items = list(_items(content, stem(path)))
    if not any(_kind(item) for _, item in items):
        raise InputError(f"{path}: the JSON holds no structures; give {_KINDS}.")
    for label, item in items:
        columns = {
            name: value
            for source in (item, item.get("attributes"), item.get("key_value_pairs"))
            if isinstance(source, dict)
            for name, value in source.items()
            if isinstance(value, str | int | float) and not name.startswith("@")
        }
        name = label_of(columns, label)
        yield entry(name, partial(_structure, item, f"{path}: {name}"), columns)


def _items(content: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401 - any JSON
    """Yield (label, what may be a structure)."""
    if isinstance(content, dict) and not _kind(content):
        if isinstance(content.get("data"), list | dict):  # a response of OPTIMADE
            content = content["data"] if isinstance(content["data"], list) else [content["data"]]
        elif isinstance(content.get("structures"), list):
            content = content["structures"]
        elif isinstance(content.get("ids"), list):  # a JSON database of ASE
            content = {f"{name}:{i}": content.get(str(i)) for i in content["ids"]}
    if isinstance(content, dict):
        pairs = [(name, content)] if _kind(content) else list(content.items())
    else:
        pairs = (
            [(f"{name}:{i}", one) for i, one in enumerate(content, start=1)]
            if isinstance(content, list)
            else []
        )
    for label, one in pairs:
        yield label, one if isinstance(one, dict) else {}


def _inner(item: dict[str, Any]) -> dict[str, Any]:
    """Return the structure of an entry that holds more."""
    for name in ("structure", "atoms"):
        if isinstance(item.get(name), dict):
            return dict(item[name])
    return item


def _kind(item: Any) -> str:  # noqa: ANN401 - any JSON
    if not isinstance(item, dict):
        return ""
    inner = _inner(item)
    if {"lattice", "sites"} <= inner.keys():
        return "pymatgen"
    if {"numbers", "positions"} <= inner.keys():
        return "ase"
    if {"lattice_mat", "coords", "elements"} <= inner.keys():
        return "jarvis"
    attributes = item.get("attributes")
    return "optimade" if isinstance(attributes, dict) and "species_at_sites" in attributes else ""


def _structure(item: dict[str, Any], where: str) -> Structure:
    read = {"pymatgen": _pymatgen, "ase": _ase, "jarvis": _jarvis, "optimade": _optimade}.get(_kind(item))
    if read is None:
        raise InputError(f"{where}: is no structure; give {_KINDS}.")
    try:
        cell, species, positions, cartesian, pbc = read(item if read is _optimade else _inner(item))
        pbc = [_TRUTH[along] for along in pbc]
        if len(pbc) != len(PERIODIC):
            raise ValueError
    except _MALFORMED as error:
        raise InputError(f"{where}: the structure is incomplete; give {_KINDS}.") from error
    return crystal(cell, species, positions, where, cartesian=cartesian, pbc=pbc)


_Parts = tuple[Any, list[Any], Any, bool, Any]
"""Cell, species, positions, whether these are Cartesian, pbc."""


def _pymatgen(given: dict[str, Any]) -> _Parts:
    species: list[dict[str, float]] = [{} for _ in given["sites"]]
    for occupancies, site in zip(species, given["sites"], strict=True):
        for one in site["species"]:
            element = str(one["element"])  # may be there with two charges
            occupancies[element] = occupancies.get(element, 0.0) + float(one["occu"])
    positions = [site["abc"] for site in given["sites"]]
    return given["lattice"]["matrix"], species, positions, False, given["lattice"].get("pbc", PERIODIC)


def _ase(given: dict[str, Any]) -> _Parts:
    cell = given.get("cell", [0.0] * 9)
    cell = cell["array"] if isinstance(cell, dict) and "array" in cell else cell
    pbc = given.get("pbc", [False] * 3)
    return _plain(cell), list(_plain(given["numbers"])), _plain(given["positions"]), True, list(_plain(pbc))


def _plain(value: Any) -> Any:  # noqa: ANN401 - a list, or ASE's mapping of shape, kind and numbers
    return value["__ndarray__"][2] if isinstance(value, dict) else value


def _jarvis(given: dict[str, Any]) -> _Parts:
    elements = [str(element).strip() for element in given["elements"]]
    return given["lattice_mat"], elements, given["coords"], _TRUTH[given.get("cartesian", False)], PERIODIC


def _optimade(given: dict[str, Any]) -> _Parts:
    told = given["attributes"]
    kinds = {
        one["name"]: dict(zip(one["chemical_symbols"], one["concentration"], strict=True))
        for one in told["species"]
    }
    species = [kinds[name] for name in told["species_at_sites"]]
    pbc = told.get("dimension_types") or PERIODIC
    return told["lattice_vectors"], species, told["cartesian_site_positions"], True, pbc
