"""What the tests of faults compare with: the work that nobody disturbs."""

from __future__ import annotations

import pytest
from long_work import TRAIN, model_digest, submitted
from whole_platform import WholePlatform


@pytest.fixture(scope="session")
def undisturbed(platform: WholePlatform) -> str:
    """The digest of the model that nobody disturbs."""
    done = platform.finished(submitted(platform, TRAIN.format(name="undisturbed")), 300)
    assert done["state"] == "succeeded", done
    return model_digest(platform, done)
