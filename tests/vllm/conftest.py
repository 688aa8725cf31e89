"""One vLLM server for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from serving import Served, start


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The running server; the tests are skipped where nobody has set vLLM up."""
    yield from start(tmp_path_factory.mktemp)
