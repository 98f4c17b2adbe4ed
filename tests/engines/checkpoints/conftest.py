"""The shapes of real checkpoints."""

import pytest

from tests.engines.headers import true_size


@pytest.fixture(scope="session")
def shapes():
    """Shapes by family and input channels."""
    return {
        (family, channels): true_size(family, channels)
        for family, channels in (("sd1", 4), ("sd1", 9), ("sd2", 4), ("sdxl", 4), ("sdxl", 9))
    }
