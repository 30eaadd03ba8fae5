"""What people write in targets that is no clause, and which clause says it."""

from __future__ import annotations

import re

from invdesign.composition.formula import formula_amounts
from invdesign.errors import InputError

_STABLE = "write e_above_hull<0.05, eV/atom"
_MEANT = {
    "write band_gap=1.5±0.25 (PBE) or band_gap_experimental=1.5±0.25": (
        *("gap", "eg", "e_g", "egap", "gap_energy", "energy_gap", "optical_gap", "direct_gap", "gap_pbe"),
    ),
    "write only=Li,Fe,O for no other elements, and elements=Li,Fe,O for all of them": (
        *("chemical_system", "chemsys", "chem_sys", "system", "element", "species"),
    ),
    "write band_gap<0.1": ("metal", "metals", "metallic", "conductor", "is_metal"),
    "write band_gap>0.5, or a window": (
        *("insulator", "insulating", "semiconductor", "semiconducting", "nonmetal", "non_metal"),
    ),
    _STABLE: (
        *("stable", "stability", "metastable", "is_stable", "ehull", "e_hull", "hull", "above_hull"),
        *("energy_above_hull", "hull_distance", "decomposition_energy"),
    ),
    "write formation_energy_per_atom<-1, eV/atom": (
        *("formation_energy", "e_form", "eform", "e_f", "ef", "hf", "enthalpy", "heat_of_formation"),
    ),
    "write bulk_modulus_gpa>200": ("bulk_modulus", "bulk", "k_vrh", "b", "k"),
    "write shear_modulus_gpa>100": ("shear_modulus", "shear", "g_vrh", "g"),
    "write debye_temperature_k>500": ("debye_temperature", "debye", "theta_d"),
    "write thermal_conductivity_w_mk<2": ("thermal_conductivity", "kappa", "kappa_l"),
    "write space_group=225, or a symbol": ("spacegroup", "sg", "spg", "symmetry", "space_group_number"),
    "write n_atoms=5..20": ("natoms", "nsites", "n_sites", "num_atoms", "atoms", "sites"),
    "write dimensionality=2..3": ("layered", "dimension", "dimensions", "2d", "3d", "molecular"),
    "write anonymous=ABC3 for three elements": (
        *("n_elements", "nelements", "prototype", "stoichiometry", "binary", "ternary", "quaternary"),
    ),
    "write formula=Li2FeSiO4": ("composition", "compound", "reduced_formula", "pretty_formula"),
    "write exclude=toxic": ("nontoxic", "non_toxic", "toxic", "lead_free", "no_toxic"),
    "write exclude=radioactive": ("radioactive", "nonradioactive"),
    "write elements=O": ("oxide", "oxides"),
    "write elements=N": ("nitride", "nitrides"),
    "write elements=S": ("sulfide", "sulfides", "sulphide", "sulphides"),
    "write elements=F, or Cl, Br, I": ("halide", "halides", "fluoride", "chloride", "bromide", "iodide"),
    "write space_group=195..230": ("cubic",),
    "write space_group=168..194": ("hexagonal",),
    "write space_group=143..167": ("trigonal", "rhombohedral"),
    "write space_group=75..142": ("tetragonal",),
    "write space_group=16..74": ("orthorhombic",),
    "write space_group=3..15": ("monoclinic",),
    "write space_group=1..2": ("triclinic",),
    "write space_group=195..230 for cubic": ("crystal_system", "lattice_system", "lattice"),
}
_HINTS = {name: hint for hint, names in _MEANT.items() for name in names}
_VALUE = re.compile(
    r"[-+<>=±\s]*\d[\d.,]*(?:\s*(?:±|\+/?-|\.\.+|–|to)\s*[\d.]+)?\s*[A-Za-z][A-Za-z/]{0,12}|[\d.\s±–-]+"
)


def clause_meant(name: str) -> str:
    """Return what to write instead of a name that is no property or condition; empty where nobody knows."""
    return _HINTS.get(re.sub(r"[\s-]+", "_", name.strip().lower()), "")


def text_meant(text: str) -> str:
    """Return what to write instead of a text that is no clause; empty where nobody knows."""
    if hint := clause_meant(text):
        return hint
    if _VALUE.fullmatch(text):
        return "a value needs its property; write such as band_gap=1.5±0.25"
    if re.fullmatch(r"[A-Z][a-z]?(?:\s*[-,]\s*[A-Z][a-z]?)+", text):
        symbols = ",".join(re.findall(r"[A-Z][a-z]?", text))
        return f"write only={symbols} for no other elements, elements={symbols} for all of them"
    try:
        formula_amounts(text)
    except InputError:
        return ""
    return f"write formula={text}" if re.search(r"\d|[a-zA-Z]{3}", text) else f"write elements={text}"
