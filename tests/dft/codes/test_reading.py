"""Outputs that mislead: each gives what it holds, or a status and a sentence, in all codes alike."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import ase.test
import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.crystal.structure_files import write_cif
from invdesign.dft.codes.band_gap import gap_by_occupation
from invdesign.dft.codes.elk.read import read_elk
from invdesign.dft.codes.espresso.read import read_espresso
from invdesign.dft.codes.gpaw.job import CalculationError
from invdesign.dft.codes.gpaw.read import read_gpaw
from invdesign.dft.codes.interface import ParsedOutput
from invdesign.dft.codes.vasp.read import read_vasp
from invdesign.dft.collect_results import collect
from invdesign.dft.write_inputs import write_inputs
from invdesign.errors import InputError
from invdesign.io.xml import XMLRefusedError, parse_xml

DATA = Path(__file__).parents[2] / "data" / "dft"
VASP = (Path(ase.test.__file__).parent / "testdata" / "vasp" / "vasprun_dfpt.xml").read_text()
BN = {
    name: gzip.decompress((DATA / f"bn_{name}.gz").read_bytes()).decode()
    for name in ("relax.xml", "relax.out", "scf.out", "nscf.xml")
}
ENERGY = {"vasp": -6.74587304, "espresso": -542.2516041731142}


def vasp(folder: Path, *changes: tuple[str, str]) -> ParsedOutput:
    """Read NaCl by VASP, with changes (a regular expression and what replaces it)."""
    (folder / "vasprun.xml").write_text(changed(VASP, *changes))
    return read_vasp(folder)


def espresso(folder: Path, *changes: tuple[str, str], of: str = "relax.xml") -> ParsedOutput:
    """Read BN by pw.x, with changes."""
    (folder / ("pwscf.xml" if of.endswith("xml") else "pw.out")).write_text(changed(BN[of], *changes))
    return read_espresso(folder)


def changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        text, n = re.subn(old, new, text, flags=re.DOTALL)
        assert n, old
    return text


def elk(folder: Path, **changes: tuple[str, str]) -> ParsedOutput:
    """Read MgO by Elk, with a change in each named file."""
    shutil.unpack_archive(DATA / "elk_mgo.tar.gz", folder)
    for name, change in changes.items():
        path = folder / "elk_mgo" / f"{name}.OUT"
        path.write_text(changed(path.read_text(), change))
    return read_elk(folder / "elk_mgo")


def test_energy_and_gap_are_those_of_a_static_run_after_the_relaxation(tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    lower = ("-6.74587304", "-6.80000000")
    vasp(tmp_path / "static", lower)
    both = vasp(tmp_path)
    assert (both.status, both.energy) == ("done", pytest.approx(-6.8))
    assert "energy and gap of static/" in both.notes
    vasp(tmp_path / "static", lower, (r'(<varray name="basis" *>\s*<v>\s*)([\d.]+)', r"\g<1>9.99"))
    apart = vasp(tmp_path)
    assert apart.energy == pytest.approx(ENERGY["vasp"])
    assert "static/ is not used" in " ".join(apart.notes)


# bands and electrons


def test_a_partly_filled_flat_level_is_a_metal_by_its_occupations() -> None:
    """Ten electrons fill two levels and six tenths of each of five: all that are more than half full."""
    energies = np.array([[[-20.0, -10.0, -3.0, -3.0, -3.0, -3.0, -2.99, 4.0]]] * 2).reshape(1, 2, 8)
    occupations = np.array([[[1, 1, 0.6, 0.6, 0.6, 0.6, 0.6, 0]]] * 2).reshape(1, 2, 8)
    assert gap_by_occupation(energies, occupations, 5)["band_gap"] == 0
    assert gap_by_occupation(energies, occupations)["band_gap"] == 0
    full = np.array([[[1, 1, 1, 1, 1, 1, 1, 0]]] * 2).reshape(1, 2, 8)
    assert gap_by_occupation(energies, full, 7)["band_gap"] == pytest.approx(6.99)
    with pytest.raises(CalculationError, match="fill 6\\.100 bands, the electrons 7"):
        gap_by_occupation(energies, full * 6.1 / 7, 7, np.ones(2))


def test_smearing_across_a_narrow_gap_leaves_it_a_gap() -> None:
    energies = np.array([[[-1.0, 0.0, 0.1, 2.0]]])
    assert gap_by_occupation(energies, np.array([[[1, 0.7, 0.3, 0]]]), 2, np.ones(1)) == {
        "band_gap": pytest.approx(0.1),
        "direct": True,
    }


def two_spins(shift: float, levels: str, down: int, electrons: int) -> str:
    """Make BN of two spins: bands of spin down ``shift`` Hartree above those of spin up, ``down`` filled."""

    def doubled(match: re.Match[str]) -> str:
        values = np.array(match[2].split(), dtype=float)
        other = values + shift if match[1] == "eigenvalues" else np.arange(8) < down
        numbers = " ".join(f"{x:.15e}" for x in [*values, *other])
        return f'<{match[1]} size="16">{numbers}</{match[1]}>'

    bands = r'<(eigenvalues|occupations) size="8">(.*?)</\1>'
    text = re.sub(bands, doubled, BN["relax.xml"], flags=re.DOTALL)
    return changed(
        text,
        ("<lsda>false", "<lsda>true"),
        ("<nelec>8.0*e0", f"<nelec>{electrons}"),
        ("<fermi_energy>.*?</fermi_energy>", levels),
    )


ONE, TWO = "<fermi_energy>{}</fermi_energy>", "<two_fermi_energies>{}</two_fermi_energies>"


@pytest.mark.parametrize(
    ("shift", "levels", "down_and_all", "gap"),
    [
        (0, ONE.format("0.5"), (4, 8), 4.477),
        (0, TWO.format("0.5 0.51"), (4, 8), 4.477),
        (0.05, TWO.format("0.5 0.55"), (4, 8), 4.477 - 0.05 * 27.2114),
        (2, TWO.format("0.5 0.5"), (0, 4), 4.477),  # spin down is empty
        (2, TWO.format("0.5 0.5"), (0, 8), 0),  # four bands for eight electrons
        (1, TWO.format("0.5 1.5"), (4, 8), 0),  # the top of spin down lies above the bottom of spin up
    ],
)
def test_a_fixed_moment_has_a_fermi_energy_for_each_spin(
    tmp_path: Path, shift: float, levels: str, down_and_all: tuple[int, int], gap: float
) -> None:
    (tmp_path / "pwscf.xml").write_text(two_spins(shift, levels, *down_and_all))
    found = read_espresso(tmp_path)
    assert (found.status, found.moment, found.energy) == ("done", 0, pytest.approx(ENERGY["espresso"]))
    assert found.band_gap == pytest.approx(gap, abs=0.001)


@pytest.mark.parametrize(
    ("changes", "gap"),
    [
        ((), 4.477),
        ([("<nelec>8", "<nelec>9")], 0),  # the level at the Fermi energy is partly filled
        ([("<nelec>8.0*e0", "<nelec>8.3")], 0),  # doped
        ([("<nelec>8.0*e0</nelec>", "")], 4.477),  # the occupations tell
        ([("<fermi_energy>[^<]*</fermi_energy>", "")], 4.477),
        ([("<fermi_energy>[^<]*", "<fermi_energy>********")], 4.477),
        ([("<occupations size.*?</occupations>", "")], 4.477),
        ([('<k_point weight="[^"]*"', "<k_point")], 4.477),
        ([("<occupations size.*?</occupations>", ""), ("<nelec>8.0*e0</nelec>", "")], None),
        ([("<noncolin>false", "<noncolin>true"), ("<nelec>8", "<nelec>4")], 4.477),  # one electron a band
        ([("<noncolin>false", "<noncolin>true")], 0),  # 8 bands for 8 electrons, four of them empty
    ],
)  # fmt: skip
def test_bands_of_espresso_hold_its_electrons(
    tmp_path: Path, changes: list[tuple[str, str]], gap: float | None
) -> None:
    found = espresso(tmp_path, *changes)
    assert (found.status, found.energy) == ("done", pytest.approx(ENERGY["espresso"]))
    assert found.band_gap == (None if gap is None else pytest.approx(gap, abs=0.001))


@pytest.mark.parametrize(
    ("changes", "gap"),
    [
        ((), 5.4988),
        ([(r"(NELECT\">) *8\.0", r"\1 10.0")], 0),
        ([(r"(NELECT\">) *8\.0", r"\1 8.5")], 0),
        ([(r"<i name=\"NELECT\">.*?</i>", "")], 5.4988),
        ([(r"(NELECT\">) *8\.0*", r"\1 ********")], 5.4988),
        ([(r"(NELECT\">) *8\.0", r"\1 4.0"), (r"(LNONCOLLINEAR\">) *F", r"\1 T")], 5.4988),
        ([(r"(NELECT\">) *8\.0", r"\1 4.0"), (r"(LSORBIT\">) *F", r"\1 T")], 5.4988),
        ([(r"<r> *5\.6402 *0\.0000", "<r> ****** 0.0000")], None),
        ([("<eigenvalues>.*?</eigenvalues>", "")], None),
    ],
)
def test_bands_of_vasp_hold_its_electrons(
    tmp_path: Path, changes: list[tuple[str, str]], gap: float | None
) -> None:
    found = vasp(tmp_path, *changes)
    assert (found.status, found.energy) == ("done", pytest.approx(ENERGY["vasp"]))
    assert found.band_gap == gap


def test_bands_of_elk_hold_its_electrons(tmp_path: Path) -> None:
    sound = elk(tmp_path)
    assert (sound.status, sound.functional) == ("done", "PBE")
    doped = elk(tmp_path, INFO=(r"(valence charge    :) *16\.0", r"\1 15.5"))
    assert (doped.status, doped.band_gap, doped.energy) == ("done", 0, sound.energy)
    stars = elk(tmp_path, EIGVAL=(r"\n     9 +0\.3003939508 ", "\n     9  ************ "))
    assert (stars.status, stars.band_gap, stars.energy) == ("done", None, sound.energy)
    moved = elk(tmp_path, EFERMI=(r"\S+", "0.4"))
    assert (moved.band_gap, "EFERMI.OUT says 0.4" in moved.notes[0]) == (None, True)
    other = elk(tmp_path, GEOMETRY=("4.018", "4.118"))
    assert other.status == "unrelated"
    assert "INFO.OUT is of a cell of 19.23" in (other.reason or "")


# functionals by their tags


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        ("", "PBE"),
        ("GGA=PS", "PBEsol"),
        ("GGA=RP", "RPBE"),
        ("GGA=91", "PW91"),
        ("GGA=XY", "unknown (GGA = XY)"),
        ("GGA=OR LUSE_VDW=T", "optPBE-vdW"),
        ("GGA=BO LUSE_VDW=T", "optB88-vdW"),
        ("GGA=MK LUSE_VDW=T", "optB86b-vdW"),
        ("GGA=ML LUSE_VDW=T", "vdW-DF2"),
        ("GGA=MK", "optB86b"),
        ("LUSE_VDW=T", "PBE+nonlocal vdW"),
        ("IVDW=11", "PBE+D3"),
        ("IVDW=12", "PBE+D3(BJ)"),
        ("IVDW=77", "PBE+unknown dispersion (IVDW = 77)"),
        ("LVDW=.TRUE.", "PBE+D2"),
        ("METAGGA=SCAN", "SCAN"),
        ("METAGGA=SCAN LUSE_VDW=T", "SCAN+rVV10"),
        ("METAGGA=R2SCAN IVDW=13", "R2SCAN+D4"),
        ("LHFCALC=T AEXX=0.25 HFSCREEN=0.2", "HSE06"),
        ("LHFCALC=T AEXX=0.25 HFSCREEN=0.3", "HSE03"),
        ("LHFCALC=T AEXX=0.25 HFSCREEN=0", "PBE0"),
        ("LHFCALC=T AEXX=0.25 HFSCREEN=0.2 GGA=PS", "HSE06 of PBEsol"),
        ("LHFCALC=T AEXX=1 HFSCREEN=0", "HF"),
        ("LHFCALC=T AEXX=0.2 HFSCREEN=0 GGA=B3", "B3LYP"),
        ("LHFCALC=T AEXX=0.31 HFSCREEN=0.2", "hybrid of PBE (AEXX = 0.31, HFSCREEN = 0.2)"),
        ("LHFCALC=T AEXX=****** HFSCREEN=0.2", "hybrid of PBE (AEXX = ?, HFSCREEN = 0.2)"),
        ("ALGO=GW0", "GW0 on PBE"),
        ("ALGO=EVGW LHFCALC=T AEXX=0.25 HFSCREEN=0.2", "EVGW on HSE06"),
        ("ALGO=Fast", "PBE"),
    ],
)
def test_functionals_of_vasp(tmp_path: Path, tags: str, name: str) -> None:
    given = dict(one.split("=") for one in tags.split())
    text = VASP
    for tag, value in given.items():
        text = re.sub(rf'<i [^>]*name="{tag}">.*?</i>', "", text)
        text = text.replace("<parameters>", f'<parameters><i name="{tag}">{value}</i>')
    (tmp_path / "vasprun.xml").write_text(text)
    found = read_vasp(tmp_path)
    assert (found.status, found.functional) == ("done", name)
    assert (found.energy is None) == ("GW" in tags)


@pytest.mark.parametrize(
    ("potcar", "name"),
    [("PAW_PBE", "PBE"), ("PAW", "LDA"), ("PAW_GGA", "PW91"), ("US", "unknown (POTCAR US)")],
)
def test_vasp_4_6_has_no_tags_of_hybrids_and_its_potcars_decide(
    tmp_path: Path, potcar: str, name: str
) -> None:
    """It writes neither LHFCALC nor AEXX, LUSE_VDW or METAGGA, and ``--`` for GGA."""
    text = re.sub(r'<i [^>]*name="(LHF\w+|AEXX|HF\w+|AGGA\w|ALDA\w|LUSE_VDW|METAGGA)">.*?</i>', "", VASP)
    text = re.sub(r'(name="GGA">)PE', r"\1--", text).replace("PAW_PBE", potcar)
    (tmp_path / "vasprun.xml").write_text(text)
    found = read_vasp(tmp_path)
    assert (found.status, found.functional) == ("done", name)
    (tmp_path / "vasprun.xml").write_text(re.sub(r'<i [^>]*name="GGA">--</i>', "", text))
    assert read_vasp(tmp_path).functional == name


def test_potcars_of_two_functionals_are_no_functional(tmp_path: Path) -> None:
    found = vasp(tmp_path, (r'(name="GGA">)PE', r"\1--"), ("PAW_PBE Na", "PAW Na"))
    assert (found.status, "mixes the scales" in (found.reason or "")) == ("failed", True)


def test_u_of_vasp(tmp_path: Path) -> None:
    def with_u(u: str, shells: str) -> ParsedOutput:
        tags = (
            f'<i name="LDAU">T</i><v name="LDAUU">{u}</v><v name="LDAUJ">0 0</v><v name="LDAUL">{shells}</v>'
        )
        return vasp(tmp_path, ("<incar>", f"<incar>{tags}"))

    assert with_u("4 0", "2 -1").hubbard_u == {"Na": 4.0}
    assert with_u("4 3", "2 -1").hubbard_u == {"Na": 4.0}
    assert with_u("4 0", "2 -1").functional == "PBE"
    assert with_u("2**** 0", "2 -1").functional == "PBE with unreadable U"


SCREENED = "<exx_fraction>0.25</exx_fraction><screening_parameter>0.106</screening_parameter>"


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        ("<functional>PBE</functional>", "PBE"),
        ("<functional>SLA PW PBX PBC</functional>", "PBE"),
        ("<functional>PBESOL</functional>", "PBESOL"),
        ("<functional>SLA+NOGX</functional>", "SLA+NOGX"),
        ("", "unknown (no functional in the XML)"),
        ("<functional>PBE</functional><vdW><vdw_corr>grimme-d3</vdw_corr><dftd3_version>4</dftd3_version></vdW>",
         "PBE+D3 (version 4)"),
        ("<functional>PBE</functional><vdW><non_local_term>RVV10</non_local_term></vdW>", "PBE+RVV10"),
        ("<functional>VDW-DF2</functional><vdW><non_local_term>VDW2</non_local_term></vdW>", "VDW-DF2+VDW2"),
        ("<functional>PBE0</functional><hybrid><exx_fraction>0.25</exx_fraction></hybrid>", "PBE0"),
        ("<functional>PBE0</functional><hybrid><exx_fraction>0.4</exx_fraction></hybrid>",
         "PBE0 (exx_fraction = 0.4, screening_parameter = ?)"),
        (f"<functional>HSE</functional><hybrid>{SCREENED}</hybrid>", "HSE06"),
    ],
)  # fmt: skip
def test_functionals_of_espresso(tmp_path: Path, tags: str, name: str) -> None:
    found = espresso(tmp_path, (r"<functional>PBE</functional>", tags))
    assert (found.status, found.functional) == ("done", name)


def test_functionals_of_elk_and_of_printed_output(tmp_path: Path) -> None:
    numbers = {"3 0 0": "LDA", "22 0 0": "PBEsol", "100 101 130": "PBE", "77 0 0": "unknown (xctype 77 0 0)"}
    for text, name in numbers.items():
        found = elk(tmp_path, INFO=(r"(correlation functional :) +20 +0 +0", rf"\1 {text}"))
        assert (found.status, found.functional) == ("done", name)
    hybrid = espresso(tmp_path, (r"SLA  PW   PBX  PBC", "PBE0"), of="scf.out")
    assert hybrid.functional == "PBE0"
    bare = espresso(tmp_path, (r"Exchange-correlation=", "x"), of="scf.out")
    assert (bare.status, bare.functional) == ("done", "unknown (no Exchange-correlation is printed)")


@pytest.mark.parametrize(
    ("tags", "u", "functional"),
    [
        ('<Hubbard_U specie="N" label="2p">0.147</Hubbard_U>', {"N": pytest.approx(4.0, abs=1e-3)}, "PBE"),
        ('<Hubbard_U specie="N" label="2p">0.0</Hubbard_U>', {}, "PBE"),
        ('<Hubbard_J specie="N" label="2p">0.02 0.0 0.0</Hubbard_J>', {}, "PBE with Hubbard_J"),
        ('<Hubbard_V specie1="B" specie2="N">0.02</Hubbard_V>', {}, "PBE with Hubbard_V"),
        ('<Hubbard_V specie1="B" specie2="N">0.0</Hubbard_V>', {}, "PBE"),
    ],
)
def test_u_of_espresso_is_in_hartree(tmp_path: Path, tags: str, u: dict[str, float], functional: str) -> None:
    new = f"<functional>PBE</functional><dftU>{tags}</dftU>"
    found = espresso(tmp_path, (r"<functional>PBE</functional>", new))
    assert (found.hubbard_u, found.functional) == (u, functional)


ROWS_OF_U = """
     atomic species    L          U    alpha       J0     beta
        N1             1     4.0000   0.0000   0.0000   0.0000

     Atomic wfc used for LDA+U Projector are NOT orthogonalized
"""


@pytest.mark.parametrize(
    ("lines", "u", "functional"),
    [
        ("Hubbard parameters of DFT+U (Dudarev formulation) in eV:\n     U(N-2p) =  4.0", {"N": 4.0}, "PBE"),
        (f"Simplified LDA+U calculation (l_max = 1) with parameters (eV):{ROWS_OF_U}", {"N": 4.0}, "PBE"),
        (f"Full LDA+U calculation (l_max = 1) with parameters (eV):{ROWS_OF_U}", {}, None),
        ("Hubbard parameters of DFT+U+V (Dudarev formulation) in eV:\n", {}, None),
        ("Simplified LDA+U calculation (l_max = 1) with parameters (eV):\n   ****\n\n", {}, None),
    ],
)
def test_u_of_printed_output(tmp_path: Path, lines: str, u: dict[str, float], functional: str | None) -> None:
    new = rf"     {lines}\n\1"
    found = espresso(tmp_path, (r"(     bravais-lattice index)", new), of="scf.out")
    assert (found.hubbard_u, found.functional) == (u, functional or "PBE with unreadable U")


# stars, and tags that are not there


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"<parameters>", '<parameters><i type="int" name="KINTER">******</i>'),
        (r"<incar>", '<incar><v name="MAGMOM">2**** 0.0</v>'),
        (r"<incar>", '<incar><v type="int" name="LDAUL">2****</v>'),
        (r"(NELMDL\">) *-5", r"\1 ****"),
        (r"<i name=\"alphaZ\">.*?</i>", '<i name="alphaZ">**************</i>'),
        (r"<generator>.*?</generator>", ""),
        (r"<dos>.*?</dos>", "<dos><set><r>****** NaN</r></set></dos>"),
    ],
)
def test_stars_in_what_is_not_read_cost_nothing(tmp_path: Path, old: str, new: str) -> None:
    sound = vasp(tmp_path)
    assert vasp(tmp_path, (old, new)).settings == sound.settings
    assert vasp(tmp_path, (old, new)).energy == sound.energy
    assert vasp(tmp_path, (old, new)).band_gap == sound.band_gap


@pytest.mark.parametrize(
    ("read", "change", "lost"),
    [
        (vasp, (r"(<varray name=\"forces\" >.*?<v>) *\S+", r"\1 ********"), {"forces", "max_force"}),
        (vasp, (r"<varray name=\"stress\".*?</varray>", ""), {"pressure"}),
        (vasp, (r"(name=\"e_(fr|0)_energy\">) *-6.74587304", r"\1 ************"), {"energy"}),
        (vasp, (r"<varray name=\"weights\".*?</varray>", ""), set()),
        (espresso, (r"<etot>[^<]*</etot>", ""), {"energy"}),
        (espresso, (r"<etot>[^<]*", "<etot>*******"), {"energy"}),
        (espresso, (r"<forces.*?</forces>", ""), {"forces", "max_force"}),
        (espresso, (r"(<stress rank[^>]*>)\s*\S+", r"\1 *****"), {"pressure"}),
        (espresso, (r"<nk1=.*?>|<algorithmic_info>.*?</algorithmic_info>", ""), set()),
    ],
)
def test_what_is_lost_costs_only_what_it_holds(
    tmp_path: Path, read: Callable[..., ParsedOutput], change: tuple[str, str], lost: set[str]
) -> None:
    sound, found = read(tmp_path), read(tmp_path, change)
    assert found.status == "done"
    for name in ("energy", "band_gap", "max_force", "forces", "pressure"):
        if name in lost:
            assert getattr(found, name) is None
        else:
            assert np.array_equal(getattr(found, name), getattr(sound, name))


# runs that did not end well


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([(r"(name=\"NELM\">) *100", r"\1 10")], "self-consistent cycle"),
        ([(r"(<scstep>.*?<i name=\"e_fr_energy\">) *-6.90648058", r"\1 -6.90648058")], None),
        ([(r"(name=\"NSW\">) *0", r"\1 5"), (r"(name=\"IBRION\">) *-1", r"\1 0")], "molecular dynamics"),
        ([(r"(name=\"NSW\">) *0", r"\1 1"), (r"(name=\"IBRION\">) *-1", r"\1 2")], None),
        ([(r"(name=\"NSW\">) *0", r"\1 99"), (r"(name=\"IBRION\">) *-1", r"\1 2"),
          (r"(<varray name=\"forces\" >.*?<v>) *\S+", r"\1 0.5")], "still moving"),
    ],
)  # fmt: skip
def test_unconverged_runs_of_vasp(tmp_path: Path, changes: list[tuple[str, str]], reason: str | None) -> None:
    found = vasp(tmp_path, *changes)
    assert found.status == ("not converged" if reason else "done")
    assert (reason or "") in (found.reason or "")


def test_a_vasp_run_that_was_stopped_within_its_cycle_is_not_converged(tmp_path: Path) -> None:
    """``LABORT`` in STOPCAR ends the cycle before NELM, and the file is whole."""
    ends = [match.end() for match in re.finditer("</scstep>", VASP)]
    text = VASP[: ends[2]] + VASP[ends[-1] :]
    (tmp_path / "vasprun.xml").write_text(text)
    assert read_vasp(tmp_path).reason == "the last self-consistent cycle did not converge"


def test_bands_of_a_fixed_density_have_no_energy(tmp_path: Path) -> None:
    found = vasp(tmp_path, (r"(name=\"ICHARG\">) *2", r"\1 11"))
    assert (found.status, found.energy, found.band_gap) == ("done", None, 5.4988)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([("(<scf_conv>\\s*<convergence_achieved>)true", r"\1false")], "self-consistent cycle did not"),
        ([("(<output>.*?)<scf_conv>.*?</scf_conv>", r"\1")], "nothing says that the self-consistent"),
        ([("<opt_conv>.*?</opt_conv>", "")], "nothing says that the relaxation"),
        ([("<calculation>vc-relax", "<calculation>vc-md")], "molecular dynamics"),
        ([("<status>0", "<status>3")], "ended with status 3"),
    ],
)
def test_unconverged_runs_of_espresso(tmp_path: Path, changes: list[tuple[str, str]], reason: str) -> None:
    found = espresso(tmp_path, *changes)
    assert (found.status, reason in (found.reason or "")) == ("not converged", True)


def test_elk_must_converge_in_its_last_cycle(tmp_path: Path) -> None:
    again = "\n| Self-consistent loop started |\n+---+\n"
    found = elk(tmp_path, INFO=(r"\n(\+-+\+\n\| Self-consistent loop stopped)", rf"{again}\1"))
    assert found.status == "not converged"


# printed output of pw.x alone


def test_printed_output_alone_gives_what_it_has(tmp_path: Path) -> None:
    whole = espresso(tmp_path)
    (tmp_path / "pwscf.xml").unlink()
    found = espresso(tmp_path, of="relax.out")
    assert (found.status, found.functional, found.settings["smearing"]) == (
        "done",
        "PBE",
        "gaussian, 0.005 Ry",
    )
    assert found.energy == pytest.approx(whole.energy, abs=1e-6)
    assert found.band_gap == pytest.approx(whole.band_gap, abs=2e-4)
    assert found.pressure == pytest.approx(whole.pressure, abs=2e-3)
    assert found.max_force == pytest.approx(0)
    assert found.structure.volume == pytest.approx(whole.structure.volume, rel=1e-5)
    assert found.first.volume == pytest.approx(whole.first.volume, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "status", "gap"),
    [
        ([(r"bands \(ev\)", "x")], "done", None),
        ([(r"bands \(ev\)", "x"), (r"the Fermi energy is +\S+ ev",
          "highest occupied, lowest unoccupied level (ev):    11.0179   15.4979")], "done", 4.48),
        ([(r"number of electrons       =         8", "number of electrons       =         9")], "done", 0),
        ([(r"convergence has been achieved in", "convergence NOT achieved after")], "not converged", 4.48),
        ([(r"the Fermi energy is +(\S+) ev", r"the spin up/dw Fermi energies are \1 \1 ev")], "done", None),
        ([(r"(!    total energy +=) +\S+", r"\1 **********")], "done", 4.48),
        ([(r"-9\.\d\d\d\d( +\d+\.\d+)", r"*******\1")], "done", None),
    ],
)  # fmt: skip
def test_printed_output(
    tmp_path: Path, changes: list[tuple[str, str]], status: str, gap: float | None
) -> None:
    found = espresso(tmp_path, *changes, of="scf.out")
    assert found.status == status
    assert found.band_gap == (None if gap is None else pytest.approx(gap, abs=1e-3))


def test_printed_output_of_another_crystal_gives_no_energy(tmp_path: Path) -> None:
    (tmp_path / "pwscf.xml").write_text(BN["nscf.xml"])
    assert espresso(tmp_path, of="scf.out").energy == pytest.approx(-542.2515, abs=1e-3)
    for change in ((r"\n( +2 +)N  ", r"\n\1P  "), (r"\(alat\)  =       4.8452", "(alat)  =       4.9452")):
        assert espresso(tmp_path, change, of="scf.out").energy is None
    (tmp_path / "pwscf.xml").unlink()
    (tmp_path / "a.out").write_text(BN["scf.out"])
    found = espresso(tmp_path, (r"\n( +2 +)N  ", r"\n\1P  "), of="scf.out")
    assert (found.status, "several crystals (BN, BP)" in (found.reason or "")) == ("unrelated", True)


def test_xml_of_two_crystals_in_one_folder_gives_no_result(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(BN["relax.xml"])
    assert read_espresso(tmp_path).status == "done"
    (tmp_path / "b.xml").write_text(BN["relax.xml"].replace('name="N"', 'name="P"'))
    found = read_espresso(tmp_path)
    assert (found.status, "several crystals (BN, BP)" in (found.reason or "")) == ("unrelated", True)


# no file, another file, half a file


READERS = {
    "vasprun.xml": (read_vasp, VASP.encode()),
    "pwscf.xml": (read_espresso, BN["relax.xml"].encode()),
    "pw.out": (read_espresso, BN["scf.out"].encode()),
    "INFO.OUT": (read_elk, b"Elk version 8.4.30 started\nElk version 8.4.30 stopped"),
    "result.json": (read_gpaw, (DATA / "mgo_gpaw.json").read_bytes()),
    "trajectory.traj": (read_gpaw, (DATA / "mgo_gpaw.traj").read_bytes()),
}
BOMB = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;">]><modeling>&d;</modeling>'
DAMAGED = {
    "empty": lambda content: b"",
    "binary": lambda content: bytes(range(256)) * 40,
    "half": lambda content: content[: len(content) // 2],
    "gzip": lambda content: gzip.compress(content)[:500],
    "zeros": lambda content: content[:300] + b"\0" * 3000,
    "bomb": lambda content: BOMB,
    "deep": lambda content: b"<modeling>" * 10_000,
    "list": lambda content: b"[" * 100_000,
    "poem": lambda content: "Schläft ein Lied".encode("latin-1"),
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("name", READERS)
def test_damaged_files_have_a_status_and_a_sentence(tmp_path: Path, name: str, damage: str) -> None:
    read, content = READERS[name]
    (tmp_path / name).write_bytes(DAMAGED[damage](content))
    found = read(tmp_path)
    assert found.status in {"truncated", "unfinished", "unrelated", "failed"}
    assert found.reason
    assert "\n" not in found.reason
    assert len(found.reason) < 400
    assert found.energy is None or found.status == "unfinished"


@pytest.mark.parametrize("name", READERS)
def test_a_folder_where_a_file_was_expected_is_no_run(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert READERS[name][0](tmp_path).status == "not run"


@pytest.mark.parametrize("name", ["EIGVAL.OUT", "EFERMI.OUT", "BAND.OUT", "GEOMETRY.OUT"])
def test_folders_in_place_of_elks_files(tmp_path: Path, name: str) -> None:
    elk(tmp_path)
    (tmp_path / "elk_mgo" / name).unlink()
    (tmp_path / "elk_mgo" / name).mkdir()
    found = read_elk(tmp_path / "elk_mgo")
    assert found.status == ("truncated" if name == "GEOMETRY.OUT" else "done")
    assert (found.band_gap is None) == (name in {"EIGVAL.OUT", "GEOMETRY.OUT"})


def test_no_entity_is_expanded_and_nothing_nested_without_end(tmp_path: Path) -> None:
    for text, why in ((BOMB, "document type"), (b"<a>" * 200, "nested")):
        (tmp_path / "x.xml").write_bytes(text)
        with pytest.raises(XMLRefusedError, match=why):
            parse_xml(tmp_path / "x.xml")
    (tmp_path / "x.xml").write_text("<a><big><b>1</b></big><c>2</c><c>3</c></a>")
    root = parse_xml(tmp_path / "x.xml", skip={"big"}, last={"c"})
    assert [(element.tag, element.text) for element in root] == [("c", None), ("c", "3")]


AXIS = r"(<varray name=\"basis\" >\s*<v> *\S+ +)2.72739551"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ((r"(name=\"volume\">) *40.57647914", r"\1 -40.57647914"), "it says -40.58"),
        ((AXIS, r"\1 inf"), "finite|no volume|not numbers"),
        (
            (r"(<varray name=\"basis\" >\s*<v> *\S+ +)2.72739551", r"\1 nan"),
            "finite|no volume|not numbers|says",
        ),
        ((r"(name=\"e_fr_energy\">) *-6.74587304", r"\1 -inf"), None),
    ],
)
def test_bad_numbers_of_vasp(tmp_path: Path, change: tuple[str, str], told: str | None) -> None:
    found = vasp(tmp_path, change)
    if told is None:
        assert (found.status, found.energy is None or abs(found.energy) < 1e3) == ("done", True)
    else:
        assert found.status in {"failed", "truncated"}
        assert re.search(told, found.reason or ""), found.reason


# what was written, and what came back


NACL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.4548), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def job(tmp_path: Path) -> Path:
    write_cif(NACL, tmp_path / "nacl.cif", symmetrised=False)
    write_inputs([tmp_path / "nacl.cif"], "vasp", tmp_path / "out")
    return next(path for path in (tmp_path / "out").iterdir() if path.is_dir())


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ((), "done"),
        ([(r'<structure name="initialpos" >.*?</structure>', "")], "done"),
        ([("<c>Cl</c>", "<c>Br</c>")], "unrelated"),
        ([(r'<structure name="initialpos" >.*?</structure>', ""), ("<c>Cl</c>", "<c>Br</c>")], "unrelated"),
    ],
)
def test_results_of_another_crystal_are_never_taken(
    job: Path, changes: list[tuple[str, str]], status: str
) -> None:
    vasp(job, *changes)
    (row,) = collect([job.parent], job.parent).rows
    assert row["status"] == status
    assert (row["band_gap_dft"] is None) == (status == "unrelated")


def test_the_output_of_another_code_is_never_taken(job: Path) -> None:
    (job / "vasprun.xml").write_text(BN["relax.xml"])
    (row,) = collect([job.parent], job.parent).rows
    assert (row["status"], row["energy_per_atom"]) == ("unrelated", None)
    shutil.rmtree(job)
    job.mkdir()
    (job / "pwscf.xml").write_text(BN["relax.xml"])
    assert collect([job.parent], job.parent).rows[0]["status"] == "not run"


@pytest.mark.parametrize("change", [{"structure": "no POSCAR"}, {"source": None}, {"files": []}])
def test_a_damaged_manifest_is_refused_with_a_sentence(job: Path, change: dict[str, object]) -> None:
    path = job.parent / "manifest.json"
    content = json.loads(path.read_text())
    content["candidates"][0] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="is no manifest"):
        collect([job.parent], job.parent)
