"""A campaign killed at any moment ends as an unbroken one does."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import campaign_fakes
import pytest

from invdesign.campaign import design
from invdesign.campaign.store import Store
from invdesign.errors import InputError

SCRIPT = Path(campaign_fakes.__file__)


def told(out: Path) -> list[tuple]:
    """All that a campaign knows of its candidates."""
    return [
        (replace(c, structure=None), c.structure and c.structure.frac_coords.tolist())
        for c in Store(out / "candidates.db").read()
    ]


def test_the_unbroken_run_finds_something(unbroken):
    out, result = unbroken
    assert len(result.shortlist) == 6
    assert all(c.alive and c.structure is not None for c in result.shortlist)
    assert (out / "shortlist.csv").read_text().count("\n") == 7
    assert len(list((out / "cifs").rglob("*.cif"))) == 12
    assert (out / "funnel.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("undisturbed", "workers", "kills"),
    [("unbroken", 1, [3, 2, 2]), ("unbroken", 2, [9]), ("unbroken_several", 2, [11])],
)
def test_killed_again_and_again(request, tmp_path, undisturbed, workers, kills):
    whole, _ = request.getfixturevalue(undisturbed)
    components = {"unbroken": "fake_components", "unbroken_several": "several_components"}[undisturbed]
    out = tmp_path / "killed"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(SCRIPT), str(out), str(workers), components]
    for units in kills:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        wait_for_units(out / "candidates.db", process, units)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout == "6"
    assert told(out) == told(whole)
    assert (out / "shortlist.csv").read_bytes() == (whole / "shortlist.csv").read_bytes()


def wait_for_units(database: Path, process: subprocess.Popen, units: int) -> None:
    """Wait until a run has changed its store so often, and then a moment."""
    seen = {database.stat().st_mtime_ns if database.exists() else 0}
    while len(seen) <= units and process.poll() is None:
        time.sleep(0.002)
        if database.exists():
            seen.add(database.stat().st_mtime_ns)
    time.sleep(0.03 * (units % 4))


def test_a_complete_run_gives_its_result_again(unbroken, tmp_path):
    out = tmp_path / "again"
    shutil.copytree(unbroken[0], out)
    shutil.rmtree(out / "cifs")
    components = campaign_fakes.fake_components()
    components.generator.propose = None  # any work would fail
    result = design(campaign_fakes.fake_config(out), components=components, progress=False)
    assert [c.id for c in result.shortlist] == [c.id for c in unbroken[1].shortlist]
    assert len(list((out / "cifs").rglob("*.cif"))) == 12


def test_another_campaign_is_refused_and_nothing_lost(unbroken, tmp_path):
    out = tmp_path / "other"
    shutil.copytree(unbroken[0], out)
    before = told(out)
    with pytest.raises(InputError, match="seed 0 there, 1 here"):
        design(
            campaign_fakes.fake_config(out, seed=1),
            components=campaign_fakes.fake_components(),
            progress=False,
        )
    assert told(out) == before


def test_two_runs_in_one_folder_are_refused(tmp_path):
    from filelock import FileLock

    with FileLock(tmp_path / ".lock"), pytest.raises(InputError, match="another run is at work"):
        design(
            campaign_fakes.fake_config(tmp_path), components=campaign_fakes.fake_components(), progress=False
        )


def test_a_full_disk_is_told_and_what_is_stored_stays(unbroken, tmp_path, monkeypatch):
    from ase.db.sqlite import SQLite3Database

    connect = SQLite3Database._connect

    def small_disk(self):
        connection = connect(self)
        connection.execute("PRAGMA max_page_count = 60")
        return connection

    config = campaign_fakes.fake_config(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(SQLite3Database, "_connect", small_disk)
        with pytest.raises(InputError, match=r"disk .* is full"):
            design(config, components=campaign_fakes.fake_components(), progress=False)
    stored = len(Store(tmp_path / "candidates.db"))
    assert 0 < stored < 200
    assert stored % 32 == 0
    design(config, components=campaign_fakes.fake_components(), progress=False)
    assert told(tmp_path) == told(unbroken[0])


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "precious.cif").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        design(
            campaign_fakes.fake_config(tmp_path), components=campaign_fakes.fake_components(), progress=False
        )
    assert (tmp_path / "precious.cif").read_text() == "mine"


def test_a_campaign_that_cannot_run_claims_no_folder(tmp_path):
    config = campaign_fakes.fake_config(tmp_path)
    components = campaign_fakes.fake_components()
    wrong = campaign_fakes.FakeCalibration()
    wrong.potential = "another"
    with pytest.raises(InputError, match="calibration"):
        design(config, components=replace(components, calibration=wrong), progress=False)
    assert design(config, components=components, progress=False).shortlist
