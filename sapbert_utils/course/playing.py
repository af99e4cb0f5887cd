"""Sliders, menus and search boxes, for a reader who can use them."""

import io
import os
from collections.abc import Callable
from functools import wraps
from typing import Any

HEADLESS = "SAPBERT_HEADLESS"  # set by the runner, where nobody can play


def play(draw: Callable[..., Any], **controls: Any) -> None:
    """Call ``draw`` again whenever a control moves, and show what it returns: a figure, or a table.

    Args:
        draw: takes the values of the controls, which begin at its defaults.
        controls: (from, to, step) for a slider, a list for a menu, or a string for a text field.
    """
    from IPython.display import Image, Markdown, display

    if os.environ.get(HEADLESS):
        display(Markdown("*Run this notebook in JupyterLab to play with this: a slider, menu or "
                         "search box appears here.*"))
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

    interact(wraps(draw)(shown), **controls)  # ``wraps`` passes on the defaults
