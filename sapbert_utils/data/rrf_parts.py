"""Find and open the files of a UMLS release, whether whole, gzipped or split into parts."""

import codecs
import functools
import gzip
import itertools
import re
import string
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast


def find_rrf(folder: Path | str, name: str) -> list[Path]:
    """Find ``name`` in a release: the file itself, the gzipped file, or its parts in order.

    Parts are called ``name.aa``, ``name.ab`` and so on. Each may be gzipped.

    Raises:
        FileNotFoundError: there is no such file, or a part between others is missing.
    """
    folder = Path(folder)
    for whole in (folder / name, folder / f"{name}.gz"):
        if whole.is_file():
            return [whole]
    part_name = re.compile(re.escape(name) + r"\.[a-z]{2}(\.gz)?")
    parts = sorted(path for path in folder.glob(f"{name}.*") if part_name.fullmatch(path.name))
    if not parts:
        raise FileNotFoundError(
            f"{folder / name} is missing: give the folder of a UMLS release that holds {name}, "
            f"also gzipped or in parts (the META folder of an installed release), or leave "
            f"umls_dir empty for the open metathesaurus")
    letters = itertools.product(string.ascii_lowercase, repeat=2)  # aa, ab, …, az, ba, …
    for part, (first, second) in zip(parts, letters):
        expected = f"{name}.{first}{second}"
        if not part.name.startswith(expected):
            raise FileNotFoundError(f"{folder / expected} is missing before {part.name}: "
                                    f"unpack all parts of the release into this folder")
    return parts


def numbered(paths: Sequence[Path]) -> Iterator[tuple[Path, int, bytes]]:
    """Yield the lines of the files from :func:`find_rrf`: file, number (from 1), bytes."""
    begun = b""  # a part may end inside a line, which goes on in the next part
    for path in paths:
        with _opened(path) as lines:
            try:
                for number, raw in enumerate(lines, 1):
                    if number == 1 and not begun:  # the engine takes this mark off, too
                        raw = raw.removeprefix(codecs.BOM_UTF8)
                    line = begun + raw
                    if line.endswith(b"\n") or path == paths[-1]:
                        begun = b""
                        yield path, number, line
                    else:
                        begun = line
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise ValueError(f"{path} is cut off or damaged ({error}): "
                                 f"unpack or download it again") from error


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    """Make one temporary folder for this process, which is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="sapbert-", ignore_cleanup_errors=True)


def _opened(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path))
    return open(path, "rb")


def ends_a_line(path: Path) -> bool:
    """Say whether the last line of a file is complete; an empty file counts as complete."""
    last = b"\n"
    with _opened(path) as part:
        # Read from the start, 16 MB at a time, because a gzipped part can't be read from its end.
        while block := part.read(1 << 24):
            last = block[-1:]
    return last == b"\n"


def joined(parts: Sequence[Path]) -> Path:
    """Write the parts one after the other into a temporary file, and return its path."""
    def blocks() -> Iterator[bytes]:
        for part in parts:
            with _opened(part) as lines:
                while block := lines.read(1 << 24):
                    yield block

    return copied(blocks())


def copied(blocks: Iterable[bytes]) -> Path:
    """Write blocks of bytes into a temporary file, and return its path."""
    path = Path(tempfile.mkdtemp(dir=_scratch().name)) / "copy"
    with open(path, "wb") as out:
        out.writelines(blocks)
    return path
