"""results.json: what a notebook ran, on what, and with what outcome."""

import io
import os
import platform
import re
import resource
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import sha256, whole_file, write_json
from .profiles import Profile

if TYPE_CHECKING:  # importing it takes a second, and most of the runner doesn't need it
    from matplotlib.figure import Figure

SLIDE = 1920  # pixels from side to side
PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pandas", "duckdb", "scikit-learn",
            "umap-learn", "matplotlib")


def machine() -> dict[str, Any]:
    """The machine of this run, as results.json names it."""
    import torch

    info = Path("/proc/cpuinfo")  # on Linux ``platform.processor`` only gives the architecture
    names = re.findall(r"model name\s*: (.*)", info.read_text() if info.exists() else "")
    bound = hasattr(os, "sched_getaffinity")  # perhaps to a few cores; macOS can't tell
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": names[0].strip() if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if bound else os.cpu_count(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    }


class Run:
    """The record of one notebook's run; :meth:`finish` writes ``results/<notebook>.json``.

    Example:
        run = Run("01_build_pairs", get_profile("demo"), seed=33)
        run.metric("pairs", 239_680, expected=(100_000, None))
        run.finish()
    """

    def __init__(self, notebook: str, profile: Profile, seed: int, **parameters: object) -> None:
        self.started = time.perf_counter()
        self.shown: dict[str, Any] = {}  # name of a figure -> its place on the page
        self.profile = profile
        self.record: dict[str, Any] = {
            "notebook": notebook, "profile": profile.name, "seed": seed, "parameters": parameters,
            "packages": {name: metadata.version(name) for name in PACKAGES}, "machine": machine(),
            "inputs": {}, "outputs": {}, "figures": {}, "gallery": [], "seconds": 0.0,
            "peak_memory_mb": 0.0, "metrics": []}

    def _relative(self, path: Path) -> str:
        """Return the path below the run folder, or the bare name of a file from elsewhere."""
        # not ``resolve``: the runs of a grid read the base run's files through links of their own
        path, folder = Path(os.path.abspath(path)), self.profile.folder
        below = path.is_relative_to(folder)
        return path.relative_to(folder).as_posix() if below else f"external/{path.name}"

    def input(self, path: Path, written_by: str) -> Path:
        """Record and return the path of a file or folder that an earlier notebook wrote.

        Raises ``FileNotFoundError`` when it is missing, with the command that writes it.
        """
        if not Path(path).exists():
            command = f"python -m sapbert_utils run {written_by[:2]} --profile {self.profile.name}"
            raise FileNotFoundError(f"{path} is missing: notebook {written_by} writes it. Run it "
                                    f"first, in JupyterLab or with\n    {command}")
        self.record["inputs"][self._relative(path)] = sha256(path)
        return Path(path)

    def trained(self, recipe: str, released: str, asked: str = "") -> str:
        """Return the model to use, as ``load_encoder`` takes it, and record it.

        It is the one that was ``asked`` for, else the one that notebook 03 trained in this run by
        ``recipe``, else the ``released`` one that ships with the course.
        """
        folder = self.profile.models / recipe
        name = asked or (str(folder) if folder.is_dir() else released)
        if name == str(folder):
            self.input(folder, "03_pretrain_by_self_alignment")
        elif not asked:  # once 03 trains one, this notebook is out of date
            self.record["inputs"][self._relative(folder)] = "missing"
        self.record["parameters"][f"model for {recipe}"] = Path(name).name
        return name

    def output(self, path: Path) -> Path:
        """Record and return the path of a file or folder that this notebook has just written."""
        self.record["outputs"][self._relative(path)] = sha256(path)
        return Path(path)

    def figure(self, figure: "Figure", name: str, alt: str, gallery: bool = True) -> None:
        """Save ``figures/<name>.png`` and show it in the notebook, with its alternative text.

        A later figure of the same name replaces the earlier one on the page. For the ``gallery``,
        it is also saved as wide as a slide, in ``figures/slides``, which publishing copies.
        """
        import PIL.Image
        from IPython.display import Image, display

        path = self.profile.figures / f"{name}.png"
        resolutions = {path: figure.dpi}
        if gallery:
            resolutions[path.parent / "slides" / path.name] = SLIDE / figure.get_figwidth()
        for place, dpi in resolutions.items():
            picture = io.BytesIO()
            figure.savefig(picture, dpi=dpi)
            with whole_file(place) as partial:
                # 256 colours: a third of the bytes, so notebooks stay small enough to commit
                small = PIL.Image.open(picture).convert("RGB").quantize(256)
                small.save(partial, "PNG", optimize=True)
            self.output(place)
        self.record["figures"][path.name] = alt
        if gallery and path.name not in self.record["gallery"]:
            self.record["gallery"].append(path.name)
        shown, image = self.shown.get(name), Image(filename=path, alt=alt)
        if shown:
            shown.update(image)
        else:
            self.shown[name] = display(image, display_id=True)

    def metric(self, name: str, value: float,
               expected: tuple[float | None, float | None] | None = None, unit: str = "") -> float:
        """Record and return a number, with the range to expect; an open end is ``None``."""
        if self.profile.altered:
            expected = None  # no range was measured for these base models or sizes
        self.record["metrics"].append({"name": name, "value": round(float(value), 4), "unit": unit,
                                       "expected": list(expected) if expected else None})
        return value

    def finish(self) -> Path:
        """Write ``results/<notebook>.json`` and return its path."""
        self.record["seconds"] = round(time.perf_counter() - self.started, 1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, else KiB
        unit = 1 if sys.platform == "darwin" else 1024
        self.record["peak_memory_mb"] = round(peak * unit / 1e6, 1)
        return write_json(self.profile.results / f"{self.record['notebook']}.json", self.record)
