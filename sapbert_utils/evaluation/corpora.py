"""Read the papers' gold corpora, from the reader's own folder or fetched from pinned addresses."""

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd
import pooch

from ..data.open_data import cache_dir
from ..data.tables import read_table
from ..files import put_folder
from .benchmarks import Benchmark

REGISTRY = Path(__file__).with_name("corpora.txt")
SOURCES = {  # folder of $SAPBERT_BENCHMARKS -> where its files come from
    "ncbi-disease": "python -m sapbert_utils fetch ncbi-disease, or BioSyn's preprocessed corpora "
                    "(its README)",
    "bc5cdr-disease": "BioSyn's preprocessed corpora (the README of dmis-lab/BioSyn links them)",
    "bc5cdr-chemical": "BioSyn's preprocessed corpora (the README of dmis-lab/BioSyn links them)",
    "cometa": "on request from its authors (Basaldella et al. 2020); its dictionary is in "
              "SapBERT's evaluation data",
    "askapatient": "SapBERT's evaluation data (the README of cambridgeltl/sapbert links it)",
    "medmentions": "chanzuckerberg/MedMentions (full/data), with UMLS 2017AA as umls_dir",
    "xl-bel": "python -m sapbert_utils fetch xl-bel (five languages), or all ten from "
              "cambridgeltl/sapbert",
}
NO_CONCEPT = ("", "-", "-1", "None")  # in place of a concept, where the annotators found none


def find_corpus(name: str) -> Path:
    """The folder of a corpus: below ``$SAPBERT_BENCHMARKS``, else where `fetch_corpus` put it.

    Raises a ``FileNotFoundError`` that says how to get it.
    """
    folders = [cache_dir() / "benchmarks"]  # a corpus that the reader's folder lacks may be here
    own = os.environ.get("SAPBERT_BENCHMARKS")
    if own:
        folders.insert(0, Path(own).expanduser().resolve())
    for folder in folders:
        if (folder / name).is_dir():
            return folder / name
    raise FileNotFoundError(f"{name} is not there: put it into the folder that SAPBERT_BENCHMARKS "
                            f"names. Source: {SOURCES[name]}")


def fetch_corpus(name: str) -> Path:
    """Download the pinned files of a corpus into the cache; return its folder.

    Each file is checked by SHA-256. The folder appears when all files are there. Raises
    ``ValueError`` for a corpus without a public address, ``OSError`` if a file can't be fetched.
    """
    wanted = []
    for line in REGISTRY.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            digest, path, url = line.split()
            if path.startswith(f"{name}/"):
                wanted.append((digest, path, url))
    if not wanted:
        raise ValueError(f"{name} cannot be fetched: {SOURCES.get(name, 'unknown corpus')}")
    target = cache_dir() / "benchmarks" / name
    if target.is_dir():
        return target
    # this folder stays, so that files from before an interruption aren't fetched again
    partial = cache_dir() / "partial-benchmarks" / name
    for digest, path, url in wanted:
        file = partial / Path(path).relative_to(name)
        try:
            pooch.retrieve(url, f"sha256:{digest}", fname=file.name, path=file.parent)
        except ValueError as error:  # the hash differs; pooch doesn't keep such a file
            raise OSError(f"{url} is not the pinned file: {error}") from None
        except OSError as error:  # no network, no such address, no space
            raise OSError(f"{url} could not be fetched ({error}): connect to the network and run "
                          f"it again, or put the file at {file} yourself") from None
    target.parent.mkdir(exist_ok=True)
    put_folder(partial, target)
    return target


def read_biosyn(folder: Path, part: str = "test", name: str = "NCBI-disease",
                dictionary: str = "") -> Benchmark:
    """A BioSyn-preprocessed corpus: ``processed_<part>/*.concept`` and a dictionary.

    Mentions and names are lower-cased; queries and names without a concept (``cui-less``) are left
    out, as upstream does. Raises ``FileNotFoundError``, or ``ValueError`` with file and line.

    Args:
        dictionary: its file name; empty: ``<part>_dictionary.txt``.
    """
    files = sorted(Path(folder, f"processed_{part}").glob("*.concept"))
    if not files:
        raise FileNotFoundError(f"{folder}/processed_{part} holds no .concept file: unpack the "
                                f"BioSyn-preprocessed corpus there")
    queries = []
    for file in files:
        for _, _, _, mention, gold in _fields(file, (5,)):
            queries.append((mention.lower(), gold))
    return _benchmark(name, queries, Path(folder, dictionary or f"{part}_dictionary.txt"))


def read_queries(path: Path) -> list[tuple[str, str]]:
    """(gold concepts joined by ``|``, mention) of each line ``id[|id…]||mention[||context]``.

    XL-BEL's queries are such a file. Raises ``ValueError`` with file and line.
    """
    return [(gold, mention) for gold, mention, *_ in _fields(path, (2, 3))]


def read_custom(queries: Path, dictionary: Path, name: str) -> Benchmark:
    """Queries of :func:`read_queries` with a dictionary of ``id||name`` lines."""
    pairs = [(mention, gold) for gold, mention in read_queries(queries)]
    return _benchmark(name, pairs, dictionary)


def read_askapatient(folder: Path) -> list[Benchmark]:
    """The ten folds of AskAPatient (Limsopatham and Collier 2016): average their accuracies."""
    return [read_custom(Path(folder, f"AskAPatient.fold-{fold}.test.preprocessed_query.txt"),
                        Path(folder, "AskAPatient.dict.txt"), f"AskAPatient, fold {fold}")
            for fold in range(10)]


def read_cometa(folder: Path, split: str = "stratified", kind: str = "general",
                part: str = "test") -> Benchmark:
    """COMETA (Basaldella et al. 2020); upstream scores its mentions as they are written.

    Score it with ``composite=False``. Errors as in :func:`read_biosyn`.

    Args:
        split: stratified or zeroshot.
        kind: of SNOMED identifier: general or specific.
        part: train, dev or test.
    """
    path = Path(folder, "splits", f"{split}_{kind}", f"{part}.csv")
    columns = "Term", f"{kind.title()} SNOMED ID"
    rows = read_table(path, columns, separator="\t")
    _, header = next(rows)
    at = [header.index(column) for column in columns]
    queries = []
    for line, cells in rows:
        mention, gold = (cells[i] for i in at)
        if not mention or not gold:
            raise ValueError(f"{path}, line {line}: no value for {' or '.join(columns)}: "
                             f"{cells!r:.200}")
        queries.append((mention, gold))
    return _benchmark(f"COMETA {split} {kind}", queries,
                      Path(folder, "COMETA_id_sf_dictionary.txt"))


def read_pubtator(path: Path,
                  documents: Iterable[str | int] | None = None) -> list[tuple[str, str]]:
    """(mention, gold) of a PubTator file: MedMentions, or the raw NCBI-disease and BC5CDR.

    Several concepts of one mention are joined by ``|``, without prefixes such as ``UMLS:``;
    mentions without a concept are left out. Raises ``ValueError`` with file and line.

    Args:
        path: a file, gzipped or not.
        documents: read only those with these identifiers (PMID, PMC…).
    """
    wanted, found = None if documents is None else {str(x).strip() for x in documents}, []
    for number, line in _lines(path):
        if not line or re.match(r"[^|\t]*\|[ta]\|", line):  # the text: id|t|title, id|a|abstract
            continue
        row = line.split("\t")
        if len(row) == 4 and row[1] == "CID":  # a relation, in BC5CDR
            continue
        if not _is_annotation(row):
            raise ValueError(f"{path}, line {number}: expected PMID, start, end, mention, type and "
                             f"concept, separated by tabs; found {line[:200]!r}")
        if wanted is None or row[0] in wanted:
            # "MESH:D1,MESH:D2", "D1|D2" and "D1+D2" are two concepts each
            concepts = [c.rpartition(":")[2].strip() for c in re.split("[|+,;]", row[5])]
            found.append((row[3], "|".join(c for c in concepts if c not in NO_CONCEPT)))
    return [(mention, gold) for mention, gold in found if gold]


def _is_annotation(row: Sequence[str]) -> bool:
    """Whether the fields of a line are those of a PubTator annotation."""
    if len(row) not in (6, 7) or not (row[1].isdecimal() and row[2].isdecimal()):
        return False
    # BC5CDR names the parts of composite mentions in a seventh field. A tab inside the mention
    # makes seven fields, too, but then its length doesn't fit.
    length = int(row[2]) - int(row[1])
    if len(row) == 6:  # or the mention has a tab, and no concept follows
        return length != len("\t".join(row[3:5]))
    return length == len(row[3])


def read_medmentions(folder: Path, names: pd.DataFrame) -> Benchmark:
    """The test part of MedMentions (Mohan and Li 2019); score it with ``composite=False``.

    Args:
        names: columns cui and name, of UMLS 2017AA. The original made them as notebook 01 does,
            from all English names: 3,415,665 concepts.
    """
    test = [line for _, line in _lines(Path(folder, "corpus_pubtator_pmids_test.txt"))]
    queries = read_pubtator(Path(folder, "corpus_pubtator.txt.gz"), test)
    if not queries:
        raise ValueError(f"{folder}: no mention in the documents of the test part")
    mentions, gold = zip(*queries, strict=True)
    return Benchmark("MedMentions", mentions, gold, tuple(names["name"]), tuple(names["cui"]))


def _benchmark(name: str, queries: list[tuple[str, str]], dictionary: Path) -> Benchmark:
    """Queries (mention, gold) with a dictionary of ``id||name`` lines; ``cui-less`` is left out."""
    # BioSyn writes this where the annotators found no concept; upstream does not count it
    queries = [(mention, gold) for mention, gold in queries if gold.lower() != "cui-less"]
    rows = [row for row in _fields(dictionary, (2,)) if row[0].lower() != "cui-less"]
    if not queries or not rows:
        raise ValueError(f"{name}: {len(queries)} queries with a gold concept, {len(rows)} names "
                         f"in {dictionary}")
    mentions, gold = zip(*queries, strict=True)
    return Benchmark(name, mentions, gold, tuple(name.lower() for _, name in rows),
                     tuple(concept for concept, _ in rows))


def _fields(path: Path, counts: Sequence[int]) -> Iterator[list[str]]:
    """The fields of each line that is not blank, cut at ``||`` and stripped.

    Their number must be one of ``counts``, and the first two may not be empty.
    """
    for number, line in _lines(path):
        if not line.strip():
            continue
        row = [field.strip() for field in line.split("||")]
        if len(row) not in counts or not all(row[:2]):
            raise ValueError(f"{path}, line {number}: {len(row)} fields where "
                             f"{' or '.join(map(str, counts))} are expected, the first two not "
                             f"empty: {line[:200]!r}")
        yield row


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of each line of a UTF-8 file, gzipped or not, with or without a BOM."""
    number, line = 0, b""
    try:
        with gzip.open(path) if Path(path).suffix == ".gz" else open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                encoding = "utf-8-sig" if number == 1 else "utf-8"  # takes the byte order mark off
                yield number, line.decode(encoding).rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}, line {number}: not UTF-8 ({error.reason} at byte "
                         f"{error.start}): {line[:200]!r}; convert the file to UTF-8") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is cut or damaged after line {number} ({error}): fetch it "
                         f"again") from None
