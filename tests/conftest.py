import os
import sys
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from pymatgen.symmetry.groups import SpaceGroup

# two workers of pytest with two threads each on two cores wait for each other: twenty times as long; read
# when torch is imported, and by the workers and subprocesses that are started from here
os.environ["OMP_NUM_THREADS"] = "1"

# umap's compilation takes longer than our small maps without it; read when numba is imported
os.environ["NUMBA_DISABLE_JIT"] = "1"

# pymatgen forgets a space group that nobody holds, and Fm-3m takes a second to build
SpaceGroup.__new__ = staticmethod(cache(SpaceGroup.__new__))

# how long an example takes is the machine's business
settings.register_profile("invdesign", deadline=None)
settings.load_profile("invdesign")

# what several files start from; worker processes and the subprocess that is killed import the fakes by name
sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser):
    parser.addoption("--fuzz", type=int, default=120, help="damaged inputs of each kind (tests/fuzz)")


@pytest.fixture(scope="session")
def chgnet():
    from invdesign.potentials.registry import load_potential

    return load_potential("chgnet")


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory):
    """Folder and result of a campaign of fakes that nothing disturbed."""
    import campaign_fakes

    return undisturbed(tmp_path_factory.mktemp("unbroken"), campaign_fakes.fake_components())


@pytest.fixture(scope="session")
def unbroken_several(tmp_path_factory):
    """The same with two generators."""
    import campaign_fakes

    return undisturbed(tmp_path_factory.mktemp("several"), campaign_fakes.several_components())


def undisturbed(out, components):
    import campaign_fakes

    from invdesign.campaign import design

    return out, design(campaign_fakes.fake_config(out), components=components, progress=False)
