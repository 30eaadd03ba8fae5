"""What goes into the store comes out again, and `ase db` can read it."""

import subprocess
import sys
from dataclasses import replace

import ase.db
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.campaign.progress import Clock
from invdesign.campaign.store import Store
from invdesign.core.candidate import Candidate, Estimate, Origin, Relaxation, RoundSelection, Selection
from invdesign.core.placement import Placement
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.errors import InputError
from invdesign.verdict import Verdict

IDENTITY = {"seed": 0}


def waiting(number: int, gene: str) -> Candidate:
    verdict = Verdict("target", passed=True, reason="as asked")
    return Candidate(
        f"c{number:06d}", Gene.parse(gene), Origin(generator="test"), verdicts={"target": verdict}
    )


def relaxed() -> Candidate:
    candidate = waiting(7, "225 Na@a Cl@b")
    candidate.geometry = Geometry((5.6, 5.6, 5.6, 90.0, 90.0, 90.0), ((), ()))
    candidate.structure = Structure(Lattice.cubic(3.9), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 1 / 3]])
    candidate.properties = {"band_gap": Estimate(5.0, 0.3, 0.01, in_domain=False)}
    candidate.relaxation = Relaxation(
        energy=-6.7,
        fmax=0.05,
        n_steps=12,
        symmetry_kept=True,
        n_starting_structures=2,
        proposed_gene="225 Na@a Cl@b",
    )
    candidate.placement = Placement(-2.0, 0.01, 0.03, {"NaCl": 1.0}, 7, True, False)
    candidate.selection = Selection(p_hit=0.4, worth=0.3, synthesizability=0.8, pareto_rank=1, why="Na")
    candidate.rounds = {2: RoundSelection(p_hit=0.5, estimates={"band_gap": (5.0, 4.5, 5.5)})}
    candidate.round_checks = {"md": Verdict("md", passed=False, reason="melts")}
    candidate.record(Verdict("relaxation", passed=True, reason="converged", value=0.05, threshold=0.1))
    return candidate


def test_round_trip(tmp_path):
    store = Store(tmp_path / "candidates.db", IDENTITY)
    written = [waiting(3, "221 K@a Br@b"), relaxed()]
    store.put(written)
    read = Store(tmp_path / "candidates.db").read()
    for before, after in zip(written, read, strict=True):
        assert replace(before, structure=None) == replace(after, structure=None)
    assert read[0].structure is None
    assert read[1].structure == written[1].structure


def test_rewriting_a_candidate_keeps_one_row(tmp_path):
    store = Store(tmp_path / "candidates.db", IDENTITY)
    candidate = waiting(7, "225 Na@a Cl@b")
    store.put([candidate])
    store.put([relaxed()])
    assert len(store) == 1
    assert [c.id for c in store.read("status=relaxed")] == ["c000007"]
    assert store.read("status=gene") == []
    assert [c.id for c in store.read("worth>0.2")] == ["c000007"]


@pytest.mark.parametrize("gene", ["225 N@a Na@b", "225 F@a In@b"])
def test_formulas_that_read_as_numbers(tmp_path, gene):
    """Sodium nitride is NaN and indium fluoride InF: ASE refuses both as text."""
    store = Store(tmp_path / "candidates.db", IDENTITY)
    store.put([waiting(0, gene)])
    assert store.read()[0].gene.formula in {"NaN", "InF"}


def test_seconds_add_up(tmp_path):
    store = Store(tmp_path / "candidates.db", IDENTITY)
    clock = Clock()
    clock.seconds["relaxation"] = (2.0, 3.0)
    store.put([waiting(0, "225 Na@a Cl@b")], clock)
    store.put([waiting(1, "225 K@a Cl@b")], clock, complete=True)
    again = Store(tmp_path / "candidates.db")
    assert again.seconds == {"relaxation": [4.0, 6.0]}
    assert again.complete
    assert again.elapsed >= 0


def test_a_failed_unit_leaves_nothing(tmp_path):
    store = Store(tmp_path / "candidates.db", IDENTITY)
    unwritable = waiting(1, "225 K@a Cl@b")
    unwritable.origin = Origin(details={"broken": object()})
    with pytest.raises(AttributeError):
        store.put([waiting(0, "225 Na@a Cl@b"), unwritable])
    assert len(Store(tmp_path / "candidates.db")) == 0
    store.put([waiting(0, "225 Na@a Cl@b")])
    assert len(store) == 1


def test_a_unit_is_one_transaction_however_large(tmp_path, monkeypatch):
    """ASE would commit on its own after 5000 writes."""
    from ase.db.sqlite import SQLite3Database

    store = Store(tmp_path / "candidates.db", IDENTITY)
    leave = SQLite3Database.__exit__
    monkeypatch.setattr(SQLite3Database, "__exit__", lambda self, *_: leave(self, ValueError, None, None))
    gene = Gene.parse("225 Na@a Cl@b")
    store.put([Candidate(f"c{i:06d}", gene) for i in range(5001)])
    monkeypatch.undo()
    assert len(Store(tmp_path / "candidates.db")) == 0


@pytest.mark.parametrize("content", [b"no database at all, only text", b""])
def test_a_file_that_is_no_store(tmp_path, content):
    path = tmp_path / "candidates.db"
    path.write_bytes(content)
    with pytest.raises(InputError, match="give an empty folder"):
        Store(path, IDENTITY)
    assert path.read_bytes().startswith(content)


def test_someone_elses_database(tmp_path):
    from ase.build import bulk

    ase.db.connect(tmp_path / "candidates.db").write(bulk("Cu"), note="mine")
    with pytest.raises(InputError, match="give an empty folder"):
        Store(tmp_path / "candidates.db", IDENTITY)


def test_ase_lists_it(tmp_path):
    Store(tmp_path / "candidates.db", IDENTITY).put([relaxed()])
    command = [sys.executable, "-m", "ase", "db", str(tmp_path / "candidates.db"), "compound=NaCl"]
    listed = subprocess.run(
        [*command, "-c", "formula,band_gap,energy"], capture_output=True, text=True, check=True
    )
    assert "5.000" in listed.stdout
    assert "-6.700" in listed.stdout


def test_a_database_of_another_version_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "candidates.db"
    with monkeypatch.context() as earlier:
        earlier.setattr("invdesign.campaign.store.FORMAT", 1)
        Store(path, {"seed": 0})
    with pytest.raises(InputError, match="another version"):
        Store(path)
