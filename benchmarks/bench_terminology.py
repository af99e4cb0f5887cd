"""From a MRCONSO.RRF to the pair file, and from the pair file to a data frame.

This project's way is shown beside a plain rendering of the original repository's steps, and its reader of pair files
beside a Python loop over the lines.

    python benchmarks/bench_terminology.py            # 1, 4 and 15 million lines
    python benchmarks/bench_terminology.py 1 2        # other sizes, in million lines

The file is made up, in the UMLS's shape: 3.4 lines a concept with a heavy tail up to 5,000, 25 languages, 70 % English.
Each way runs in its own process on the same file; memory is the largest resident set of that process. The plain way
holds everything in lists, so it is left out where the machine's memory would not do. Ours is given 0.2 GB and the size
of the file to work in.

Why DuckDB: the same steps (filter, lower-case, distinct, sort, pairs, write; 15 million lines, 2 cores) took DuckDB 2.0
7.9 s and 1.1 GB, and Polars 2.1 with its streaming engine 12.0 s and 1.8 GB; DuckDB also spills to disk past its limit.
"""

import argparse
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LANGUAGES = ["ENG"] * 70 + ["SPA"] * 9 + ["FRE", "JPN", "POR", "GER"] * 2 + (
    "RUS ITA DUT CZE HUN NOR SWE POL FIN KOR CHI DAN TUR GRE HEB LAV EST SCR BAQ UKR").split()[:13]
MEMORY_GB_A_MILLION = 0.9  # what the plain way was seen to take


def write_mrconso(path: Path, lines: int, seed: int = 33) -> None:
    """A file of ``lines`` lines in the UMLS's shape; the names are made-up syllables."""
    rng = random.Random(seed)
    draw = rng.random
    words = ["".join(rng.choice("bcdfglmnprst") + rng.choice("aeiou") for _ in range(rng.randint(1, 5)))
             for _ in range(40_000)]
    written = concept = 0
    with open(path, "w", encoding="utf-8", newline="\n", buffering=1 << 20) as out:
        while written < lines:
            concept += 1
            base = words[int(draw() * 40_000)]
            for _ in range(min(int(rng.paretovariate(1.3) * 0.85 + 0.5 * draw() + 0.15), 5000, lines - written)):
                written += 1
                language = LANGUAGES[int(draw() * len(LANGUAGES))]
                name = " ".join([base, *(words[int(draw() * 40_000)] for _ in range(2 + (draw() < 0.4)))])
                if draw() < 0.1:
                    name = base  # several sources give the same name
                if language != "ENG":
                    name += f" {language.lower()}é"
                if draw() < 0.1:
                    name = name.title()
                out.write(f"C{concept:07}|{language}|P|L{written:07}|PF|S{written:07}|Y|A{written:08}||M{written}|D{concept}|"
                          f"SRC{concept % 150}|PT|D{concept:06}|{name}|0|{'O' if draw() < 0.05 else 'N'}|256|\n")


def ours(folder: Path, out: Path) -> None:
    """Read, check, filter, clean, pair, write: what notebook 01 does."""
    from sapbert_utils.data import make_pairs, select_names, write_pairs
    from sapbert_utils.data.rrf import limit_memory, read_mrconso

    limit_memory(0.2 + (folder / "MRCONSO.RRF").stat().st_size / 1e9, out.parent / "spill")
    names = read_mrconso(folder).project("cui, name, language, suppress")
    english = select_names(names, suppressed=True, languages=["ENG"])["not empty"].project("cui, name")
    write_pairs(make_pairs(english), out)


def plain(folder: Path, out: Path) -> None:
    """The original steps, plainly: all lines in a list, a set of cui||name, all combinations, a sample of 50."""
    with open(folder / "MRCONSO.RRF", encoding="utf-8") as file:
        lines = file.readlines()
    rows = []
    for line in lines:
        fields = line.split("|")
        if fields[1] == "ENG":
            rows.append(fields[0] + "||" + fields[14].lower())
    names_of: dict[str, list[str]] = {}
    for row in set(rows):
        cui, name = row.split("||")
        names_of.setdefault(cui, []).append(name)
    pairs = []
    for cui, names in names_of.items():
        found = list(itertools.combinations(names, 2))
        for first, second in random.sample(found, 50) if len(found) > 50 else found:
            pairs.append(cui + "||" + first + "||" + second)
    with open(out, "w", encoding="utf-8") as file:
        file.writelines(pair + "\n" for pair in pairs)


def read(folder: Path, out: Path) -> None:
    """Read the pair file: what training does first, in each of its processes."""
    from sapbert_utils.data.pairs import read_pairs

    read_pairs(out)


def read_plain(folder: Path, out: Path) -> None:
    """The same checks and the same data frame, line by line."""
    import pandas as pd

    rows = []
    with open(out, "rb") as lines:
        for number, raw in enumerate(lines, 1):
            fields = [field.strip() for field in raw.decode("utf-8").rstrip("\r\n").split("||")]
            if len(fields) != 3 or not all(fields):
                raise ValueError(f"line {number} does not fit")
            rows.append(fields)
    pd.DataFrame(rows, columns=["cui", "name1", "name2"], dtype="str")


def measure(way: str, folder: Path, out: Path) -> tuple[float, float, int]:
    """Seconds, peak memory in GB, and pairs in the file, of one way in a process of its own."""
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, __file__, "--way", way, str(folder), str(out)])
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{way} failed on {folder}")
    with open(out, "rb") as lines:
        return seconds, usage.ru_maxrss / (1e6 if sys.platform == "linux" else 1e9), sum(1 for _ in lines)


def main() -> None:
    sizes = [float(size) for size in sys.argv[1:]] or [1, 4, 15]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    print("million lines   way         seconds   lines/s    peak GB   pairs        speed   memory", flush=True)
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            write_mrconso(folder / "MRCONSO.RRF", int(size * 1e6))
            found = {"ours": measure("ours", folder, folder / "ours.txt")}
            if size * MEMORY_GB_A_MILLION < memory - 2:
                found["plain"] = measure("plain", folder, folder / "plain.txt")
            for way in ("read", "read-plain"):  # their lines are those of the pair file
                found[way] = measure(way, folder, folder / "ours.txt")
            for way, (s, m, n) in found.items():
                seconds, peak, _ = found["read" if way.startswith("read") else "ours"]
                lines = n if way.startswith("read") else size * 1e6
                ratio = f"{s / seconds:5.1f} x  {m / peak:5.1f} x" if way.endswith("plain") else ""
                print(f"{size:13g}   {way:10}  {s:7.1f}   {lines / s:9,.0f}  {m:6.2f}   {n:11,}  {ratio}",
                      flush=True)


if __name__ == "__main__":
    if "--way" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--way")
        parser.add_argument("paths", nargs=2, type=Path)
        options = parser.parse_args()
        sys.path.insert(0, str(Path(__file__).parent.parent))
        {"ours": ours, "plain": plain, "read": read, "read-plain": read_plain}[options.way](*options.paths)
    else:
        main()
