"""Names of every kind go from a terminology file to a saved linker, to answers in a CSV file, and back, unchanged."""

import csv

import pytest

from sapbert_utils.data.own_terms import read_terminology
from sapbert_utils.linking import Linker, link_csv
from sapbert_utils.model import load_encoder

NAMES = {
    "latin": "Ménière's disease", "greek": "αιμορροΐδες", "right to left": "مرض السكري من النوع ٢",
    "mixed directions": "vitamin د deficiency", "han": "髓母细胞瘤", "kana": "ﾊﾟｰｷﾝｿﾝ病", "thai": "ไข้เลือดออก",
    "emoji": "🧬 syndrome 👩🏽‍⚕️", "plane 2": "𠮷野病", "plane 14": "tag\U000e0041name", "private": "\ue000 sign",
    "combining": "e\u0301\u0323coli", "zero width": "co\u200blon\u200d", "soft hyphen": "myo\u00adpathy",
    "markup": "<script>alert('x')</script> & \"quoted\", with; commas", "formula": "=1+1", "slash": "a\\b|c||d",
    "long": "long " * 20_000 + "name", "number": "007", "empty word": "NA", "null": "null", "nul": "a\x00b",
}


@pytest.fixture(scope="module")
def encoder():
    # [CLS] of a single layer hardly tells names apart; the mean of the tokens does
    return load_encoder("minilm", num_layers=1, device="cpu", pooling="mean")


def test_names_of_every_kind_come_back_unchanged(encoder, tmp_path):
    source, mentions, out = tmp_path / "terms.csv", tmp_path / "mentions.csv", tmp_path / "out.csv"
    with open(source, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("cui", "name"), *((kind, name) for kind, name in NAMES.items())])
    names = read_terminology(source).names
    read = dict(zip(names["cui"], names["name"]))
    assert read.keys() == NAMES.keys()
    # the reader writes letters with their accents as one (NFC), as the metathesaurus does; else nothing changes
    assert {kind for kind in NAMES if read[kind] != NAMES[kind]} <= {"combining"}
    linker = Linker.load(Linker.from_terminology(encoder, names).save(tmp_path / "linker"))
    assert linker.names["name"].tolist() == names["name"].tolist()
    with open(mentions, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("kind", "mention"), *read.items()])
    assert link_csv(linker, mentions, out, "mention", k=1) == len(NAMES)
    with open(out, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["mention"] for row in rows] == list(read.values())
    # a name finds itself, or one that this tokenizer writes with the same tokens
    tokens = {name: tuple(encoder.tokenizer(name, truncation=True, max_length=25)["input_ids"])
              for name in read.values()}
    for row in rows:
        assert tokens[row["name"]] == tokens[row["mention"]], row["kind"]
        assert row["name"] == read[row["cui"]]
