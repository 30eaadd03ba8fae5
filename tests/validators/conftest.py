import sys
from pathlib import Path

import pytest

from invdesign.validators.potential import load_potential

sys.path.insert(0, str(Path(__file__).parent))  # crystals that several files start from


@pytest.fixture(scope="session")
def chgnet():
    return load_potential("chgnet")
