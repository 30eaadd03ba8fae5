"""Phases of a chemical system from the Materials Project's API or from an OPTIMADE provider."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from itertools import combinations
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin
from urllib.request import Request, urlopen

from invdesign.crystal.elements import atomic_number
from invdesign.errors import InputError
from invdesign.stability.hull.phases import MP2020, Phase, Phases, formation_energies, phase, single_scale
from invdesign.version import __version__

MATERIALS_PROJECT = "https://api.materialsproject.org"
_MP_ENERGY = "formation_energy_per_atom"
_PAGE = 500
_TIMEOUT = 60.0  # s


@dataclass(frozen=True, slots=True)
class _Provider:
    """Where an OPTIMADE provider answers, and where its answers carry the formation energy (eV/atom)."""

    url: str
    field: tuple[str, ...]
    scale: str


PROVIDERS = {
    "materialsproject": _Provider(
        "https://optimade.materialsproject.org",
        ("_mp_stability", "gga_gga+u", "formation_energy_per_atom"),
        MP2020,
    ),
    "oqmd": _Provider("https://oqmd.org/optimade", ("_oqmd_delta_e",), "OQMD PBE/PBE+U"),
    "alexandria-pbe": _Provider(
        "https://alexandria.icams.rub.de/pbe", ("_alexandria_formation_energy_per_atom",), "Alexandria PBE"
    ),
    "alexandria-pbesol": _Provider(
        "https://alexandria.icams.rub.de/pbesol",
        ("_alexandria_formation_energy_per_atom",),
        "Alexandria PBEsol",
    ),
}


def read_online(name: str) -> Phases:
    """Phases of ``mp:Li-Fe-O`` or ``optimade:PROVIDER:Li-Fe-O``.

    The Materials Project's PBE and PBE+U calculations with MP2020 corrections are asked for, never those
    mixed with r2SCAN; its key is the environment's ``MP_API_KEY``. A provider is one of
    :data:`PROVIDERS`, or ``PROVIDER=URL`` for a mirror of one.

    Raises:
        InputError: no chemical system, no key, an unknown provider, no answer, or none with energies.
    """
    kind, _, rest = name.partition(":")
    provider, _, system = rest.rpartition(":")
    symbols = sorted(set(system.split("-")))
    for symbol in symbols:
        atomic_number(symbol)
    systems = [part for size in range(1, len(symbols) + 1) for part in combinations(symbols, size)]
    if kind == "mp":
        rows = list(_materials_project(systems))
        scale = single_scale(((row["thermo_type"], row["material_id"]) for row in rows), name)
        phases = [phase(row["formula_pretty"], row[_MP_ENERGY], row["material_id"]) for row in rows]
    else:
        known, _, url = provider.partition("=")
        if known not in PROVIDERS:
            raise InputError(
                f"hull: {name!r} names no provider known here; write optimade:PROVIDER:Li-Fe-O with one of "
                f"{', '.join(PROVIDERS)}."
            )
        chosen = PROVIDERS[known]
        phases, scale = list(_optimade(url or chosen.url, chosen.field, systems)), chosen.scale
    return Phases(formation_energies(phases, name), scale, name)


def _materials_project(systems: Sequence[Sequence[str]]) -> Iterator[dict[str, Any]]:
    key = os.environ.get("MP_API_KEY", "")
    if not key:
        raise InputError(
            "hull: the Materials Project needs a key; set MP_API_KEY (free at materialsproject.org/api)."
        )
    query = {
        "chemsys": ",".join("-".join(symbols) for symbols in systems),
        "thermo_types": "GGA_GGA+U",
        "_fields": f"material_id,formula_pretty,thermo_type,{_MP_ENERGY}",
        "_limit": str(_PAGE),
    }
    skip = 0
    while True:
        url = f"{MATERIALS_PROJECT}/materials/thermo/?{urlencode({**query, '_skip': str(skip)})}"
        rows = _get(url, {"X-API-KEY": key})["data"]
        yield from (row for row in rows if row[_MP_ENERGY] is not None)
        if len(rows) < _PAGE:
            return
        skip += _PAGE


def _optimade(base: str, field: tuple[str, ...], systems: Sequence[Sequence[str]]) -> Iterator[Phase]:
    """Phases by the filters that every provider must understand, one chemical system at a time."""
    root = base.rstrip("/")
    root = root if re.search(r"/v\d+$", root) else f"{root}/v1"
    for symbols in systems:
        listed = ",".join(f'"{symbol}"' for symbol in symbols)
        query = {
            "filter": f"elements HAS ALL {listed} AND nelements={len(symbols)}",
            "response_fields": f"chemical_formula_reduced,{field[0]}",
            "page_limit": "100",
        }
        url: str | None = f"{root}/structures?{urlencode(query)}"
        while url:
            page = _get(url, {})
            for row in page["data"]:
                energy = row["attributes"]
                for name in field:
                    energy = (energy or {}).get(name)
                if energy is not None:
                    yield phase(row["attributes"]["chemical_formula_reduced"], float(energy), str(row["id"]))
            following = (page.get("links") or {}).get("next")
            following = following.get("href") if isinstance(following, dict) else following
            url = urljoin(url, following) if following else None


def _get(url: str, headers: dict[str, str]) -> Any:  # noqa: ANN401 - JSON
    host = url.partition("?")[0]
    if not host.startswith(("https://", "http://")):
        raise InputError(f"hull: {host} is no web address; give https://…")
    request = Request(url, headers={"User-Agent": f"invdesign/{__version__}", **headers})  # noqa: S310
    try:
        with urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310 - http(s) alone, see above
            return json.load(answer)
    except HTTPError as error:
        advice = "the key was refused; check MP_API_KEY" if error.code in {401, 403} else "try again later"
        raise InputError(f"hull: {host} answered {error.code} {error.reason}; {advice}.") from error
    except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
        raise InputError(
            f"hull: {host} cannot be reached ({getattr(error, 'reason', error)}); give a hull from a file."
        ) from error
    except json.JSONDecodeError as error:
        raise InputError(f"hull: {host} answered something else than JSON; check the address.") from error
