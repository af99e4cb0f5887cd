"""Every reader, given a damaged file, reads it or refuses it by name: no bare traceback, no hang, nothing executed.

A valid file of each kind is cut, filled and altered at random. ``STRESS=1`` tries a hundred times as many.
"""

import gzip
import json
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sapbert_utils.course.notebooks import Refused, read_notebook
from sapbert_utils.data import own_terms, pairs, rrf
from sapbert_utils.data.open_data import e5, ontologies
from sapbert_utils.evaluation import corpora, read_predictions
from sapbert_utils.model.checkpoints import load_checkpoint, save_checkpoint

EXAMPLES = 4000 if os.environ.get("STRESS") else 40
TOKENS = [b'"', b"\x00", b"\xff", b"\t", b"|", b"||", b"\r", b"\n", b"\r\n", b"\xef\xbb\xbf", b"\xe2\x80\xa8",
          b"\xc2\x85", b",", b"{", b"}", b"[", b"]", b"\\", b"-1", b"99999999999999999999", b"NaN", b"null", b"!",
          b"\xf0\x9f\xa7\xac"]


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """``content`` after one to four accidents: cut, doubled, filled with what a format stumbles over, bits turned."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        end = min(len(content), at + draw(st.integers(0, 40)))
        kind = draw(st.sampled_from(["cut", "delete", "double", "token", "bytes", "flip"]))
        if kind == "cut":
            content = content[:at]
        elif kind == "delete":
            content = content[:at] + content[end:]
        elif kind == "double":
            content = content[:end] + content[at:]
        elif kind == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1 :]
        else:
            more = draw(st.sampled_from(TOKENS) if kind == "token" else st.binary(max_size=12))
            content = content[:at] + more + content[at:]
    return content


MRCONSO = "".join(f"C{i:07}|ENG|P|L1|PF|S1|Y|A1||M1|D1|MSH|PT|D1|name {i} é|0|N|256|\n" for i in range(4)).encode()
OBO = (b'format-version: 1.2\n\n[Term]\nid: HP:1\nname: gout\nsynonym: "podagra" EXACT []\nis_a: HP:2 ! x\n\n'
       b'[Term]\nid: HP:2\n')
PO = ('msgid ""\nmsgstr ""\n\nmsgctxt "model:gnuhealth.pathology,name:A00"\nmsgid "Cholera"\n'
      'msgstr "Chol\u00e9ra"\n\n').encode()
CSV = "cui,name\nC1,gout\nC2,\"flu, \u00e9\"\nC1,podagra\n".encode()
PUBTATOR = (b"1|t|Gout\n1|a|Of the foot.\n1\t0\t4\tGout\tT047\tUMLS:C0018099\n\n"
            b"2|t|Flu\n2\t0\t3\tFlu\tT047\tMESH:D1|MESH:D2\n")
PREDICTIONS = json.dumps({"queries": [{"mentions": [{"mention": "gout", "golden_cui": "C1", "candidates": [
    {"name": "gout", "labelcui": "C1"}, {"name": "flu", "labelcui": "C2"}]}]}]}).encode()
NOTEBOOK = json.dumps({"cells": [{"cell_type": "code", "source": ["a: int = 1  # one"], "metadata": {
    "tags": ["parameters"]}, "outputs": []}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()
RF2 = {
    "sct2_Concept_Snapshot_INT_20250101.txt":
        "id\teffectiveTime\tactive\tmoduleId\tdefinitionStatusId\n1\t20250101\t1\t9\t9\n",
    "sct2_Description_Snapshot-en_INT_20250101.txt":
        "id\teffectiveTime\tactive\tmoduleId\tconceptId\tlanguageCode\ttypeId\tterm\tcaseSignificanceId\n"
        "11\t20250101\t1\t9\t1\ten\t900000000000003001\tGout (disorder)\t9\n",
    "sct2_Relationship_Snapshot_INT_20250101.txt":
        "id\teffectiveTime\tactive\tmoduleId\tsourceId\tdestinationId\trelationshipGroup\ttypeId\t"
        "characteristicTypeId\tmodifierId\n",
}


def rows(relation) -> int:
    return len(relation.df())


def read_rf2(path: Path):
    for name, text in RF2.items():
        if name != path.name:
            (path.parent / name).write_text(text)
    return own_terms.read_terminology(path.parent)


READERS = {
    "MRCONSO.RRF": (MRCONSO, lambda path: rows(rrf.read_mrconso(path.parent))),
    "MRCONSO.RRF, bad lines left out": (MRCONSO, lambda path: rows(rrf.read_mrconso(path.parent, "skip"))),
    "MRCONSO.RRF.gz": (gzip.compress(MRCONSO), lambda path: rows(rrf.read_mrconso(path.parent))),
    "MRREL.RRF": (b"C0000001|A1|CUI|RN|C0000002|A2|CUI|has_tradename|R1||X|X|||N||\n",
                  lambda path: rrf.read_trade_names(path.parent)),
    "own.obo": (OBO, own_terms.read_terminology),
    "own.csv": (CSV, own_terms.read_terminology),
    "sct2_Description_Snapshot-en_INT_20250101.txt":
        (RF2["sct2_Description_Snapshot-en_INT_20250101.txt"].encode(), read_rf2),
    "sct2_Concept_Snapshot_INT_20250101.txt": (RF2["sct2_Concept_Snapshot_INT_20250101.txt"].encode(), read_rf2),
    "pairs.txt": (b"C1||gout||podagra\nC2||flu||grippe\n", pairs.read_pairs),
    "labelled.txt": (b"1||fever||pyrexia\n2||cough\n", pairs.read_labelled),
    "parallel.txt": (b"fever\tFieber\ncough\tHusten\n", pairs.read_parallel),
    "queries.txt": (b"C1||gout\nC2|C3||flu||with context\n", corpora.read_queries),
    "corpus.txt": (PUBTATOR, corpora.read_pubtator),
    "predictions.json": (PREDICTIONS, read_predictions),
    "notebook.ipynb": (NOTEBOOK, read_notebook),
}


def outcome(read, path: Path) -> str:
    """``read``, or ``refused`` with a sentence that names the file; anything else is the test's failure."""
    try:
        read(path)
    except (ValueError, OSError, Refused) as error:
        assert type(error) in (ValueError, FileNotFoundError, OSError, Refused), repr(error)
        folder_or_file = str(path.parent) in str(error) or path.name in str(error)
        assert folder_or_file and len(str(error)) < 2000, repr(error)
        return "refused"
    return "read"


FUZZ = settings(max_examples=EXAMPLES, deadline=20_000, suppress_health_check=list(HealthCheck), derandomize=True,
                database=None)


@pytest.mark.parametrize("kind", READERS)
def test_a_damaged_file_is_read_or_refused_by_name(kind, tmp_path):
    content, read = READERS[kind]
    path = tmp_path / kind.partition(",")[0]
    path.write_bytes(content)
    assert outcome(read, path) == "read"

    @FUZZ
    @given(damaged(content))
    def tried(changed: bytes) -> None:
        path.write_bytes(changed)
        outcome(read, path)

    tried()


def test_a_damaged_translation_is_read_or_refused():
    @FUZZ
    @given(damaged(PO))
    def tried(changed: bytes) -> None:
        try:
            list(ontologies.po_entries(changed.decode("utf-8", "replace")))
        except ValueError as error:
            assert str(error)

    assert list(ontologies.po_entries(PO.decode())) == [("A00", "Cholera", "Choléra")]
    tried()


def test_a_damaged_model_file_is_refused_and_asks_for_little_memory(tmp_path):
    head = struct.pack("<4sI7ifi5iQ", b"E5S1", 1, 32, 1, 2, 64, 4, 8, 1, 1e-12, 32, 4, 0, 2, 1, 3, 8)
    content = head + np.arange(5, dtype="<u4").tobytes() + np.zeros(4, "<f4").tobytes() + b"abcdefgh" + bytes(64)

    @FUZZ
    @given(damaged(content))
    def tried(changed: bytes) -> None:
        with pytest.raises(ValueError, match="cut short or altered"):
            e5.convert_e5(tmp_path / "model", changed)
        assert not list(tmp_path.iterdir())

    # a blob of 2 ** 63 bytes is beyond any offset
    huge = bytearray(content)
    struct.pack_into("<Q", huge, struct.calcsize("<4sI7ifi5i"), 2 ** 63)
    with pytest.raises(ValueError, match="cut short or altered"):
        e5.convert_e5(tmp_path / "model", bytes(huge))
    tried()


def same(name: str, changed: bytes, before: bytes) -> bool:
    """Whether nothing was changed, or of a JSON file only the white space between its parts."""
    try:
        same_json = name.endswith(".json") and json.loads(changed) == json.loads(before)
        return changed == before or same_json
    except ValueError:
        return False


def test_a_damaged_checkpoint_is_passed_over_and_runs_no_code(tmp_path):
    folder = save_checkpoint(tmp_path, 3, {"w": torch.ones(2)}, {"random": []}, {"recipe": "sapbert"})
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}

    mark = json.loads(kept["checkpoint.json"])
    without = {key: value for key, value in mark.items() if key != "step"}
    for wrong in (without, mark | {"step": 8}, mark | {"step": [3]}, mark | {"step": None}):
        (folder / "checkpoint.json").write_text(json.dumps(wrong))
        with pytest.warns(UserWarning, match="cut short or damaged"):
            assert load_checkpoint(tmp_path, {"recipe": "sapbert"}) is None

    @FUZZ
    @given(st.sampled_from(sorted(kept)), st.data())
    def tried(name: str, data) -> None:
        for other, content in kept.items():
            (folder / other).write_bytes(content)
        changed = data.draw(damaged(kept[name]))
        (folder / name).write_bytes(changed)
        if not same(name, changed, kept[name]):
            # not pytest.warns, which would hide the ValueError
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                try:
                    assert load_checkpoint(tmp_path, {"recipe": "sapbert"}) is None
                    assert "cut short or damaged" in str(told[-1].message)
                except ValueError as error:
                    assert name == "checkpoint.json" and "written with another" in str(error)

    tried()
