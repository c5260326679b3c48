"""Pictures of each state at three sizes, in the dark theme; `--snapshot-update` makes them anew."""

from __future__ import annotations

import pytest

from support.scenes import SCENES, SceneApp, settled

SIZES = [(40, 12), (80, 24), (140, 40)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("scene", SCENES)
def test_picture(snap_compare, scene, size):
    app = SceneApp("laguna")
    assert snap_compare(app, terminal_size=size, run_before=settled(app, SCENES[scene]))
