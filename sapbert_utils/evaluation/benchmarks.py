"""Mentions, gold concepts and a dictionary; the benchmarks made of open data."""

from dataclasses import dataclass, replace

from ..data.open_data.ontologies import LAYPERSON, read_hpo, read_icd10
from ..data.splits import icd10_part, stable_hash

ICD10_TARGETS = ("GER", "SPA", "FRE", "POR", "VIE", "GRE", "CHI", "JPN")


@dataclass(frozen=True)
class Benchmark:
    """Mentions with gold concepts (several joined by ``|``), and the dictionary to link them to."""

    name: str
    mentions: tuple[str, ...]
    gold: tuple[str, ...]
    names: tuple[str, ...]
    concepts: tuple[str, ...]

    def __post_init__(self):
        if not self.names or len(self.names) != len(self.concepts):
            raise ValueError(f"{self.name}: a dictionary of {len(self.names)} names with {len(self.concepts)} concepts")
        if len(self.mentions) != len(self.gold) or not all(self.gold):
            raise ValueError(f"{self.name}: {len(self.mentions)} mentions, of which {sum(map(bool, self.gold))} have "
                             f"a gold concept")

    def only(self, keep, name: str) -> "Benchmark":
        """The queries whose gold concept satisfies ``keep``; the dictionary stays whole."""
        rows = [i for i, gold in enumerate(self.gold) if keep(gold)]
        return replace(self, name=name, mentions=tuple(self.mentions[i] for i in rows),
                       gold=tuple(self.gold[i] for i in rows))

    def sample(self, size: int | None) -> "Benchmark":
        """At most ``size`` queries: those whose mention hashes lowest, whatever the order."""
        rows = sorted(range(len(self.mentions)), key=lambda i: stable_hash(self.mentions[i]))[:size]
        return replace(self, mentions=tuple(self.mentions[i] for i in rows), gold=tuple(self.gold[i] for i in rows))


def hpo_layperson(max_names: int | None = None) -> Benchmark:
    """HPO layperson synonyms -> the term's clinical names, all lower-cased.

    A layperson synonym that is also some term's clinical name asks nothing and is left out. ``max_names`` keeps a
    fixed part of the dictionary and the queries it can answer, for tests.
    """
    clinical, layperson = {}, {}
    for term in read_hpo():
        for name, term_type, _ in term.names:
            (layperson if term_type == LAYPERSON else clinical).setdefault(name.lower(), set()).add(term.code)
    if max_names:
        kept = sorted(clinical, key=lambda n: stable_hash(min(clinical[n])))[:max_names]
        clinical = {name: clinical[name] for name in kept}
    codes = set().union(*clinical.values())
    queries = {n: c & codes for n, c in layperson.items() if n not in clinical and c & codes}
    return Benchmark("HPO layperson", tuple(queries), tuple("|".join(sorted(c)) for c in queries.values()),
                     tuple(clinical), tuple("|".join(sorted(c)) for c in clinical.values()))


def icd10_queries(part: str, max_queries: int | None = None, max_names: int | None = None) -> dict[str, Benchmark]:
    """LAT code -> native ICD-10 names of the blocks of ``part``, to be linked to all English ICD-10 names.

    ``max_names`` keeps only part of the English names (those of the queries first), for tests.
    """
    terms = list(read_icd10())
    english = [(term.names[0][0], term.code) for term in terms]
    if max_names:
        english = sorted(english, key=lambda row: (icd10_part(row[1]) != part, stable_hash(row[1])))[:max_names]
    codes = {code for _, code in english}
    found = {}
    for language in ICD10_TARGETS:
        rows = {n: t.code for t in terms if icd10_part(t.code) == part and t.code in codes
                for n, tty, lat in t.names if lat == language and tty == "PT"}
        found[language] = Benchmark(f"ICD-10 {language} {part}", tuple(rows), tuple(rows.values()),
                                    *zip(*english)).sample(max_queries)
    return found
