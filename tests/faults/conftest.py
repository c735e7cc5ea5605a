"""What the tests of faults share: work that nobody disturbs, and a record that keeps its laws whatever was done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from long_work import TRAIN, model_digest, submitted
from whole_platform import WholePlatform

from genplatform.catalog import Catalog
from genplatform.services.verify import verify
from genplatform.store import Store


@pytest.fixture(scope="session")
def lawful(platform: WholePlatform) -> Iterator[None]:
    """The session's platform, whose record and store are looked through when all was done to it."""
    yield
    catalog = Catalog(platform.settings.database)
    found = verify(catalog, Store(platform.settings.store))
    catalog.close()
    assert found == []


@pytest.fixture(scope="session")
def undisturbed(platform: WholePlatform, lawful: None) -> str:
    """The digest of the model that nobody disturbs."""
    done = platform.finished(submitted(platform, TRAIN.format(name="undisturbed")), 300)
    assert done["state"] == "succeeded", done
    return model_digest(platform, done)
