"""Mentions, gold concepts and a dictionary; the benchmarks made of open data."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ..data.open_data.ontologies import LAYPERSON, Term, read_hpo, read_icd10
from ..data.open_data.vocabularies import (
    MEDICINE_LANGUAGES,
    read_drugs,
    read_icd11,
    read_medicines,
    read_mesh,
    read_mesh_records,
)
from ..data.splits import icd10_part, part_of, stable_hash

ICD10_TARGETS = ("GER", "SPA", "FRE", "POR", "VIE", "GRE", "CHI", "JPN")


@dataclass(frozen=True)
class Benchmark:
    """Mentions with gold concepts, and the dictionary to link them to.

    Several concepts of one mention, or of one name, are joined by ``|``.

    Example:
        >>> Benchmark("toy", mentions=("wide noses",), gold=("C2",),
        ...           names=("heart attack", "wide nose"), concepts=("C1", "C2"))
    """

    name: str
    mentions: tuple[str, ...]
    gold: tuple[str, ...]
    names: tuple[str, ...]
    concepts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.concepts):
            raise ValueError(f"{self.name}: a dictionary of {len(self.names)} names with "
                             f"{len(self.concepts)} concepts")
        if len(self.mentions) != len(self.gold) or not all(self.gold):
            raise ValueError(f"{self.name}: {len(self.mentions)} mentions, of which "
                             f"{sum(map(bool, self.gold))} have a gold concept")

    def only(self, keep: Callable[[str], object], name: str) -> "Benchmark":
        """The queries whose gold satisfies ``keep``, as ``name``; the dictionary stays whole."""
        return self._take([i for i, gold in enumerate(self.gold) if keep(gold)], name)

    def sample(self, size: int | None) -> "Benchmark":
        """At most ``size`` queries: those with the lowest hash of the mention, in that order."""
        # a hash, not a random draw: a query stays in or out whatever else there is
        ordered = sorted(range(len(self.mentions)), key=lambda i: stable_hash(self.mentions[i]))
        return self._take(ordered[:size], self.name)

    def _take(self, rows: Sequence[int], name: str) -> "Benchmark":
        return replace(self, name=name, mentions=tuple(self.mentions[i] for i in rows),
                       gold=tuple(self.gold[i] for i in rows))


def hpo_layperson(max_names: int | None = None) -> Benchmark:
    """HPO's layperson synonyms, to be linked to the clinical names of its terms, all lower-cased.

    A layperson synonym that is also a clinical name is left out, as a look-up would answer it.

    Args:
        max_names: keep a fixed part of the dictionary and the queries that it can answer.
    """
    clinical: dict[str, set[str]] = defaultdict(set)  # name -> codes of its terms
    layperson: dict[str, set[str]] = defaultdict(set)
    for term in read_hpo():
        for name, term_type, _ in term.names:
            names = layperson if term_type == LAYPERSON else clinical
            names[name.lower()].add(term.code)
    if max_names:  # by a hash, so that the choice does not depend on the order of the terms
        kept = sorted(clinical, key=lambda name: stable_hash(min(clinical[name])))[:max_names]
        clinical = {name: clinical[name] for name in kept}
    # a term whose names were all left out can't be found, so don't ask for it
    answers = set().union(*clinical.values())
    queries = {}
    for name, codes in layperson.items():
        if name not in clinical and codes & answers:
            queries[name] = codes & answers
    return Benchmark("HPO layperson", tuple(queries), _joined(queries.values()),
                     tuple(clinical), _joined(clinical.values()))


def _joined(several: Iterable[set[str]]) -> tuple[str, ...]:
    return tuple("|".join(sorted(codes)) for codes in several)


def icd10_queries(part: str, max_queries: int | None = None,
                  max_names: int | None = None) -> dict[str, Benchmark]:
    """Native ICD-10 names of a part, to be linked to all English ICD-10 names, by LAT code.

    Args:
        part: train, dev or test (:func:`sapbert_utils.data.splits.icd10_part`).
        max_queries: the most queries in each language.
        max_names: the most English names to keep; those that answer a query come first.
    """
    terms = list(read_icd10())
    english = [(term.names[0][0], term.code) for term in terms]
    if max_names:  # names of this part come first: a query needs its answer
        english.sort(key=lambda row: (icd10_part(row[1]) != part, stable_hash(row[1])))
        del english[max_names:]
    names, codes = zip(*english, strict=True)
    known, found = set(codes), {}
    for language in ICD10_TARGETS:
        # native name -> code; a name of several codes keeps the last
        gold = {name: term.code for term in terms
                if term.code in known and icd10_part(term.code) == part
                for name, term_type, lat in term.names if (lat, term_type) == (language, "PT")}
        benchmark = Benchmark(f"ICD-10 {language} {part}", tuple(gold), tuple(gold.values()),
                              names, codes)
        found[language] = benchmark.sample(max_queries)
    return found


def chemical_names(part: str, max_names: int | None = None) -> Benchmark:
    """One synonym of each held-out chemical, to be linked to the names of MeSH, all lower-cased.

    The chemicals are supplementary records (:func:`sapbert_utils.data.splits.part_of`). The query
    is one of their names, drawn by a hash; the dictionary has all the others, and the names of all
    descriptors and records.

    Args:
        part: train, dev or test.
        max_names: the most names to keep; the other names of the queries' records come first.
    """
    queries: dict[str, set[str]] = {}
    names: dict[str, set[str]] = defaultdict(set)
    for term in (*read_mesh(), *read_mesh_records()):
        own = {name.lower() for name, _, _ in term.names}
        if part_of(term) == part and term.code.startswith("C") and len(own) > 1:
            query = min(own, key=stable_hash)
            own.remove(query)
            queries.setdefault(query, set()).add(term.code)
        for name in own:
            names[name].add(term.code)
    return _against({f"chemical names {part}": queries}, names, max_names)[0]


def drug_brands(part: str, max_names: int | None = None) -> Benchmark:
    """Brand names, to be linked to the other names of the drugs. Arguments: `chemical_names`.

    The brands of a drug are all dev, all test or all train.
    """
    queries = {term.names[0][0].lower(): {term.brand_of} for term in read_drugs()
               if term.brand_of and part_of(term) == part}
    names = _names_of(term for term in read_drugs() if not term.brand_of)
    return _against({f"drug brands {part}": queries}, names, max_names)[0]


def icd11_queries(part: str, max_queries: int | None = None,
                  max_names: int | None = None) -> Benchmark:
    """Spanish names of ICD-11, to be linked to its English ones. Arguments: `icd10_queries`.

    Names that ICD-10 has in Spanish, too, are left out, because a model may have been trained on
    them; so are the extension codes, which name no diseases.
    """
    known = {name.lower() for term in read_icd10() for name, _, lat in term.names if lat == "SPA"}
    terms = [term for term in read_icd11() if not term.code.startswith("X")]
    queries = _names_of((term for term in terms if part_of(term) == part), "SPA", known)
    found = _against({f"ICD-11 SPA {part}": queries}, _names_of(terms), max_names)[0]
    return found.sample(max_queries)


def medicine_queries(part: str, max_queries: int | None = None,
                     max_names: int | None = None) -> dict[str, Benchmark]:
    """Essential medicines in nine languages, to be linked to English names of drugs, by LAT code.

    The dictionary holds the English names of the list and of all drugs (:func:`read_drugs`). A drug
    that has the English name of the medicine is right, too. Arguments: `icd10_queries`. All
    languages have the same dictionary.
    """
    names = _names_of((*read_medicines(), *(t for t in read_drugs() if not t.brand_of)))
    asked: dict[str, dict[str, set[str]]]
    asked = {language: defaultdict(set) for language in sorted(MEDICINE_LANGUAGES.values())}
    for term in (term for term in read_medicines() if part_of(term) == part):
        for language, queries in asked.items():
            for native in _names_of([term], language):
                queries[native] |= names[term.names[0][0].lower()]
    labels = {f"medicines {language} {part}": queries for language, queries in asked.items()}
    found = zip(asked, _against(labels, names, max_names), strict=True)
    return {language: benchmark.sample(max_queries) for language, benchmark in found}


def _names_of(terms: Iterable[Term], language: str = "ENG",
              without: Iterable[str] = ()) -> dict[str, set[str]]:
    """The names of a language in lower case, each with the codes of its terms."""
    found: dict[str, set[str]] = defaultdict(set)
    for term in terms:
        for name, _, lat in term.names:
            if lat == language and name.lower() not in without:
                found[name.lower()].add(term.code)
    return found


def _against(queries: dict[str, dict[str, set[str]]], names: dict[str, set[str]],
             max_names: int | None) -> list[Benchmark]:
    """Queries with their codes, by label, against names with theirs, the same for all labels.

    A query that is itself one of the names is left out.
    """
    asked = {label: {query: codes for query, codes in own.items() if query not in names}
             for label, own in queries.items()}
    kept = list(names)
    if max_names:  # one answer to each query first, then the other answers, then by a hash
        right = set().union(*(codes for own in asked.values() for codes in own.values()))
        kept.sort(key=stable_hash)
        # from the end, so that a code keeps the first of its names
        first = {code: name for name in reversed(kept) for code in names[name] & right}
        ahead = set(first.values())
        kept.sort(key=lambda name: (name not in ahead, names[name].isdisjoint(right)))
        del kept[max_names:]
    answers = set().union(*(names[name] for name in kept))
    dictionary = tuple(kept), _joined(names[name] for name in kept)
    asked = {label: {query: codes for query, codes in own.items() if codes & answers}
             for label, own in asked.items()}
    return [Benchmark(label, tuple(own), _joined(own.values()), *dictionary)
            for label, own in asked.items()]
