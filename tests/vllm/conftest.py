"""The server of the embedded model. Servers are the fixtures of one file each, so that only one runs at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from serving import Served, start


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The running server; the tests are skipped where nobody has set vLLM up."""
    yield from start(tmp_path_factory.mktemp)
