"""What is fuzzed: for each kind of input some sound ones, and what reads them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import ase.db
import ase.test
import pyarrow as pa
import pyarrow.parquet as pq
import spelled_crystals as known

DATA = Path(__file__).parents[1] / "data" / "dft"
VASP = Path(ase.test.__file__).parent / "testdata" / "vasp"


@dataclass(frozen=True)
class Subject:
    """One kind of input.

    Attributes:
        name: of the kind.
        file: name under which the damaged content is written.
        sound: undamaged contents.
        read: reads the file; returns whether it was read, raises InputError where it is refused.
    """

    name: str
    file: str
    sound: Sequence[bytes]
    read: Callable[[Path], bool]


def read_structures(path: Path) -> bool:
    """Read every crystal, and find its symmetry, as each command does next."""
    from invdesign.crystal.structure_files import Unreadable, read_entries
    from invdesign.crystal.symmetry import SymmetryError, gene_of

    found = False
    for entry in islice(read_entries(path), 20):
        if isinstance(entry, Unreadable):
            check_message(entry.reason)
            continue
        found = True
        if len(entry.structure) < 60:
            try:
                gene_of(entry.structure)
            except SymmetryError:
                continue
    return found


def read_formulas(path: Path) -> bool:
    """Read a table of formulas as ``screen`` does."""
    from invdesign.screening.readers import read_formulas

    return any(len(block.formulas) for block in islice(read_formulas(path), 4))


def read_formula(path: Path) -> bool:
    """Read one formula."""
    from invdesign.composition.formula import formula_amounts

    return bool(formula_amounts(path.read_bytes().decode("latin-1")))


def read_target(path: Path) -> bool:
    """Read one target and write it again."""
    from invdesign.core.target import parse_target

    target = parse_target(path.read_bytes().decode("utf-8", "replace"))
    assert parse_target(str(target)) == target
    return True


def read_campaign(path: Path) -> bool:
    """Read a campaign file."""
    from invdesign.campaign.config import CampaignConfig
    from invdesign.io.config import build, read_yaml

    return bool(build(CampaignConfig, read_yaml(path) | {"out": Path("x")}, "campaign"))


def dft_reader(code: str) -> Callable[[Path], bool]:
    """Return what reads the folder of a file; it never raises."""

    def read(path: Path) -> bool:
        from invdesign.dft.codes.registry import get_code, recognize

        folder = path.parent.parent if path.parent.name in {"out", "pwscf.save"} else path.parent
        recognize(folder)
        parsed = get_code(code).read(folder)
        assert parsed.status == "done" or parsed.reason
        check_message(parsed.reason or "")
        return parsed.status in {"done", "unfinished"}

    return read


class MessageError(Exception):
    """A message does not fit a terminal: it is of several lines, or repeats too much of the input."""


def is_short(text: str) -> bool:
    """Return whether a message is one line of at most 700 characters."""
    return "\n" not in text and len(text) <= 700


def check_message(text: str) -> None:
    """Raise if a message is too long."""
    if not is_short(text):
        raise MessageError(text)


def _database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.db"
        with ase.db.connect(path) as database:
            for crystal in known.CRYSTALS[:3]:
                database.write(crystal.structure().to_ase_atoms(msonable=False), name=crystal.name)
        return path.read_bytes()


def _parquet() -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"formula": ["NaCl", "TiO2", "SrTiO3"], "x": [1.0, 2.0, 3.0]}), stream)
    return stream.getvalue()


def _elk() -> dict[str, bytes]:
    with tarfile.open(DATA / "elk_mgo.tar.gz") as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        return {Path(m.name).name: archive.extractfile(m).read() for m in members}  # type: ignore[union-attr]


def _gpaw_inputs() -> dict[str, bytes]:
    crystal = known.Crystal(
        "MgO", 225, (4.25, 4.25, 4.25, 90, 90, 90), (("Mg", 0, 0, 0), ("O", 0.5, 0.5, 0.5))
    )
    primitive = crystal.structure().get_primitive_structure()
    return {"input.json": b'{"task": "relax"}', "structure.vasp": known.poscar(primitive).encode()}


def _structures() -> list[Subject]:
    sound: dict[str, list[bytes]] = {}
    few = {"NaCl", "ZnO", "Bi", "ZrO2"}
    for spelling in known.spellings():
        if spelling.crystal and spelling.crystal.name in few:
            sound.setdefault(Path(spelling.file.removesuffix(".gz")).suffix or spelling.file, []).append(
                spelling.content
            )
    return [
        Subject("CIF", "x.cif", sound[".cif"], read_structures),
        Subject("POSCAR", "POSCAR", [*sound["POSCAR"], *sound[".vasp"]], read_structures),
        Subject(
            "extxyz",
            "x.extxyz",
            sound[".xyz"] + [s for s in sound[".extxyz"] if s[:2] != b"\x1f\x8b"],
            read_structures,
        ),
        Subject("CSV of CIFs", "x.csv", sound[".csv"], read_structures),
        Subject("ASE database", "x.db", [_database()], read_structures),
        Subject("JSON", "x.json", sound[".json"], read_structures),
        Subject(
            "trajectory", "x.traj", [*sound[".traj"], (DATA / "mgo_gpaw.traj").read_bytes()], read_structures
        ),
        Subject("XSF", "x.xsf", sound[".xsf"], read_structures),
        Subject("ZIP", "x.zip", sound[".zip"], read_structures),
        Subject("gzipped CIF", "x.cif.gz", [gzip.compress(sound[".cif"][0])], read_structures),
    ]


FORMULAS = b"NaCl;Li2FeSiO4;Ca(OH)2;CuSO4\xb75H2O;Fe0.5Mn0.5O;K4[Fe(CN)6];La0.7Sr0.3MnO3;D2O;Al2(SO4)3".split(
    b";"
)
TARGETS = (
    "band_gap=1.5±0.25",
    "band_gap=1.2..1.8 e_above_hull<0.05 exclude=Pb,Cd",
    "elements=O only=Li,Fe,O n_atoms=5..20",
    "formula=Li2FeSiO4 space_group=225,Pnma,195..206",
    "anonymous=ABC3 hhi<5000 abundance>1 band_gap>3",
    "bulk_modulus_gpa>100 exclude=toxic",
)
CAMPAIGN = (
    b"target: band_gap=1.5..1.8\nn_genes: 512\nn_relax: 32\nn_shortlist: 5\nseed: 1\nfmax: 0.05\n"
    b"formulas: [MgO]\n"
)


def _dft() -> list[Subject]:
    qe = [gzip.decompress((DATA / f"bn_{name}.xml.gz").read_bytes()) for name in ("relax", "fixed", "nscf")]
    out = [gzip.decompress((DATA / f"bn_{name}.out.gz").read_bytes()) for name in ("relax", "scf")]
    vasp = [(VASP / f"vasprun_{name}.xml").read_bytes() for name in ("dfpt", "pstress")]
    gpaw = [(DATA / f"{name}_gpaw.json").read_bytes() for name in ("mgo", "mg", "o2")]
    # what the reader checks before all else, and would hide the rest
    inputs = {name: hashlib.sha256(content).hexdigest() for name, content in _gpaw_inputs().items()}
    gpaw = [json.dumps(json.loads(one) | {"inputs": inputs}).encode() for one in gpaw]
    elk = [Subject(f"Elk {name}", name, [content], dft_reader("elk")) for name, content in _elk().items()]
    return [
        Subject("VASP vasprun.xml", "vasprun.xml", vasp, dft_reader("vasp")),
        Subject("QE XML", "out/pwscf.xml", qe, dft_reader("espresso")),
        Subject("QE output", "relax.out", out, dft_reader("espresso")),
        Subject("GPAW result.json", "result.json", gpaw, dft_reader("gpaw")),
        Subject(
            "GPAW trajectory", "trajectory.traj", [(DATA / "mgo_gpaw.traj").read_bytes()], dft_reader("gpaw")
        ),
        *elk,
    ]


def subjects() -> list[Subject]:
    """Return every kind of input."""
    return [
        *_structures(),
        Subject("formulas as CSV", "x.csv", [b"name,formula\n1,NaCl\n2,TiO2\n3,Ca(OH)2\n"], read_formulas),
        Subject("formulas as text", "x.txt", [b"NaCl\nTiO2\nCa(OH)2\n"], read_formulas),
        Subject("Parquet", "x.parquet", [_parquet()], read_formulas),
        Subject("formula", "x.txt", FORMULAS, read_formula),
        Subject("target", "x.txt", [text.encode() for text in TARGETS], read_target),
        Subject("campaign YAML", "x.yaml", [CAMPAIGN], read_campaign),
        *_dft(),
    ]


def companions(subject: Subject) -> dict[str, bytes]:
    """Return undamaged files that stand next to the damaged one."""
    if subject.name.startswith("Elk"):
        return _elk()
    return _gpaw_inputs() if subject.name.startswith("GPAW") else {}
