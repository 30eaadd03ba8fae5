import sys
from pathlib import Path

import pytest

# what several files start from; worker processes and the subprocess that is killed import the fakes by name
sys.path.insert(0, str(Path(__file__).parent))


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
