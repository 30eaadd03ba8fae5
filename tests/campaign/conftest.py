import sys
from pathlib import Path

import pytest

# worker processes and the subprocess that is killed import the fakes by name
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory):
    """Folder and result of a campaign of fakes that nothing disturbed."""
    import campaign_fakes

    from invdesign.campaign import design

    out = tmp_path_factory.mktemp("unbroken")
    return out, design(campaign_fakes.fake_config(out), parts=campaign_fakes.fake_parts(), progress=False)
