"""The one place that writes: whole under a temporary name, then renamed; SHA-256; JSON.

Whoever reads sees the old file or folder or the new one, never half of one. What a killed process leaves is called
``partial-…``, and the next one to write the same file removes it.
"""

import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """A path to write to; the file takes the place of ``path`` when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"partial-*-{glob.escape(path.name)}"):
        if not _runs(left.name.split("-")[1]):
            left.unlink(missing_ok=True)
    # a name of this process's own, so that two may write at once; the suffix stays, as some writers go by it
    partial = path.with_name(f"partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _runs(process: str) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # another user's
        return True
    return True


@contextmanager
def whole_folder(folder: Path | str, taken: str = "refuse") -> Iterator[Path]:
    """A new folder to write into, which gets the name ``folder`` when the block ends without an error.

    Where that name is ``taken``: ``refuse`` raises ``FileExistsError``, ``replace`` puts the new folder in the old
    one's place, and ``keep`` leaves the old one (another process was first, and wrote the same).
    """
    folder = Path(folder)
    if folder.exists() and taken == "refuse":
        raise FileExistsError(f"{folder} exists: choose another folder or remove it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="partial-") as partial:
        new = Path(partial, folder.name)
        new.mkdir()
        yield new
        if folder.exists() and taken == "replace":
            os.replace(folder, Path(partial, "old"))
        put_folder(new, folder, keep=taken == "keep")


def put_folder(new: Path, target: Path, keep: bool = True) -> None:
    """Move a folder that is whole to its place; ``keep`` leaves the one that another process put there first."""
    try:
        os.replace(new, target)
    except OSError:
        if not (keep and target.is_dir()):
            raise


def write_json(path: Path | str, content: object) -> Path:
    """Write JSON, indented by one, whole or not at all."""
    with whole_file(path) as partial:
        text = json.dumps(content, indent=1, ensure_ascii=False)
        partial.write_text(f"{text}\n", encoding="utf-8")
    return Path(path)


def sha256(path: Path | str) -> str:
    """SHA-256 of a file; of a folder: of its files' relative names and hashes, in order."""
    path = Path(path)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        lines = "".join(f"{sha256(p)} {p.relative_to(path).as_posix()}\n" for p in files)
        return hashlib.sha256(lines.encode()).hexdigest()
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
