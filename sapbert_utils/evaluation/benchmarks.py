"""Mentions, gold concepts and a dictionary; the benchmarks made of open data."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ..data.open_data.ontologies import LAYPERSON, read_hpo, read_icd10
from ..data.splits import icd10_part, stable_hash

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

    A layperson synonym that is also a clinical name is left out, because it asks nothing.

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
    # a term whose names were all left out cannot be found, so nobody asks for it
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
        max_queries: at most so many in each language.
        max_names: keep only so many English names, those that answer a query first.
    """
    terms = list(read_icd10())
    english = [(term.names[0][0], term.code) for term in terms]
    if max_names:  # names of this part come first: a query needs its answer
        english.sort(key=lambda row: (icd10_part(row[1]) != part, stable_hash(row[1])))
        del english[max_names:]
    names, codes = zip(*english, strict=True)
    known, found = set(codes), {}
    for language in ICD10_TARGETS:
        gold = {}  # native name -> code; a name of several codes keeps the last
        for term in terms:
            if term.code not in known or icd10_part(term.code) != part:
                continue
            for name, term_type, lat in term.names:
                if lat == language and term_type == "PT":
                    gold[name] = term.code
        benchmark = Benchmark(f"ICD-10 {language} {part}", tuple(gold), tuple(gold.values()),
                              names, codes)
        found[language] = benchmark.sample(max_queries)
    return found
