"""A control redraws where somebody can move it; a run without anybody shows a sentence instead."""

import ipywidgets
from matplotlib.figure import Figure

from sapbert_utils.course import play


def test_a_slider_redraws_and_a_headless_run_has_none(monkeypatch, capsys):
    drawn, controls = [], []
    show = ipywidgets.Box.__init__
    monkeypatch.setattr(ipywidgets.Box, "__init__",
                        lambda self, *args, **more: (show(self, *args, **more), controls.append(self))[0])

    def draw(margin=0.2):
        drawn.append(margin)
        return Figure(figsize=(1, 1))

    play(draw, margin=(0.0, 0.5, 0.1))
    slider = next(w for box in controls for w in box.children if isinstance(w, ipywidgets.FloatSlider))
    assert (slider.min, slider.max, slider.value) == (0.0, 0.5, 0.2)
    slider.value = 0.4
    assert drawn[-1] == 0.4
    before = len(drawn)
    monkeypatch.setenv("SAPBERT_HEADLESS", "1")
    capsys.readouterr()
    play(draw, margin=(0.0, 0.5, 0.1))
    assert len(drawn) == before and "Markdown" in capsys.readouterr().out


def test_the_runner_says_that_nobody_is_there(course):
    course.write("02_alone", "import os; print('headless:', os.environ['SAPBERT_HEADLESS'])")
    assert course.call("run", "02")[0] == 0
    executed = next(course.runs.rglob("02_alone.ipynb"))
    assert "headless: 1" in executed.read_text()
