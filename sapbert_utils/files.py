"""The one place that writes files: whole under a temporary name, then renamed; SHA-256; JSON.

A reader finds the old file or folder or the new one, never half of one. A killed process leaves a
``partial-…`` behind. The next process on that machine that writes the same file removes it.
"""

import errno
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Several machines may share a disk, and a process number is valid on one of them only.
MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Yield a path to write to; it is renamed to ``path`` when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"partial-*-{glob.escape(path.name)}"):
        if is_left(left):
            left.unlink(missing_ok=True)
    # The process's number lets two processes write at once. The suffix stays at the end, because
    # some writers choose the format by it.
    partial = path.with_name(f"{partial_prefix()}{path.name}")
    try:
        with _named(path):
            yield partial
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file in the error of a full disk, which every writer words differently."""
    try:
        yield
    except Exception as error:
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def partial_prefix() -> str:
    """Return the beginning of a temporary name: this process and the machine that it runs on."""
    return f"partial-{os.getpid()}.{MACHINE}-"


def is_left(partial: Path) -> bool:
    """Whether a temporary file or folder is left over from an ended process of this machine."""
    number = re.match(rf"partial-(\d{{1,9}})\.{MACHINE}-", partial.name)
    if not number:
        return False
    try:
        os.kill(int(number[1]), 0)  # signal 0 changes nothing: it only asks whether it runs
    except ProcessLookupError:
        return True
    except PermissionError:  # it runs, and belongs to another user
        return False
    return False


@contextmanager
def whole_folder(folder: Path | str, taken: str = "refuse") -> Iterator[Path]:
    """Yield a new folder to write into; it is renamed to ``folder`` when the block ends well.

    Args:
        taken: what to do if ``folder`` exists. ``refuse`` raises ``FileExistsError``, ``replace``
            puts the new folder in its place, and ``keep`` leaves it, because another process was
            faster and wrote the same.
    """
    folder = Path(folder)
    for left in folder.parent.glob("partial-*-*"):
        with suppress(FileNotFoundError):  # another process may remove it first
            _take_away(left, folder)
    if folder.exists() and taken == "refuse":
        raise FileExistsError(f"{folder} exists: choose another folder or remove it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=partial_prefix()) as partial:
        new = Path(partial, folder.name)
        with _named(folder):
            new.mkdir()
            yield new
        old = Path(partial, "old")
        if folder.exists() and taken == "replace":
            os.replace(folder, old)
        try:
            put_folder(new, folder, keep=taken == "keep")
        except OSError:
            if old.exists():  # put it back, or it would go with the temporary folder
                os.replace(old, folder)
            raise


def _take_away(left: Path, folder: Path) -> None:
    """Put back what a killed process had moved away of ``folder``, and remove what it left."""
    if not is_left(left) or not left.is_dir() or left.is_symlink():
        return
    if {path.name for path in left.iterdir()} in ({folder.name}, {folder.name, "old"}, {"old"}):
        if (left / "old").exists() and not folder.exists():
            os.replace(left / "old", folder)
        shutil.rmtree(left)


def put_folder(new: Path, target: Path, keep: bool = True) -> None:
    """Move a finished folder to its place; ``keep`` accepts that another process put one there."""
    try:
        os.replace(new, target)
    except OSError:
        if not (keep and target.is_dir()):
            raise


def given_path(text: str) -> Path:
    """Turn typed text into a path; ``~`` is the home folder, even if no shell has expanded it."""
    return Path(text).expanduser()


def write_json(path: Path | str, content: object) -> Path:
    """Write JSON with an indent of one; the file appears whole or not at all."""
    with whole_file(path) as partial:
        text = json.dumps(content, indent=1, ensure_ascii=False)
        partial.write_text(f"{text}\n", encoding="utf-8")
    return Path(path)


def sha256(path: Path | str) -> str:
    """SHA-256 of a file, or of the sorted list of a folder's file names and their hashes."""
    path = Path(path)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        lines = "".join(f"{sha256(p)} {p.relative_to(path).as_posix()}\n" for p in files)
        return hashlib.sha256(lines.encode()).hexdigest()
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
