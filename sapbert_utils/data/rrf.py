"""Files in UMLS's Rich Release Format (RRF) -> relations: names, trade names, semantic types.

One path for a licensed UMLS release and for the open metathesaurus: both are a folder with ``MRCONSO.RRF``
(18 fields, ``|`` after each, UTF-8, no quoting; UMLS Reference Manual, chapter 3).

A *relation* is DuckDB's: a query that runs when its rows are asked for, and spills to disk past the limit of memory
(:func:`limit_memory`); ``.df()`` makes it a data frame, and a data frame is taken wherever a relation is.
"""

import functools
import glob
import gzip
import itertools
import re
import shutil
import string
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import duckdb
import pandas as pd

MRCONSO_FIELDS = ("CUI LAT TS LUI STT SUI ISPREF AUI SAUI SCUI SDUI SAB TTY CODE STR SRL SUPPRESS CVF").split()
MRREL_FIELDS = ("CUI1 AUI1 STYPE1 REL CUI2 AUI2 STYPE2 RELA RUI SRUI SAB SL RG DIR SUPPRESS CVF").split()
MRSTY_FIELDS = "CUI TUI STN STY ATUI CVF".split()
FIELDS = {"MRCONSO.RRF": MRCONSO_FIELDS, "MRREL.RRF": MRREL_FIELDS, "MRSTY.RRF": MRSTY_FIELDS}
COLUMNS = {"cui": "CUI", "name": "STR", "language": "LAT", "source": "SAB", "term_type": "TTY", "code": "CODE",
           "suppress": "SUPPRESS"}
CUI = r"C\d{7}|[A-Za-z]\w*:[^|\s]+"  # the UMLS's, or in the open metathesaurus the source's own, such as ICD10:A00
TABLES = itertools.count()
Names = duckdb.DuckDBPyRelation | pd.DataFrame


def read_mrconso(folder: Path | str, on_bad_line: str = "stop") -> duckdb.DuckDBPyRelation:
    """All names of ``folder/MRCONSO.RRF``: cui, name, language, source, term_type, code, suppress, in the file's order.

    The file may be gzipped or split (:func:`find_rrf`). It is read once, checked, and kept by the engine until the
    process ends. Raises ``FileNotFoundError`` without the file and ``ValueError`` with file, line number and content
    on a line that is not 18 fields of UTF-8 with a CUI, unless ``on_bad_line="skip"`` leaves such lines out;
    :func:`bad_lines` lists them.
    """
    return _read(folder, "MRCONSO.RRF", COLUMNS, on_bad_line)


def read_trade_names(folder: Path | str, compat: bool = False, on_bad_line: str = "stop") -> pd.DataFrame:
    """Which concept takes over whose names: ``cui`` takes ``names_of``, by ``folder/MRREL.RRF``.

    From every relation has_tradename or tradename_of (RELA), each of which the file holds in both directions.
    With ``compat`` as the original repository: any line that contains one of these words counts, and of several
    lines of a concept the last alone. Errors as :func:`read_mrconso`.
    """
    lines = _read(folder, "MRREL.RRF", {"cui": "CUI1", "names_of": "CUI2", "relation": "RELA"}, on_bad_line,
                  "contains(line, 'has_tradename') OR contains(line, 'tradename_of')")
    if compat:
        return lines.project("cui, names_of").df().drop_duplicates("cui", keep="last", ignore_index=True)
    return lines.filter("relation IN ('has_tradename', 'tradename_of')").project("cui, names_of").distinct().df()


def read_semantic_types(folder: Path | str, on_bad_line: str = "stop") -> duckdb.DuckDBPyRelation:
    """``folder/MRSTY.RRF``: cui, tui (``T047``), semantic_type (its name). Errors as :func:`read_mrconso`."""
    return _read(folder, "MRSTY.RRF", {"cui": "CUI", "tui": "TUI", "semantic_type": "STY"}, on_bad_line)


def find_rrf(folder: Path | str, name: str) -> list[Path]:
    """The files that make up ``name``: itself, gzipped, or the parts of a split one in order (``.aa``, ``.ab.gz``, …).

    Raises ``FileNotFoundError`` when there is none, or when a part between others is missing.
    """
    folder = Path(folder)
    for whole in (folder / name, folder / f"{name}.gz"):
        if whole.is_file():
            return [whole]
    parts = sorted(p for p in folder.glob(f"{name}.*") if re.fullmatch(r"[a-z]{2}(\.gz)?", p.name[len(name) + 1 :]))
    for part, letters in zip(parts, itertools.product(string.ascii_lowercase, repeat=2)):
        if part.name[len(name) + 1 :][:2] != "".join(letters):
            raise FileNotFoundError(f"{folder / name}.{''.join(letters)} is missing before {part.name}: "
                                    f"unpack all parts of the release into this folder")
    if not parts:
        raise FileNotFoundError(
            f"{folder / name} is missing: give the folder of a UMLS release that holds {name}, also gzipped or in "
            f"parts (the META folder of an installed release), or leave umls_dir empty for the open metathesaurus"
        )
    return parts


class BadLine(NamedTuple):
    path: Path
    number: int  # from 1, in that file
    reason: str
    content: str


def bad_lines(folder: Path | str, name: str) -> Iterator[BadLine]:
    """The lines of an RRF file that no reader here takes, in order."""
    for path, number, raw in numbered(find_rrf(folder, name)):
        if reason := _reason(raw, name):
            yield BadLine(path, number, reason, raw[:200].decode("utf-8", "backslashreplace").rstrip("\r\n"))


def numbered(paths: list[Path]) -> Iterator[tuple[Path, int, bytes]]:
    """The lines of the files of :func:`find_rrf`, one by one: file, number from 1, bytes."""
    begun = b""  # a line that a part ends in the middle of goes on in the next
    for path in paths:
        with _opened(path) as lines:
            try:
                for number, raw in enumerate(lines, 1):
                    raw, begun = begun + raw, b""
                    if raw.endswith(b"\n") or path == paths[-1]:
                        yield path, number, raw
                    else:
                        begun = raw
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise ValueError(f"{path} is cut off or damaged ({error}): unpack or download it again") from error


def _reason(raw: bytes, name: str) -> str:
    try:
        text = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        return f"not UTF-8 ({error})"
    fields, wanted = text.split("|"), len(FIELDS[name])
    if len(fields) != wanted + 1 or fields[-1]:
        return f"{len(fields) - 1} fields where {name} has {wanted}, each closed by |"
    if not re.fullmatch(CUI, fields[0], re.ASCII):
        return f"{fields[0]!r} is no CUI (C and seven digits)"
    return "a carriage return or \\x01 inside the line" if "\r" in text or "\x01" in text else ""


def _read(folder: Path | str, name: str, columns: dict[str, str], on_bad_line: str,
          where: str = "true") -> duckdb.DuckDBPyRelation:
    if on_bad_line not in ("stop", "skip"):
        raise ValueError(f"unknown on_bad_line {on_bad_line!r}; choose stop or skip")
    parts, skip = find_rrf(folder, name), on_bad_line == "skip"
    table = f"rrf_{next(TABLES)}"
    try:
        cut = any(not _ends_a_line(part) for part in parts[:-1])
        lines = _lines([_joined(parts)] if cut else parts, name, columns, where, skip)  # noqa: F841 (in the query)
        duckdb.sql(f"CREATE TEMP TABLE {table} AS FROM lines")
        if len(duckdb.table(table).filter("NOT fits").limit(1)):
            raise ValueError(f"{Path(folder) / name}: a line does not fit")
    except (duckdb.Error, ValueError, EOFError, OSError) as error:
        duckdb.sql(f"DROP TABLE IF EXISTS {table}")
        for bad in bad_lines(folder, name):
            raise ValueError(f"{bad.path}, line {bad.number}: {bad.reason}; content: {bad.content!r}. "
                             f"Mend the line, or leave such lines out with on_bad_line=skip") from error
        raise
    return duckdb.table(table).project("* EXCLUDE fits")


def _lines(paths: list[Path], name: str, columns: dict[str, str], where: str, skip: bool) -> duckdb.DuckDBPyRelation:
    """The wanted lines, split, and those that do not fit: as whole lines first, so that nothing escapes the checks."""
    files, last = ", ".join(quoted(glob.escape(str(path))) for path in paths), len(FIELDS[name]) + 1
    chosen = ", ".join(f"f[{FIELDS[name].index(field) + 1}] AS {column}" for column, field in columns.items())
    return duckdb.sql(f"""
        SELECT {chosen}, coalesce(len(f) = {last} AND f[{last}] = '' AND regexp_full_match(f[1], '{CUI}'), false) fits
        FROM (SELECT line, string_split(line, '|') AS f
            FROM read_csv([{files}], columns = {{line: 'VARCHAR'}}, delim = '\x01', quote = '', escape = '',
                          header = false, auto_detect = false, ignore_errors = {skip}))
        WHERE {"fits AND" if skip else "NOT fits OR"} ({where})""")


def limit_memory(gigabytes: float, spill: Path | str) -> None:
    """Let the engine hold at most ``gigabytes`` (10**9 bytes) and write what goes beyond to the folder ``spill``."""
    duckdb.sql(f"SET memory_limit = '{gigabytes} GB'")
    duckdb.sql(f"SET temp_directory = {quoted(str(spill))}")


def quoted(text: str) -> str:
    """``text`` as a string of SQL."""
    return "'" + text.replace("'", "''") + "'"


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="sapbert-", ignore_cleanup_errors=True)


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")


def _ends_a_line(path: Path) -> bool:
    last = b"\n"
    with _opened(path) as part:
        while block := part.read(1 << 24):
            last = block[-1:]
    return last == b"\n"


def _joined(parts: list[Path]) -> Path:
    path = Path(tempfile.mkdtemp(dir=_scratch().name)) / "joined"
    with open(path, "wb") as out:
        for part in parts:
            with _opened(part) as lines:
                shutil.copyfileobj(lines, out, 1 << 24)
    return path
