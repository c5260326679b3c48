"""Pictures of each scene; `pytest --snapshot-update` draws them again."""

from __future__ import annotations

import pytest

from laguna_agent.interfaces.tui.themes import PALETTES
from support.scenes import SCENES, SceneApp, settled

SIZES = [(40, 12), (80, 24), (140, 40)]
OTHER_THEMES = sorted(PALETTES.keys() - {"laguna", "laguna-light"})


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("scene", SCENES)
def test_picture(snap_compare, scene, size):
    app = SceneApp("laguna")
    assert snap_compare(app, terminal_size=size, run_before=settled(app, SCENES[scene]))


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
def test_picture_in_the_light_theme(snap_compare, scene):
    app = SceneApp("laguna-light")
    assert snap_compare(app, terminal_size=(80, 24), run_before=settled(app, SCENES[scene]))


@pytest.mark.slow
@pytest.mark.parametrize("theme", OTHER_THEMES)
@pytest.mark.parametrize("scene", ["finished", "asks_edit", "sessions"])
def test_picture_in_another_theme(snap_compare, scene, theme):
    app = SceneApp(theme)
    assert snap_compare(app, terminal_size=(80, 24), run_before=settled(app, SCENES[scene]))
