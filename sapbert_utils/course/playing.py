"""Sliders and search boxes, where there is somebody to move them."""

import io
import os
from collections.abc import Callable
from functools import wraps
from typing import Any

HEADLESS = "SAPBERT_HEADLESS"  # the runner sets it: nobody is there to play


def play(draw: Callable[..., Any], **controls: Any) -> None:
    """Call ``draw`` again whenever a control moves, and show what it returns: a figure, or a table.

    Args:
        draw: its defaults are where the controls begin.
        controls: for each of its parameters what ipywidgets makes a control of: a slider of
            ``(0.0, 0.5, 0.05)``, from, to and by; a menu of a list; a text field of a string.
    """
    from IPython.display import Image, Markdown, display

    if os.environ.get(HEADLESS):
        display(Markdown("*Here you can move sliders if you run this notebook in JupyterLab.*"))
        return
    from ipywidgets import interact
    from matplotlib.figure import Figure

    def shown(**values: Any) -> Any:
        made = draw(**values)
        if not isinstance(made, Figure):
            return made
        picture = io.BytesIO()
        made.savefig(picture)
        return Image(picture.getvalue(), format="png", alt="redrawn for your settings")

    interact(wraps(draw)(shown), **controls)  # the defaults come along
