"""Crystals with a known answer, spelled in the many ways in which files have them."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gemmi
import numpy as np
from pymatgen.core import Lattice, Structure


@dataclass(frozen=True)
class Crystal:
    """Asymmetric unit in the reference setting of a space group; lengths in Å, angles in degrees."""

    name: str
    number: int
    cell: tuple[float, float, float, float, float, float]
    sites: tuple[tuple[str, float, float, float], ...]

    def structure(self) -> Structure:
        """Return the whole unit cell."""
        group = reference(self.number)
        symbols: list[str] = []
        positions: list[np.ndarray] = []
        for symbol, *xyz in self.sites:
            orbit: list[np.ndarray] = []
            for operation in group.operations():
                x = np.array(operation.apply_to_xyz(list(xyz))) % 1
                if all(np.abs((x - y + 0.5) % 1 - 0.5).max() > 1e-3 for y in orbit):
                    orbit.append(x)
            symbols += [symbol] * len(orbit)
            positions += orbit
        return Structure(Lattice.from_parameters(*self.cell), symbols, positions)


def reference(number: int) -> gemmi.SpaceGroup:
    """Return the reference setting of a space group."""
    return next(
        group for group in gemmi.spacegroup_table() if group.number == number and group.is_reference_setting()
    )


def settings(number: int) -> list[gemmi.SpaceGroup]:
    """Return all settings of a space group that gemmi tabulates, each Hall symbol once."""
    found = {g.hall: g for g in reversed(list(gemmi.spacegroup_table())) if g.number == number}
    return list(found.values())


THIRD = 1 / 3
CRYSTALS = (
    Crystal("NaCl", 225, (5.64, 5.64, 5.64, 90, 90, 90), (("Na", 0, 0, 0), ("Cl", 0.5, 0.5, 0.5))),
    Crystal("CsCl", 221, (4.12, 4.12, 4.12, 90, 90, 90), (("Cs", 0, 0, 0), ("Cl", 0.5, 0.5, 0.5))),
    Crystal("C", 227, (3.567, 3.567, 3.567, 90, 90, 90), (("C", 0.125, 0.125, 0.125),)),
    Crystal(
        "MgAl2O4",
        227,
        (8.08, 8.08, 8.08, 90, 90, 90),
        (("Mg", 0.125, 0.125, 0.125), ("Al", 0.5, 0.5, 0.5), ("O", 0.2624, 0.2624, 0.2624)),
    ),
    Crystal(
        "ZnO",
        186,
        (3.25, 3.25, 5.207, 90, 90, 120),
        (("Zn", THIRD, 2 * THIRD, 0), ("O", THIRD, 2 * THIRD, 0.382)),
    ),
    Crystal("TiO2", 136, (4.594, 4.594, 2.959, 90, 90, 90), (("Ti", 0, 0, 0), ("O", 0.305, 0.305, 0))),
    Crystal(
        "anatase", 141, (3.785, 3.785, 9.514, 90, 90, 90), (("Ti", 0, 0.75, 0.125), ("O", 0, 0.25, 0.0816))
    ),
    Crystal("Bi", 166, (4.546, 4.546, 11.862, 90, 90, 120), (("Bi", 0, 0, 0.2339),)),
    Crystal(
        "LiCoO2",
        166,
        (2.816, 2.816, 14.05, 90, 90, 120),
        (("Li", 0, 0, 0.5), ("Co", 0, 0, 0), ("O", 0, 0, 0.2605)),
    ),
    Crystal(
        "Al2O3", 167, (4.759, 4.759, 12.991, 90, 90, 120), (("Al", 0, 0, 0.3522), ("O", 0.3063, 0, 0.25))
    ),
    Crystal(
        "SrTiO3",
        221,
        (3.905, 3.905, 3.905, 90, 90, 90),
        (("Sr", 0.5, 0.5, 0.5), ("Ti", 0, 0, 0), ("O", 0.5, 0, 0)),
    ),
    Crystal("CdI2", 164, (4.24, 4.24, 6.84, 90, 90, 120), (("Cd", 0, 0, 0), ("I", THIRD, 2 * THIRD, 0.249))),
    Crystal(
        "MgH2O2",
        164,
        (3.142, 3.142, 4.766, 90, 90, 120),
        (("Mg", 0, 0, 0), ("O", THIRD, 2 * THIRD, 0.2216), ("H", THIRD, 2 * THIRD, 0.4303)),
    ),
    Crystal(
        "SiO2",
        154,
        (4.916, 4.916, 5.405, 90, 90, 120),
        (("Si", 0.4697, 0, 2 * THIRD), ("O", 0.4135, 0.2669, 0.7858)),
    ),
    Crystal("FeS2", 205, (5.416, 5.416, 5.416, 90, 90, 90), (("Fe", 0, 0, 0), ("S", 0.385, 0.385, 0.385))),
    Crystal(
        "ZrO2",
        14,
        (5.15, 5.212, 5.317, 90, 99.23, 90),
        (("Zr", 0.2754, 0.0395, 0.2083), ("O", 0.07, 0.3317, 0.3447), ("O", 0.4496, 0.7569, 0.4792)),
    ),
    Crystal(
        "CaCO3",
        62,
        (5.741, 4.961, 7.967, 90, 90, 90),
        (
            ("Ca", 0.7597, 0.25, 0.5851),
            ("C", 0.9149, 0.25, 0.2379),
            ("O", 0.9046, 0.25, 0.4219),
            ("O", 0.9126, 0.4735, 0.3193),
        ),
    ),
    Crystal(
        "BaTiO3",
        99,
        (3.995, 3.995, 4.034, 90, 90, 90),
        (("Ba", 0, 0, 0), ("Ti", 0.5, 0.5, 0.482), ("O", 0.5, 0.5, 0.016), ("O", 0.5, 0, 0.515)),
    ),
    Crystal(
        "CaWO4",
        88,
        (5.243, 5.243, 11.376, 90, 90, 90),
        (("Ca", 0, 0.25, 0.625), ("W", 0, 0.25, 0.125), ("O", 0.1507, 0.0086, 0.2106)),
    ),
    Crystal("CuO", 15, (4.684, 3.423, 5.129, 90, 99.54, 90), (("Cu", 0.25, 0.25, 0), ("O", 0, 0.4184, 0.25))),
    Crystal(
        "CuFeO2",
        166,
        (3.035, 3.035, 17.166, 90, 90, 120),
        (("Cu", 0, 0, 0), ("Fe", 0, 0, 0.5), ("O", 0, 0, 0.1066)),
    ),
)


def in_setting(crystal: Crystal, group: gemmi.SpaceGroup) -> Crystal:
    """Return the crystal with the axes and origin of another setting of its group."""
    change = group.basisop
    rotation = np.array(change.rot) / change.DEN
    rows = np.linalg.inv(rotation).T @ Lattice.from_parameters(*crystal.cell).matrix
    cell = tuple(float(x) for x in Lattice(rows).parameters)
    sites = tuple(
        (symbol, *(float(x) for x in change.apply_to_xyz(list(xyz)))) for symbol, *xyz in crystal.sites
    )
    return Crystal(crystal.name, crystal.number, cell, sites)  # type: ignore[arg-type]


def cif(
    crystal: Crystal,
    group: gemmi.SpaceGroup | None = None,
    *,
    symbol: str | None = None,
    operations: bool = False,
    occupancy: str | None = None,
    label: Callable[[str, int], str] = lambda symbol, n: f"{symbol}{n}",
    type_symbol: Callable[[str], str] | None = str,
    number: Callable[[float], str] = lambda x: f"{x:.6f}",
    formula: str | None = None,
    before: str = "",
    extra: str = "",
) -> str:
    """Return a CIF of the asymmetric unit in one setting."""
    group = group or reference(crystal.number)
    shown = in_setting(crystal, group)
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = [f"{before}data_{crystal.name}", extra.strip("\n")] if extra else [f"{before}data_{crystal.name}"]
    lines += [f"_cell_{name}   {value:.5f}" for name, value in zip(names, shown.cell, strict=True)]
    if formula:
        lines.append(f"_chemical_formula_sum   '{formula}'")
    lines.append(f"_symmetry_space_group_name_H-M   '{symbol or group.xhm()}'")
    if operations:
        lines += ["loop_", "_symmetry_equiv_pos_as_xyz"]
        lines += [f"'{operation.triplet()}'" for operation in group.operations()]
    lines += ["loop_", "_atom_site_label"]
    lines += ["_atom_site_type_symbol"] if type_symbol else []
    lines += ["_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z"]
    lines += ["_atom_site_occupancy"] if occupancy else []
    for n, (element, *xyz) in enumerate(shown.sites, start=1):
        words = [label(element, n), *([type_symbol(element)] if type_symbol else [])]
        words += [number(x % 1) for x in xyz] + ([occupancy] if occupancy else [])
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


def poscar(
    structure: Structure,
    *,
    scale: str = "1.0",
    divide: float = 1.0,
    number: Callable[[float], str] = "{:.10f}".format,
    comment: str = "",
    cartesian: bool = False,
    decorate: Callable[[str], str] = str,
) -> str:
    """Return a POSCAR with symbols; vectors are divided by ``divide``."""
    structure = structure.get_sorted_structure()
    counts: dict[str, int] = {}
    for site in structure:
        counts[site.specie.symbol] = counts.get(site.specie.symbol, 0) + 1
    lines = ["a crystal", scale]
    lines += [" ".join(number(x / divide) for x in row) + comment for row in structure.lattice.matrix]
    lines += [" ".join(decorate(symbol) for symbol in counts), " ".join(str(n) for n in counts.values())]
    lines.append("Cartesian" if cartesian else "Direct")
    positions = structure.cart_coords / divide if cartesian else structure.frac_coords
    lines += [" ".join(number(x) for x in row) + comment for row in positions]
    return "\n".join(lines) + "\n"


def extxyz(
    structure: Structure, *, pbc: str = ' pbc="T T T"', properties: str = " Properties=species:S:1:pos:R:3"
) -> str:
    """Return one frame of extended XYZ."""
    lattice = " ".join(f"{x:.8f}" for x in structure.lattice.matrix.ravel())
    lines = [str(len(structure)), f'Lattice="{lattice}"{properties}{pbc}']
    lines += [f"{s.specie.symbol} " + " ".join(f"{x:.8f}" for x in s.coords) for s in structure]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Spelling:
    """One file; ``crystal`` is its right reading, None where it must be refused."""

    name: str
    file: str
    content: bytes
    crystal: Crystal | None


def _fraction(x: float) -> str:
    for n, text in ((0, "0"), (1 / 3, "1/3"), (2 / 3, "2/3"), (0.5, "1/2"), (0.25, "1/4")):
        if abs(x - n) < 1e-6:
            return text
    return f"{x:.5f}"


def spellings() -> Iterator[Spelling]:
    """All files with a known answer."""
    for crystal in CRYSTALS:
        for name, text in _cifs(crystal):
            content = text if isinstance(text, bytes) else text.encode()
            yield Spelling(f"{crystal.name} {name}", "x.cif", content, crystal)
        for name, file, content in _others(crystal):
            yield Spelling(f"{crystal.name} {name}", file, content, crystal)
    for name, file, text in _wrong():
        yield Spelling(f"refused: {name}", file, text.encode(), None)


def _cifs(crystal: Crystal) -> Iterator[tuple[str, str | bytes]]:
    for group in settings(crystal.number):
        yield f"setting {group.xhm()}", cif(crystal, group)
        yield f"setting {group.xhm()} by operators", cif(crystal, group, operations=True)
    plain = cif(crystal)
    yield "occupancy .", cif(crystal, occupancy=".")
    yield "occupancy ?", cif(crystal, occupancy="?")
    yield "occupancy 0.9999", cif(crystal, occupancy="0.9999")
    yield "occupancy 1.0(1)", cif(crystal, occupancy="1.0(1)")
    yield "uncertainties", cif(crystal, number=lambda x: f"{x:.5f}(12)")
    yield "four digits", cif(crystal, number=lambda x: f"{x:.4f}")
    yield "fractions by hand", cif(crystal, number=_fraction)
    yield "no leading zero", cif(crystal, number=lambda x: f"{x:.5f}".removeprefix("0") or "0")
    yield "labels alone", cif(crystal, type_symbol=None)
    yield "labels with brackets", cif(crystal, label=lambda s, n: f"{s}({n})", type_symbol=None)
    yield "upper case", cif(crystal, label=lambda s, n: f"{s.upper()}{n}", type_symbol=str.upper)
    yield "charges Fe2+", cif(crystal, type_symbol=lambda s: f"{s}2+")
    yield "charges Fe+2", cif(crystal, type_symbol=lambda s: f"{s}+2")
    yield "CRLF", plain.replace("\n", "\r\n")
    yield "old Mac line ends", plain.replace("\n", "\r")
    yield "BOM", b"\xef\xbb\xbf" + plain.encode()
    yield "Latin-1", cif(crystal, extra="_publ_author_name 'M\xfcller, J\xf6rg'").encode("latin-1")
    yield "UTF-16", plain.encode("utf-16")
    yield "tabs", plain.replace(" ", "\t")
    yield "comments", "# a comment\n" + plain.replace("loop_", "# data_comment\nloop_", 1)
    yield (
        "data_ in text",
        cif(crystal, extra="_refine_special_details\n;\ndata_ were collected\ndata_x\nloop_\n;"),
    )
    yield (
        "loop in text",
        cif(crystal, extra="_publ_section_comment\n;\n_atom_site_label\n_cell_length_a 3\n;"),
    )
    yield "block before", cif(crystal, before="data_global\n_journal_year 1999\n\n")
    yield (
        "capital tags",
        plain.replace("_cell_length", "_Cell_Length").replace("_atom_site_fract", "_atom_site_Fract"),
    )
    yield (
        "DDLm",
        (
            plain.replace("_cell_", "_cell.")
            .replace("_atom_site_", "_atom_site.")
            .replace("_symmetry_space_group_name_H-M", "_space_group.name_H-M_alt")
        ),
    )
    yield (
        "number of the group",
        plain.replace(
            "_symmetry_space_group_name_H-M",
            f"_symmetry_Int_Tables_number {crystal.number}\n_symmetry_space_group_name_H-M",
        ),
    )
    hall = reference(crystal.number).hall
    head, _, tail = plain.partition("_symmetry_space_group_name_H-M")
    yield "Hall symbol alone", f"{head}_space_group_name_Hall '{hall}'\n{tail.partition(chr(10))[2]}"
    structure = crystal.structure()
    counts = structure.composition.get_el_amt_dict()
    yield "right formula", cif(crystal, formula=" ".join(f"{e}{n:g}" for e, n in counts.items()))
    yield "reduced formula", cif(crystal, formula=structure.composition.reduced_formula)
    yield "pymatgen", structure.to(fmt="cif")
    yield "pymatgen symmetrised", structure.to(fmt="cif", symprec=1e-3)
    buffer = io.BytesIO()
    structure.to_ase_atoms().write(buffer, format="cif")
    yield "ASE", buffer.getvalue()


def _others(crystal: Crystal) -> Iterator[tuple[str, str, bytes]]:
    structure = crystal.structure()
    atoms = structure.to_ase_atoms()
    plain = cif(crystal)
    volume = structure.volume
    yield "POSCAR", "POSCAR", poscar(structure).encode()
    yield "CONTCAR of a step", "CONTCAR_2", poscar(structure).encode()
    yield "POSCAR with scale", "a.vasp", poscar(structure, scale="2.0", divide=2.0).encode()
    yield "POSCAR with volume", "a.vasp", poscar(structure, scale=f"-{volume:.6f}", divide=3.1).encode()
    yield "POSCAR with three scales", "POSCAR", poscar(structure, scale="2.0 2.0 2.0", divide=2.0).encode()
    yield (
        "POSCAR Fortran",
        "POSCAR",
        poscar(structure, number=lambda x: f"{x:.8E}".replace("E", "D")).encode(),
    )
    yield "POSCAR comments", "POSCAR", poscar(structure, comment="  ! a remark").encode()
    yield "POSCAR Cartesian", "POSCAR", poscar(structure, cartesian=True).encode()
    yield "POSCAR of POTCAR names", "POSCAR", poscar(structure, decorate=lambda s: f"{s}_pv").encode()
    yield "POSCAR Latin-1", "POSCAR", poscar(structure).replace("a crystal", "M\xfcller").encode("latin-1")
    yield "POSCAR CRLF", "POSCAR", poscar(structure).replace("\n", "\r\n").encode()
    yield "extxyz", "a.extxyz", extxyz(structure).encode()
    yield "extxyz without pbc", "a.xyz", extxyz(structure, pbc="").encode()
    yield "extxyz without properties", "a.xyz", extxyz(structure, properties="").encode()
    yield "extxyz gzipped", "a.extxyz.gz", gzip.compress(extxyz(structure).encode())
    yield "CSV", "a.csv", ('id,cif\n1,"' + plain.replace('"', '""') + '"\n').encode()
    yield "pymatgen JSON", "a.json", json.dumps(structure.as_dict()).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("gen_0.cif", plain)
    yield "ZIP", "generated_crystals_cif.zip", packed.getvalue()
    for suffix, kind in (("json", "json"), ("traj", "traj"), ("xsf", "xsf")):
        stream = io.BytesIO() if kind == "traj" else io.StringIO()
        atoms.write(stream, format=kind)
        content = stream.getvalue()
        yield f"ASE {suffix}", f"a.{suffix}", content if isinstance(content, bytes) else content.encode()


def _wrong() -> Iterator[tuple[str, str, str]]:
    by_name = {crystal.name: crystal for crystal in CRYSTALS}
    salt, zincite, rutile = by_name["NaCl"], by_name["ZnO"], by_name["TiO2"]
    yield "another element than the formula's", "x.cif", cif(salt, formula="K4 Cl4")
    yield "hydrogen missing", "x.cif", cif(rutile, formula="H2 O4 Ti2")
    yield "half occupied", "x.cif", cif(salt, occupancy="0.5")
    yield "Z and formula disagree", "x.cif", cif(salt, formula="Na Cl", extra="_cell_formula_units_Z 8")
    yield (
        "cubic group, tetragonal cell",
        "x.cif",
        cif(salt).replace("_cell_length_c   5.64", "_cell_length_c   6.64"),
    )
    yield (
        "hexagonal group, right angles",
        "x.cif",
        cif(zincite).replace("angle_gamma   120", "angle_gamma   90"),
    )
    yield "volume disagrees", "x.cif", cif(salt, extra="_cell_volume 300.0")
    yield "density disagrees", "x.cif", cif(salt, extra="_exptl_crystal_density_diffrn 9.9")
    yield "no such group", "x.cif", cif(salt, symbol="F m -3 q")
    yield "infinite cell", "x.cif", cif(salt).replace("5.64000", "inf")
    yield "cell without volume", "x.cif", cif(salt).replace("90.0", "0.0")
    yield "dilute", "x.cif", cif(salt).replace("5.64000", "56400.0")
    yield (
        "on one another",
        "x.cif",
        cif(Crystal("X", 1, (5, 5, 5, 90, 90, 90), (("Na", 0, 0, 0), ("Cl", 0.02, 0, 0)))),
    )
    yield "slab", "slab.extxyz", extxyz(salt.structure(), pbc=' pbc="T T F"')
    yield "molecule", "a.xyz", extxyz(salt.structure(), pbc=' pbc="F F F"')
    yield (
        "no symbols",
        "POSCAR",
        "\n".join(line for n, line in enumerate(poscar(salt.structure()).splitlines()) if n != 5),
    )
    yield "too few atoms", "POSCAR", poscar(salt.structure()).rsplit("\n", 2)[0] + "\n"
    yield "infinite vector", "POSCAR", poscar(salt.structure(), scale="inf")
    yield "zero scale", "POSCAR", poscar(salt.structure(), scale="0.0")
    yield "NaN vector", "a.extxyz", extxyz(salt.structure()).replace("5.64000000", "nan", 1)
    yield "a pickle by its name", "a.pkl", "cos\nsystem\n(S'true'\ntR."
