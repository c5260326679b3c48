"""Draws the pictures of the README from the scenes: `make pictures`."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

PICTURES = {"edit": ("finished", (118, 34)), "approval": ("asks_edit", (118, 34))}
"""Scene and size of each file."""


async def draw(folder: Path) -> None:
    from support.scenes import SCENES, SceneApp, settled

    folder.mkdir(parents=True, exist_ok=True)
    for name, (scene, size) in PICTURES.items():
        app = SceneApp("laguna")
        async with app.run_test(size=size) as pilot:
            await settled(app, SCENES[scene])(pilot)
            (folder / f"{name}.svg").write_text(app.export_screenshot(), encoding="utf-8")


if __name__ == "__main__":
    here = Path(__file__).resolve()
    sys.path.insert(0, str(here.parents[1]))
    with tempfile.TemporaryDirectory() as home:
        os.environ["LAGUNA_HOME"] = home
        asyncio.run(draw(here.parents[2] / "docs" / "pictures"))
