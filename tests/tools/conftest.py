"""Fixtures for the tests of tools: a workspace with the file tools, and a shell."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.shells import Shell, make_context
from support.toolbox import Toolbox


@pytest.fixture
def box(tmp_path: Path) -> Toolbox:
    return Toolbox.at(tmp_path)


@pytest.fixture(params=[False, True], ids=["bare", "bubblewrap"])
async def shell(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shell]:
    """A shell without a sandbox and one in it: each test runs with both."""
    shell = Shell(make_context(tmp_path, request.param))
    yield shell
    await shell.close()
