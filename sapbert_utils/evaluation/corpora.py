"""Readers of the gold corpora of the papers, from the reader's own folder or fetched from their pinned addresses."""

import csv
import gzip
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pooch

from ..data.open_data import cache_dir
from ..files import put_folder
from .benchmarks import Benchmark

REGISTRY = Path(__file__).with_name("corpora.txt")
XLBEL_LANGUAGES = ("de", "en", "es", "fi", "ja", "ko", "ru", "th", "tr", "zh")
SOURCES = {  # folder of $SAPBERT_BENCHMARKS -> where its files come from
    "ncbi-disease": "python -m sapbert_utils fetch ncbi-disease, or BioSyn's preprocessed corpora (its README)",
    "bc5cdr-disease": "BioSyn's preprocessed corpora (the README of dmis-lab/BioSyn links them)",
    "bc5cdr-chemical": "BioSyn's preprocessed corpora (the README of dmis-lab/BioSyn links them)",
    "cometa": "on request from its authors (Basaldella et al. 2020); its dictionary is in SapBERT's evaluation data",
    "askapatient": "SapBERT's evaluation data (the README of cambridgeltl/sapbert links it)",
    "medmentions": "chanzuckerberg/MedMentions (full/data), with UMLS 2017AA as umls_dir",
    "xl-bel": "python -m sapbert_utils fetch xl-bel (four languages), or all ten from cambridgeltl/sapbert",
}


def find_corpus(name: str) -> Path:
    """The folder of a corpus below ``$SAPBERT_BENCHMARKS``, else as :func:`fetch_corpus` left it in the cache.

    Raises ``FileNotFoundError`` that says how to get it.
    """
    own = os.environ.get("SAPBERT_BENCHMARKS")
    for folder in ([Path(own).expanduser().resolve()] if own else []) + [cache_dir() / "benchmarks"]:
        if (folder / name).is_dir():
            return folder / name
    raise FileNotFoundError(f"{name} is not there: put it into the folder that SAPBERT_BENCHMARKS names. Source: "
                            f"{SOURCES[name]}")


def fetch_corpus(name: str) -> Path:
    """Download the pinned files of a corpus into the cache, each checked by SHA-256; returns its folder, which is
    there when all files are. What came before an interruption is not fetched again.

    Raises ``ValueError`` for a corpus that has no public address, ``OSError`` when a file cannot be had.
    """
    files = [line.split() for line in REGISTRY.read_text().splitlines() if line and not line.startswith("#")]
    wanted = [(digest, path, url) for digest, path, url in files if path.startswith(f"{name}/")]
    if not wanted:
        raise ValueError(f"{name} cannot be fetched: {SOURCES.get(name, 'unknown corpus')}")
    target, partial = (cache_dir() / folder / name for folder in ("benchmarks", "partial-benchmarks"))
    if not target.is_dir():
        for digest, path, url in wanted:
            file = partial / Path(path).relative_to(name)
            try:
                pooch.retrieve(url, f"sha256:{digest}", fname=file.name, path=file.parent)
            except ValueError as error:  # pooch's: the hash is another; it keeps no such file
                raise OSError(f"{url} is not the pinned file: {error}") from None
        target.parent.mkdir(exist_ok=True)
        put_folder(partial, target)
    return target


def read_biosyn(folder: Path, part: str = "test", name: str = "NCBI-disease", dictionary: str = "") -> Benchmark:
    """A BioSyn-preprocessed corpus: ``processed_<part>/*.concept`` and ``<part>_dictionary.txt`` (or ``dictionary``).

    Mentions and names are lower-cased; queries and names without a concept (``cui-less``) are left out, as upstream
    does. Raises ``FileNotFoundError``, or ``ValueError`` with file and line.
    """
    files = sorted(Path(folder, f"processed_{part}").glob("*.concept"))
    if not files:
        raise FileNotFoundError(f"{folder}/processed_{part} holds no .concept file: unpack the BioSyn-preprocessed "
                                f"corpus there")
    queries = [(row[3].lower(), row[4]) for file in files for _, row in _fields(file, (5,))]
    return _benchmark(name, queries, Path(folder, dictionary or f"{part}_dictionary.txt"))


def read_queries(path: Path) -> list[tuple[str, str]]:
    """(gold concepts joined by ``|``, mention) of ``id[|id…]||mention[||context]`` lines, such as XL-BEL's."""
    return [(row[0], row[1]) for _, row in _fields(path, (2, 3))]


def read_custom(queries: Path, dictionary: Path, name: str) -> Benchmark:
    """Queries of :func:`read_queries` with a dictionary of ``id||name`` lines."""
    return _benchmark(name, [(mention, gold) for gold, mention in read_queries(queries)], dictionary)


def read_askapatient(folder: Path) -> list[Benchmark]:
    """The ten folds of AskAPatient (Limsopatham and Collier 2016): average their accuracies."""
    return [read_custom(Path(folder, f"AskAPatient.fold-{fold}.test.preprocessed_query.txt"),
                        Path(folder, "AskAPatient.dict.txt"), f"AskAPatient, fold {fold}") for fold in range(10)]


def read_cometa(folder: Path, split: str = "stratified", kind: str = "general", part: str = "test") -> Benchmark:
    """COMETA (Basaldella et al. 2020): ``split`` stratified or zeroshot, ``kind`` of SNOMED id general or specific.

    Upstream scores it with ``composite=False`` and mentions as they are written. Errors as :func:`read_biosyn`.
    """
    path, columns = Path(folder, "splits", f"{split}_{kind}", f"{part}.csv"), ("Term", f"{kind.title()} SNOMED ID")
    with open(path, encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t")
        if missing := [c for c in columns if c not in (rows.fieldnames or [])]:
            raise ValueError(f"{path}, line 1: no column {missing[0]!r}; found: {', '.join(rows.fieldnames or [])}")
        queries = []
        for row in rows:
            if None in row or None in row.values() or not all(row[c] for c in columns):
                raise ValueError(f"{path}, line {rows.line_num}: expected a tab and a value for each of "
                                 f"{', '.join(rows.fieldnames)}; found {list(row.values())!r:.200}")
            queries.append(tuple(row[c] for c in columns))
    return _benchmark(f"COMETA {split} {kind}", queries, Path(folder, "COMETA_id_sf_dictionary.txt"))


def read_pubtator(path: Path, documents: Iterable[str] | None = None) -> list[tuple[str, str]]:
    """(mention, gold) of a PubTator file, also gzipped: MedMentions, or the raw NCBI-disease and BC5CDR.

    Only of ``documents`` (PMIDs) when given. Prefixes such as ``UMLS:`` and ``MESH:`` are taken off the gold.
    """
    wanted, found = None if documents is None else set(documents), []
    for number, line in _lines(path):
        if not line or "|t|" in line[:12] or "|a|" in line[:12]:
            continue
        row = line.split("\t")
        if len(row) == 4 and row[1] == "CID":  # a relation, in BC5CDR
            continue
        if len(row) < 6 or not (row[1] + row[2]).isdigit():
            raise ValueError(f"{path}, line {number}: expected PMID, start, end, mention, type and concept, separated "
                             f"by tabs; found {line[:200]!r}")
        if wanted is None or row[0] in wanted:
            found.append((row[3], "|".join(c.rpartition(":")[2] for c in row[5].replace("+", "|").split("|"))))
    return [(mention, gold) for mention, gold in found if gold not in ("", "-1")]


def read_medmentions(folder: Path, names) -> Benchmark:
    """The test part of MedMentions (Mohan and Li 2019) against ``names`` (columns cui, name) of UMLS 2017AA.

    The original made them by notebook 01's path from all English names: 3,415,665 concepts. Scored with
    ``composite=False``.
    """
    test = [line for _, line in _lines(Path(folder, "corpus_pubtator_pmids_test.txt"))]
    queries = read_pubtator(Path(folder, "corpus_pubtator.txt.gz"), test)
    return Benchmark("MedMentions", *zip(*queries), tuple(names["name"]), tuple(names["cui"]))


def _benchmark(name: str, queries: list[tuple[str, str]], dictionary: Path) -> Benchmark:
    queries = [(mention, gold) for mention, gold in queries if gold.lower() != "cui-less"]
    rows = [row for _, row in _fields(dictionary, (2,)) if row[0].lower() != "cui-less"]
    if not queries or not rows:
        raise ValueError(f"{name}: {len(queries)} queries with a gold concept, {len(rows)} names in {dictionary}")
    return Benchmark(name, *zip(*queries), tuple(row[1].lower() for row in rows), tuple(row[0] for row in rows))


def _fields(path: Path, counts: tuple[int, ...]) -> Iterator[tuple[int, list[str]]]:
    """(line number, stripped fields) of each line that is not blank, cut at ``||``; the first two may not be empty."""
    for number, line in _lines(path):
        if line.strip():
            row = [field.strip() for field in line.split("||")]
            if len(row) not in counts or not all(row[:2]):
                raise ValueError(f"{path}, line {number}: {len(row)} fields where {' or '.join(map(str, counts))} are "
                                 f"expected, the first two not empty: {line[:200]!r}")
            yield number, row


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of each line, unzipped. Raises ``ValueError`` for what is not UTF-8, with file and line."""
    with gzip.open(path) if Path(path).suffix == ".gz" else open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield number, line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}, line {number}: not UTF-8 ({error.reason} at byte {error.start}): "
                                 f"{line[:200]!r}; convert the file to UTF-8") from None
