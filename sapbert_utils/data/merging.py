"""Find the terms of a vocabulary that name a concept of the metathesaurus, one to one."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from .open_data.ontologies import Term
from .open_data.vocabularies import BRAND, semantic_types

WAYS = ("xref", "name")
PREFERRED = ("PT", "MH", "NM")

Links: TypeAlias = set[tuple[str, str]]  # code of a term, concept


class Placed(NamedTuple):
    """A term, its concept, and the way in which it got there: "", xref or name."""

    term: Term
    concept: str
    way: str = ""


class Index:
    """The owner of each name: a concept or a vocabulary's term. No brand, as brands never merge.

    The key of a name is its semantic group and the name in lower case. If it has several owners,
    its owner is "".
    """

    def __init__(self) -> None:
        self.owner: dict[str, str] = {}
        self.preferred: set[str] = set()  # names that are the preferred ones of a term

    def add(self, term: Term, owner: str) -> None:
        """Enter the English names of a term under each of its semantic groups."""
        groups = {semantic_types()[tui][0] for tui in term.types}
        for name, term_type, language in term.names:
            if language == "ENG" and term_type != BRAND:
                for group in groups:
                    key = f"{group} {name.lower()}"
                    if self.owner.setdefault(key, owner) != owner:
                        self.owner[key] = ""
                    if term_type in PREFERRED:
                        self.preferred.add(key)

    def take(self, own: "Index", concept_of: dict[str, str]) -> None:
        """Enter what the index of a vocabulary holds, now that its terms have concepts."""
        for key, code in own.owner.items():
            concept = concept_of[code] if code else ""
            if self.owner.setdefault(key, concept) != concept:
                self.owner[key] = ""
        self.preferred |= own.preferred


def join(placed: Sequence[Placed], vocabularies: Iterable[Sequence[Term]],
         ways: Collection[str] = WAYS) -> list[Placed]:
    """Place the terms of one vocabulary after the other: in an existing concept, or alone.

    Two ways lead to a concept. ``xref``: a term of the concept says that it equals this one, and
    they share a name. ``name``: they share an English name that belongs to no other concept and to
    no other term of the same semantic group, and that is the preferred name of one of the two.
    Either way is one to one: if it leads to several concepts or terms, it leads nowhere. A concept
    takes at most one term of a source. A brand stays a concept of its own, as in RxNorm.

    Raises:
        ValueError: a way is unknown.
    """
    if unknown := set(ways) - set(WAYS):
        raise ValueError(f"unknown way to merge {sorted(unknown)}; choose from {', '.join(WAYS)}")
    everything, index = list(placed), Index()
    for row in placed:
        index.add(row.term, row.concept)
    for terms in vocabularies:
        everything += _place(everything, index, terms, ways)
    return everything


def _place(placed: Sequence[Placed], index: Index, terms: Sequence[Term],
           ways: Collection[str]) -> list[Placed]:
    own = Index()
    for term in terms:
        own.add(term, term.code)
    taken = {row.concept for row in placed if row.term.source == terms[0].source}
    found: dict[str, tuple[str, str]] = {}  # code -> concept, way
    for way, links in (("xref", _by_xref(placed, terms)), ("name", _by_name(index, own))):
        for code, concept in _one_to_one(links if way in ways else set()):
            if code not in found and concept not in taken:
                found[code] = concept, way
                taken.add(concept)
    new = [Placed(term, *found.get(term.code, (term.own_concept, ""))) for term in terms]
    index.take(own, {row.term.code: row.concept for row in new})
    return new


def _by_xref(placed: Iterable[Placed], terms: Iterable[Term]) -> Links:
    """Link the terms with the concepts that say they are equal, and that share a name with them."""
    new = {term.code: term for term in terms if term.source == "MSH"}
    # A link without a shared name counts, too: it makes the other links of its ends ambiguous.
    links = _one_to_one({(code, row.concept) for row in placed for code in row.term.mesh
                         if code in new})
    linked = {concept for _, concept in links}
    names_of: dict[str, set[str]] = defaultdict(set)
    for row in placed:
        if row.concept in linked:
            names_of[row.concept].update(name.lower() for name, *_ in row.term.names)
    return {(code, concept) for code, concept in links
            if not names_of[concept].isdisjoint(name.lower() for name, *_ in new[code].names)}


def _by_name(index: Index, own: Index) -> Links:
    """Link a term and a concept if only they have a name, and it is preferred in one of them."""
    return {(code, index.owner[key]) for key, code in own.owner.items()
            if code and index.owner.get(key)
            and (key in own.preferred or key in index.preferred)}


def _one_to_one(links: Links) -> Links:
    """Keep the links whose two ends stand in no other link."""
    concepts: dict[str, set[str]] = defaultdict(set)
    codes: dict[str, set[str]] = defaultdict(set)
    for code, concept in links:
        concepts[code].add(concept)
        codes[concept].add(code)
    return {(code, concept) for code, concept in links
            if len(concepts[code]) == len(codes[concept]) == 1}
