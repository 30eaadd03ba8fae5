"""A user's own hull: tables, VASP runs, the Materials Project and OPTIMADE, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qs, urlparse

import pytest
from pymatgen.core import Composition, Lattice, Structure

from invdesign.errors import InputError
from invdesign.stability.hull import online as hull_online
from invdesign.stability.hull.hull import Hull
from invdesign.stability.hull.phases import MP2020, NOT_STATED

POTCARS = {
    "Na": "PAW_PBE Na_pv 05Jan2001",
    "Cl": "PAW_PBE Cl 17Jan2003",
    "Fe": "PAW_PBE Fe_pv 06Sep2000",
    "O": "PAW_PBE O 08Apr2002",
}


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    return path


def test_total_energies_are_counted_from_the_files_own_elements(tmp_path: Path) -> None:
    text = "formula,energy_per_atom,scale\nNa,-1.3,mp2020\nNa,-1.2,mp2020\nCl,-1.8,MP2020\nNaCl,-3.6,MP2020\n"
    hull = Hull.load(table(tmp_path, text))
    assert hull.scale == MP2020
    assert hull.e_above_hull(Composition("NaCl"), 0.0).e_above_hull == pytest.approx(3.6 - 1.55)
    whole = "formula,energy\nNa2,-2.6\nCl4,-7.2\nNa4Cl4,-28.8\n"
    assert Hull.load(table(tmp_path, whole)).energies == pytest.approx([-2.05])


def test_of_one_composition_the_lowest_counts(tmp_path: Path) -> None:
    rows = "formula,formation_energy_per_atom\nNaCl,-2.0\nNa2Cl2,-2.1\nCl4Na4,-1.9\nNaN,0.1\n"
    hull = Hull.load(table(tmp_path, rows))
    assert hull.energies.tolist() == [-2.1, 0.1]
    assert hull.formulas == ["Na2Cl2", "NaN"]
    assert hull.e_above_hull(Composition("NaCl"), -2.1).n_phases == 3


def test_scale_is_stated_or_assumed(tmp_path: Path) -> None:
    formation = "formula,formation_energy_per_atom\nNaCl,-2\n"
    silent = Hull.load(table(tmp_path, formation))
    assert silent.scale == f"{MP2020} (assumed)"
    silent.check_scale()
    stated = Hull.load(table(tmp_path, f"# my runs\n# scale: r2SCAN\n{formation}"))
    assert stated.scale == "r2SCAN"
    with pytest.raises(InputError, match=r"'r2SCAN'.*MP2020"):
        stated.check_scale()
    stated.check_scale("R2SCAN")
    total = "formula,energy_per_atom\nNa,-1\nCl,-1\nNaCl,-3\n"
    assert Hull.load(table(tmp_path, total)).scale == NOT_STATED


@pytest.mark.parametrize(
    "text",
    [
        "formula,formation_energy_per_atom,Functional\nNaCl,-2,r2SCAN\n",
        "\ufeffformula,formation_energy_per_atom,Scale\nNaCl,-2,r2SCAN\n",
        "# Scale = r2SCAN\nformula,formation_energy_per_atom\nNaCl,-2\n",
    ],
)
def test_another_scale_is_seen_however_it_is_written(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="r2SCAN"):
        Hull.load(table(tmp_path, text)).check_scale()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("formula,formation_energy_per_atom,scale,functional\nNaCl,-2,MP2020,r2SCAN\n", "mixes the scales"),
        ("formula,formation_energy_per_atom\nMgO,-6.1\n", "-6.1 eV/atom is no formation energy"),
        (
            "formula,formation_energy_per_atom,functional\nNaCl,-2,PBE\nKCl,-2,r2SCAN\n",
            r"mixes the scales 'PBE' \(line 2\) and 'r2SCAN' \(line 3\)",
        ),
        ("formula,formation_energy_per_atom,scale\nNaCl,-2,MP2020\nKCl,-2,\n", "'not stated'"),
        ("# scale: PBE\nformula,formation_energy_per_atom,scale\nNaCl,-2,MP2020\n", "mixes the scales"),
        ("formula,energy_per_atom\nNa,-1\nNaCl,-2\n", "no energy of the element Cl"),
        ("formula,energy_per_atom\nNaCl,-2\n", "no energy of the elements Na, Cl"),
        ("formula,formation_energy_per_atom\nNaCl,-27\n", "line 2: -27 eV/atom is no formation energy"),
        ("# a note\nformula,formation_energy_per_atom\nxyz,-2\n", "line 3: 'xyz' is not a formula"),
    ],
)
def test_refused_tables(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Hull.load(table(tmp_path, text))


def test_a_hull_can_be_frozen(tmp_path: Path) -> None:
    text = "# scale: OQMD\nformula,formation_energy_per_atom\nNaN,0.125\nNa3N,-0.2\n"
    hull = Hull.load(table(tmp_path, text))
    hull.save_csv(tmp_path / "frozen.csv")
    again = Hull.load(tmp_path / "frozen.csv")
    assert again.scale == "OQMD"
    assert again.formulas == hull.formulas
    assert again.energies.tolist() == hull.energies.tolist()


def vasprun(structure: Structure, energy: float, *, u: dict[str, float] | None = None, **tags: str) -> str:
    """A run as VASP writes it, with what decides an energy's scale and little else."""
    symbols = [site.specie.symbol for site in structure]
    kinds = list(dict.fromkeys(symbols))

    def rows(matrix) -> str:
        return "".join(f"<v>{' '.join(f'{x:.8f}' for x in row)}</v>" for row in matrix)

    def crystal(name: str) -> str:
        lattice = structure.lattice
        return (
            f'<structure {name}><crystal><varray name="basis">{rows(lattice.matrix)}</varray>'
            f'<i name="volume">{lattice.volume}</i><varray name="rec_basis">'
            f"{rows(lattice.reciprocal_lattice_crystallographic.matrix)}</varray></crystal>"
            f'<varray name="positions">{rows(structure.frac_coords)}</varray></structure>'
        )

    incar = "".join(f'<i type="string" name="{key}">{value}</i>' for key, value in tags.items())
    if u:
        values = " ".join(str(u.get(kind, 0)) for kind in kinds)
        zeros = " ".join("0" for _ in kinds)
        incar += f'<i type="logical" name="LDAU">T</i><v name="LDAUU">{values}</v><v name="LDAUJ">{zeros}</v>'
    names = ("e_fr_energy", "e_wo_entrp", "e_0_energy")
    energies = f"<energy>{''.join(f'<i name={n!r}>{energy}</i>' for n in names)}</energy>"
    atoms = "".join(f"<rc><c>{s}</c><c>{kinds.index(s) + 1}</c></rc>" for s in symbols)
    types = "".join(
        f"<rc><c>{symbols.count(k)}</c><c>{k}</c><c>1</c><c>1</c><c>{POTCARS[k]}</c></rc>" for k in kinds
    )
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling><generator><i name="version" type="string">5.4.4</i></generator><incar>{incar}</incar>
<kpoints><generation param="Gamma"><v type="int" name="divisions">1 1 1</v></generation>
<varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1</v></varray></kpoints>
<parameters><separator name="electronic"><i type="int" name="NELM">60</i>
<i type="string" name="GGA">{tags.get("GGA", "PE")}</i><i name="AEXX">0</i><i name="HFSCREEN">0</i>
<i type="logical" name="LHFCALC">F</i><i type="logical" name="LDAU">F</i></separator></parameters>
<atominfo><atoms>{len(symbols)}</atoms><types>{len(kinds)}</types>
<array name="atoms"><set>{atoms}</set></array><array name="atomtypes"><set>{types}</set></array></atominfo>
{crystal('name="initialpos"')}
<calculation>{"<scstep>" + energies + "</scstep>"}{crystal("")}
<varray name="forces">{rows([[0, 0, 0]] * len(symbols))}</varray>{energies}</calculation>
{crystal('name="finalpos"')}</modeling>"""


IRON = Structure(Lattice.cubic(2.8), ["Fe", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.5]])
OXYGEN = Structure(Lattice.cubic(8), ["O", "O"], [[0, 0, 0], [0, 0, 0.15]])
WUESTITE = Structure(Lattice.cubic(3.0), ["Fe", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def runs(tmp_path: Path, *texts: str) -> Path:
    for number, text in enumerate(texts):
        folder = tmp_path / f"run-{number}"
        folder.mkdir()
        (folder / "vasprun.xml.gz").write_bytes(gzip.compress(text.encode()))
    return tmp_path


def test_runs_like_the_materials_projects_get_its_corrections(tmp_path: Path) -> None:
    oxide = vasprun(WUESTITE, -14.0, u={"Fe": 5.3})
    hull = Hull.load(runs(tmp_path, vasprun(IRON, -16.6), vasprun(OXYGEN, -9.8), oxide))
    assert hull.scale == MP2020
    raw = (-14.0 + 8.3 + 4.9) / 2
    corrected = raw + (-0.687 - 2.256) / 2  # oxide, and Fe in an oxide: MP2020's table
    assert hull.energies == pytest.approx([corrected], abs=1e-3)


def test_other_runs_keep_their_energies(tmp_path: Path) -> None:
    texts = [vasprun(crystal, e, METAGGA="R2SCAN") for crystal, e in ((IRON, -16.6), (OXYGEN, -9.8))]
    hull = Hull.load(runs(tmp_path, *texts, vasprun(WUESTITE, -14.0, METAGGA="R2SCAN")))
    assert hull.scale == "R2SCAN without corrections"
    assert hull.energies == pytest.approx([-0.4])
    with pytest.raises(InputError, match="R2SCAN"):
        hull.check_scale()


@pytest.mark.parametrize(
    ("oxide", "told"),
    [
        (vasprun(WUESTITE, -14.0, METAGGA="R2SCAN"), "mixes the scales 'PBE'.*'R2SCAN'"),
        (vasprun(WUESTITE, -14.0, GGA="PS"), "mixes the scales 'PBE'.*'PBEsol'"),
        (vasprun(WUESTITE, -14.0, u={"Fe": 4.0}), r"mixes U = 0 eV on Fe .* and 4 eV"),
        (vasprun(WUESTITE, -14.0)[:2000], "not a whole VASP run"),
    ],
)
def test_refused_runs(tmp_path: Path, oxide: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Hull.load(runs(tmp_path, vasprun(IRON, -16.6), vasprun(OXYGEN, -9.8), oxide))


def test_runs_without_an_element_or_convergence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no energy of the element O"):
        Hull.load(runs(tmp_path, vasprun(IRON, -16.6), vasprun(WUESTITE, -14.0, u={"Fe": 5.3})))
    endless = vasprun(IRON, -16.6)
    step = endless[endless.index("<scstep>") : endless.index("</scstep>") + 9]
    (tmp_path / "run-0" / "vasprun.xml").write_text(endless.replace(step, step * 60))
    with pytest.raises(InputError, match="did not converge"):
        Hull.load(tmp_path)


class Server:
    """Stands in for the network: answers by what is asked, and remembers it."""

    def __init__(self, answer) -> None:
        self.answer, self.asked = answer, []

    def __call__(self, request, timeout: float):
        address = urlparse(request.full_url)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        self.asked.append((address, query, request.headers))
        return io.BytesIO(json.dumps(self.answer(address, query)).encode())


MP_ROWS = [
    {"material_id": "mp-1", "formula_pretty": f, "formation_energy_per_atom": e, "thermo_type": "GGA_GGA+U"}
    for f, e in (("Na", 0.0), ("Na", 0.02), ("Cl2", 0.0), ("NaCl", -2.1), ("NaCl3", -1.2), ("Na", None))
]


def test_materials_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hull_online, "_PAGE", 4)
    monkeypatch.setenv("MP_API_KEY", "secret")
    server = Server(lambda _, query: {"data": MP_ROWS[int(query["_skip"]) :][: int(query["_limit"])]})
    monkeypatch.setattr(hull_online, "urlopen", server)
    hull = Hull.load("mp:Na-Cl")
    assert (hull.scale, len(hull)) == (MP2020, 2)
    assert [query["_skip"] for _, query, _ in server.asked] == ["0", "4"]
    address, query, headers = server.asked[0]
    assert address.netloc == "api.materialsproject.org"
    assert query["chemsys"] == "Cl,Na,Cl-Na"
    assert query["thermo_types"] == "GGA_GGA+U"
    assert headers["X-api-key"] == "secret"


def test_materials_project_never_mixes_r2scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MP_API_KEY", "secret")
    rows = [*MP_ROWS, {**MP_ROWS[3], "thermo_type": "R2SCAN"}]
    monkeypatch.setattr(hull_online, "urlopen", Server(lambda *_: {"data": rows}))
    with pytest.raises(InputError, match=r"mixes the scales.*R2SCAN"):
        Hull.load("mp:Na-Cl")


@pytest.mark.parametrize(
    ("provider", "attributes", "scale"),
    [
        (
            "materialsproject",
            lambda e: {"_mp_stability": {"gga_gga+u": {"formation_energy_per_atom": e}, "r2scan": None}},
            MP2020,
        ),
        ("oqmd", lambda e: {"_oqmd_delta_e": e}, "OQMD PBE/PBE+U"),
        ("alexandria-pbe", lambda e: {"_alexandria_formation_energy_per_atom": e}, "Alexandria PBE"),
    ],
)
def test_optimade(monkeypatch: pytest.MonkeyPatch, provider, attributes, scale) -> None:
    phases = {
        '"Cl"': [("Cl", 0.0)],
        '"Na"': [("Na", -0.01), ("Na", 0.1)],
        '"Cl","Na"': [("ClNa", -2.1), ("Cl3Na", -1.2)],
    }

    def answer(address, query):
        second = "page" in query
        listed = query["filter"].removeprefix("elements HAS ALL ").split(" AND ")[0] if not second else None
        rows = [("Cl7Na", None)] if second else phases[listed]
        data = [
            {
                "id": i,
                "attributes": {"chemical_formula_reduced": f, **(attributes(e) if e is not None else {})},
            }
            for i, (f, e) in enumerate(rows)
        ]
        more = {"href": f"{address.path}?page=2"} if len(rows) == 2 and listed == '"Cl","Na"' else None
        return {"data": data, "links": {"next": more}}

    server = Server(answer)
    monkeypatch.setattr(hull_online, "urlopen", server)
    hull = Hull.load(f"optimade:{provider}:Na-Cl")
    assert hull.scale == scale
    assert sorted(hull.formulas) == ["Cl3Na", "ClNa"]
    assert hull.e_above_hull(Composition("NaCl"), -2.095).e_above_hull == pytest.approx(0.0)  # Na moved to 0
    assert all(address.path.endswith("/v1/structures") for address, _, _ in server.asked)
    assert server.asked[-2][1]["filter"] == 'elements HAS ALL "Cl","Na" AND nelements=2'
    Hull.load(f"optimade:{provider}=http://127.0.0.1:5000/v1:Na-Cl")
    assert server.asked[-1][0].netloc == "127.0.0.1:5000"


def failing(error: Exception):
    def urlopen(*_, **__):
        raise error

    return urlopen


def test_refused_online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MP_API_KEY", raising=False)
    with pytest.raises(InputError, match="MP_API_KEY"):
        Hull.load("mp:Na-Cl")
    monkeypatch.setenv("MP_API_KEY", "secret")
    with pytest.raises(InputError, match="'Xx'"):
        Hull.load("mp:Na-Xx")
    with pytest.raises(InputError, match="no provider known here"):
        Hull.load("optimade:cod:Na-Cl")
    monkeypatch.setattr(hull_online, "urlopen", failing(URLError("no route")))
    with pytest.raises(InputError, match="cannot be reached"):
        Hull.load("mp:Na-Cl")
    monkeypatch.setattr(hull_online, "urlopen", failing(HTTPError("u", 403, "Forbidden", {}, None)))
    with pytest.raises(InputError, match="key was refused"):
        Hull.load("mp:Na-Cl")
    monkeypatch.setattr(hull_online, "urlopen", lambda *_, **__: io.BytesIO(b"<html>"))
    with pytest.raises(InputError, match="something else than JSON"):
        Hull.load("optimade:oqmd:Na-Cl")
    monkeypatch.setattr(hull_online, "urlopen", Server(lambda *_: {"data": [], "links": {}}))
    with pytest.raises(InputError, match="lists no compound"):
        Hull.load("optimade:oqmd:Na-Cl")
