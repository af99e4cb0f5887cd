"""results.json: what a notebook ran, on what, and with what outcome."""

import io
import os
import platform
import resource
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import sha256, write_json
from .profiles import Profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pandas", "duckdb", "scikit-learn", "umap-learn",
            "matplotlib")


def machine() -> dict:
    """The machine of this run, as results.json names it."""
    import torch

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), platform.processor())


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, in MB (10^6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6, 1)


class Run:
    """The record of one notebook's run; :meth:`finish` writes ``results/<notebook>.json``."""

    def __init__(self, notebook: str, profile: Profile, seed: int, **parameters: object):
        self.started = time.perf_counter()
        self.shown = {}  # name of a figure -> its place on the page
        self.profile = profile
        self.record = {
            "notebook": notebook, "profile": profile.name, "seed": seed, "parameters": parameters,
            "packages": {name: metadata.version(name) for name in PACKAGES}, "machine": machine(),
            "inputs": {}, "outputs": {}, "figures": {}, "seconds": 0.0, "peak_memory_mb": 0.0, "metrics": [],
        }

    def _relative(self, path: Path) -> str:
        """Name below the run folder; a file from elsewhere is ``external/<name>``, without its folder."""
        path, folder = Path(path).resolve(), self.profile.folder
        return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else f"external/{path.name}"

    def input(self, path: Path, written_by: str) -> Path:
        """A file or folder that an earlier notebook wrote; when missing, says which and the command."""
        if not Path(path).exists():
            raise FileNotFoundError(
                f"{path} is missing: notebook {written_by} writes it. Run it first, in JupyterLab or with\n"
                f"    python -m sapbert_utils run {written_by[:2]} --profile {self.profile.name}"
            )
        self.record["inputs"][self._relative(path)] = sha256(path)
        return Path(path)

    def output(self, path: Path) -> Path:
        """Record a file or folder that this notebook has just written."""
        self.record["outputs"][self._relative(path)] = sha256(path)
        return Path(path)

    def figure(self, figure: "Figure", name: str, alt: str) -> None:
        """Save ``figures/<name>.png`` and show it in the notebook with ``alt`` as its alternative text; a later picture
        of that name takes its place on the page."""
        import PIL.Image
        from IPython.display import Image, display

        self.profile.figures.mkdir(parents=True, exist_ok=True)
        path = self.profile.figures / f"{name}.png"
        picture = io.BytesIO()
        figure.savefig(picture)
        # 256 colours: a third of the bytes, so that notebooks with many figures stay small enough to commit.
        PIL.Image.open(picture).convert("RGB").quantize(256).save(path, "PNG", optimize=True)
        self.output(path)
        self.record["figures"][path.name] = alt
        if self.shown.get(name):
            self.shown[name].update(Image(filename=path, alt=alt))
        else:
            self.shown[name] = display(Image(filename=path, alt=alt), display_id=True)

    def metric(self, name: str, value: float, expected: tuple[float | None, float | None] | None = None,
               unit: str = "") -> float:
        """Record a figure with the range to expect on this profile; an open end is ``None``.

        With other base models or sizes than the profile's own no range is known, and none is kept.
        """
        expected = None if self.profile.altered else expected
        self.record["metrics"].append(
            {"name": name, "value": round(float(value), 4), "unit": unit,
             "expected": list(expected) if expected else None}
        )
        return value

    def finish(self) -> Path:
        """Write ``results/<notebook>.json`` and return its path."""
        self.record["seconds"] = round(time.perf_counter() - self.started, 1)
        self.record["peak_memory_mb"] = peak_memory_mb()
        return write_json(self.profile.results / f"{self.record['notebook']}.json", self.record)
