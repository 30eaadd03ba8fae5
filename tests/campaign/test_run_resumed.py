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


@pytest.fixture(scope="module")
def forks():
    """A process that has imported everything and runs each campaign in a fork."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, campaign_fakes.__file__]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        yield process
        process.stdin.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("undisturbed", "arguments", "kills"),
    [
        ("unbroken", "1 fake_components", [3, 2, 2]),
        ("unbroken", "2 fake_components", [9]),
        ("unbroken_several", "2 several_components", [11]),
    ],
    ids=["one worker", "two workers", "two generators"],
)
def test_killed_again_and_again(request, tmp_path, forks, *, undisturbed, arguments, kills):
    whole, _ = request.getfixturevalue(undisturbed)
    out = tmp_path / "killed"
    campaign = f"{out} {arguments}\n"
    for units in kills:
        forks.stdin.write(campaign)
        pid = int(forks.stdout.readline())
        wait_for_units(out / "candidates.db", units)
        os.kill(pid, signal.SIGKILL)
        assert forks.stdout.readline().split() == [str(-signal.SIGKILL)], "it ended before it could be killed"
    forks.stdin.write(campaign)
    forks.stdout.readline()
    code, shortlisted = forks.stdout.readline().split()
    assert (code, int(shortlisted) > 0) == ("0", True)
    assert told(out) == told(whole)
    assert (out / "shortlist.csv").read_bytes() == (whole / "shortlist.csv").read_bytes()


def wait_for_units(database: Path, units: int) -> None:
    """Wait until a run has changed its store so often, and then a moment."""
    seen = {database.stat().st_mtime_ns if database.exists() else 0}
    end = time.monotonic() + 60  # it ended, or hangs
    while len(seen) <= units and time.monotonic() < end:
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


def test_a_full_disk_is_reported_and_what_is_stored_stays(unbroken, tmp_path, monkeypatch):
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
