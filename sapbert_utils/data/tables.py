"""Tables as text (CSV, TSV): read strictly, so that no row is shifted, cut or swallowed.

A row with too many or too few cells, an unclosed quotation mark or a wrong encoding is refused,
with file and line. A file of any length is read in chunks, and a cell may be long.
"""

import codecs
import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

import pandas as pd

LONGEST = 1 << 27  # letters a cell may have, so that an unclosed quotation mark can't fill memory
CHUNK = 250  # rows parsed at a time; with more of them alive the garbage collector slows down
FRAME = 10_000  # rows of a data frame at a time


def read_table(path: Path | str, columns: Sequence[str] = (), separator: str = ",",
               encoding: str = "utf-8") -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which a row begins and its cells, the header first; skip empty lines.

    In a table of one column, an empty line below the header is a row with an empty cell.
    Every row has as many cells as the header. A byte order mark is taken off.

    Args:
        columns: what the header must hold, each name once.

    Raises:
        ValueError: names the file, the line and what to do.
        LookupError: Python does not know the encoding.

    Example:
        >>> rows = read_table("names.tsv", ["cui", "name"], separator="\\t")
        >>> _, header = next(rows)
        >>> names = [cells[header.index("name")] for _, cells in rows]
    """
    header: list[str] = []
    for line, cells in _rows(Path(path), separator, encoding):
        if not cells and len(header) == 1:
            cells = [""]  # what a spreadsheet writes for it
        elif not cells:
            continue
        if not header:
            header = cells
            _check_header(header, columns, f"{path}, line {line}")
        if len(cells) != len(header):
            raise ValueError(f"{path}, line {line}: the header has {len(header)} cells, this row "
                             f"has {len(cells)}: {cells!r:.200}; correct the row, and put a cell "
                             f"that holds {separator!r} in quotation marks")
        yield line, cells
    if not header:
        raise ValueError(f"{path} is empty: its first line must name the columns")


def read_frame(path: Path | str, columns: Sequence[str] = (),
               separator: str = "\t") -> pd.DataFrame:
    """Read a whole table as strings; an empty cell is an empty string. Raises as `read_table`."""
    rows = read_table(path, columns, separator)
    _, header = next(rows)
    parts = [pd.DataFrame(columns=header, dtype="str")]
    while chunk := [cells for _, cells in islice(rows, FRAME)]:
        parts.append(pd.DataFrame(chunk, columns=header, dtype="str"))
    return pd.concat(parts, ignore_index=True)


def write_frame(frame: pd.DataFrame, path: Path | str, separator: str = "\t") -> None:
    """Write a table that `read_frame` reads back as strings; a missing value is an empty cell."""
    with open(path, "w", encoding="utf-8", newline="") as out:
        write_rows(out, [list(frame)], separator)
        for start in range(0, len(frame), FRAME):
            part = frame[start : start + FRAME].astype(object)
            filled = part.where(part.notna(), "")
            write_rows(out, filled.itertuples(index=False, name=None), separator)


def write_rows(out: TextIO, rows: Iterable[Sequence[object]], separator: str = ",") -> None:
    """Write rows that `read_table` reads back as they are; open ``out`` with ``newline=""``."""
    csv.writer(_LineFeeds(out), delimiter=separator).writerows(rows)


@dataclass
class _LineFeeds:
    """Ends each row with a line feed alone.

    Python's writer ends rows with a carriage return and a line feed, and quotes a cell that holds
    either. If it were told to write line feeds alone, a carriage return in a cell would stay
    unquoted, and the next reader would take it for the end of the row.
    """

    out: TextIO

    def write(self, row: str) -> int:
        return self.out.write(row.removesuffix("\r\n") + "\n")


def _rows(path: Path, separator: str, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a file as they are, each with the line on which it begins."""
    if codecs.lookup(encoding).name == "utf-8":
        encoding = "utf-8-sig"  # takes a byte order mark off, if there is one
    with open(path, encoding=encoding, newline="") as lines:
        # strict: an unclosed quotation mark is an error, even if another one follows much later
        reader = csv.reader(lines, delimiter=separator, strict=True)
        line = 1
        while True:
            chunk = []
            # Python keeps one limit for the whole process: raise it while we read, then restore it.
            limit = csv.field_size_limit(LONGEST)
            try:
                for cells in islice(reader, CHUNK):
                    chunk.append((line, cells))
                    line = reader.line_num + 1
            except csv.Error as error:
                raise ValueError(f"{path}, line {line}: a quotation mark is not closed, or text "
                                 f"follows a closing one ({error}): correct the row, and write a "
                                 f"quotation mark inside a quoted cell twice") from None
            except UnicodeError as error:
                reason = getattr(error, "reason", error)
                raise ValueError(f"{path}, line {_bad_line(path, encoding)}: not {encoding} "
                                 f"({reason}): name its encoding, such as cp1252 or utf-16, or "
                                 f"save it as UTF-8") from None
            finally:
                csv.field_size_limit(limit)
            if not chunk:
                return
            yield from chunk


def _check_header(header: Sequence[str], columns: Sequence[str], where: str) -> None:
    for column in columns:
        if column not in header:
            raise ValueError(f"{where}: no column {column!r}; its columns are: {', '.join(header)}")
        if header.count(column) > 1:
            raise ValueError(f"{where}: several columns are called {column!r}: rename all but one")


def _bad_line(path: Path, encoding: str) -> int:
    """Find the first line that isn't in this encoding. Rows can't tell: text is decoded ahead."""
    decoder = codecs.getincrementaldecoder(encoding)()
    number = 1
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                decoder.decode(line)
            except UnicodeError:
                return number
    return number  # the last one: it ends within a letter
