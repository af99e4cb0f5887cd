"""The cache of vectors, the Linker and its folder, abbreviations."""

import json
import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sapbert_utils.linking import Linker, encode_cached, expand, fingerprint
from sapbert_utils.model import load_encoder, save_encoder


def test_vectors_are_encoded_once_and_again_when_anything_changes(encoder, tmp_path):
    names = ["wide nose", "heart attack"]
    first = encode_cached(encoder, names, tmp_path)["mean"]
    written = {f: f.stat().st_mtime_ns for f in tmp_path.iterdir()}
    assert np.array_equal(first, encode_cached(encoder, names, tmp_path)["mean"])
    assert written == {f: f.stat().st_mtime_ns for f in tmp_path.iterdir()}
    key = fingerprint(encoder, names)
    assert fingerprint(encoder, names[::-1]) != key
    bias = encoder.model.encoder.layer[0].output.dense.bias.data
    before = bias.clone()
    bias[0] += 1
    assert fingerprint(encoder, names) != key
    bias.copy_(before)
    assert fingerprint(encoder, names) == key


@pytest.mark.parametrize("changes", [{"pooling": "cls"}, {"prefix": "query: "}, {"lower": False},
                                     {"max_length": 24}])
def test_every_setting_belongs_to_the_fingerprint(encoder, changes):
    assert fingerprint(replace(encoder, **changes)) != fingerprint(encoder)


def test_the_tokenizer_belongs_to_the_fingerprint_but_not_the_padding_of_a_call(encoder):
    other = load_encoder("minilm", num_layers=2, pooling="mean", lower=True)
    key = fingerprint(encoder)
    assert fingerprint(other) == key
    other.tokenizer(["one", "two words"], padding=True, truncation=True, max_length=7)
    assert fingerprint(other) == key
    other.tokenizer.add_tokens(["podagra"])
    assert fingerprint(other) != key


def test_the_same_line_ends_elsewhere_are_other_names(encoder):
    assert fingerprint(encoder, ["a\nb"]) != fingerprint(encoder, ["a", "b"])


def test_cached_vectors_do_not_depend_on_the_encoders_own_pooling(encoder, tmp_path):
    both = encode_cached(encoder, ["fever"], tmp_path, ["mean", "cls"])
    files = set(tmp_path.iterdir())
    again = encode_cached(replace(encoder, pooling="cls"), ["fever"], tmp_path, ["cls", "mean"])
    assert len(files) == 2 and set(tmp_path.iterdir()) == files
    assert all(np.array_equal(both[pooling], again[pooling]) for pooling in both)


def test_cached_vectors_that_are_damaged_or_of_another_shape_are_made_anew(encoder, tmp_path):
    first = encode_cached(encoder, ["gout", "flu"], tmp_path)["mean"]
    file, = tmp_path.iterdir()
    whole = file.read_bytes()
    np.save(tmp_path / "other.npy", first[:1])
    for content in (b"", whole[:40], whole[:-4], (tmp_path / "other.npy").read_bytes()):
        file.write_bytes(content)
        assert np.array_equal(encode_cached(encoder, ["gout", "flu"], tmp_path)["mean"], first)
        assert file.read_bytes() == whole


@pytest.mark.parametrize("name", ["minilm", "e5-multilingual"])
def test_a_saved_encoder_has_the_same_fingerprint(name, tmp_path):
    encoder = load_encoder(name, num_layers=1, device="cpu")
    again = load_encoder(str(save_encoder(encoder, tmp_path / "saved")), device="cpu")
    assert fingerprint(again) == fingerprint(encoder)


def test_linker_gives_distinct_concepts_and_survives_saving(encoder, tmp_path):
    rows = [("C0027051", "myocardial infarction"), ("C0027051", "heart attack"),
            ("C0018799", "heart disease"), ("HP:0000445", "wide nose")]
    names = pd.DataFrame(rows, columns=["cui", "name"])
    linker = Linker.from_terminology(encoder, names)
    answer = linker.link(["Heart Attack", "broad nose"], k=3)
    assert answer.groupby("mention")["cui"].nunique().tolist() == [3, 3]
    first = answer[answer["rank"] == 1].set_index("mention")
    assert first.loc["Heart Attack", "cui"] == "C0027051"
    assert first.loc["Heart Attack", "score"] == pytest.approx(1, abs=1e-5)
    assert first.loc["broad nose", "cui"] == "HP:0000445"
    again = Linker.load(linker.save(tmp_path / "linker"))
    pd.testing.assert_frame_equal(again.link(["Heart Attack", "broad nose"], k=3), answer)
    with pytest.raises(FileExistsError):
        linker.save(tmp_path / "linker")
    with pytest.raises(ValueError, match="no names"):
        Linker.from_terminology(encoder, names.iloc[:0])
    nose = names["cui"] == "HP:0000445"
    assert linker.link("heart attack", only=nose)["cui"].tolist() == ["HP:0000445"]
    with pytest.raises(ValueError, match="restriction leaves no name"):
        linker.link("heart attack", only=names["cui"] == "none")
    with pytest.raises(ValueError, match="restriction has 2 values for 4 names"):
        linker.link("heart attack", only=nose[:2])


@pytest.mark.parametrize("mentions", ["", "  ", [], ["", "\t"], "\u200b",
                                      ["\ufeff", "\u00ad", "\x00", "\u2060 \u200d"]])
def test_a_blank_mention_has_no_answer(linker, mentions):
    assert linker.link(mentions).empty
    assert list(linker.link(mentions)) == ["mention", "rank", "cui", "name", "score"]


def test_blank_mentions_between_others_are_left_out(linker):
    answer = linker.link(["wide nose", " ", "heart attack", ""], k=1)
    assert answer["mention"].tolist() == ["wide nose", "heart attack"]
    assert answer["cui"].tolist() == ["C2", "C1"]


@pytest.mark.parametrize("mentions", [None, 5, float("nan")])
def test_mentions_that_are_no_texts_are_refused_in_a_sentence(linker, mentions):
    with pytest.raises(ValueError, match=f"mentions are {mentions}: give a text or a list"):
        linker.link(mentions)


@pytest.mark.parametrize("row", [("C2", ""), ("C2", "\u200b"), ("", "flu"), (" ", "flu"),
                                 (None, "flu"), (float("nan"), "flu"), ("C2", None)])
def test_a_row_of_a_terminology_without_its_concept_or_name_is_refused(linker, row):
    names = pd.DataFrame([("C1", "gout"), row], columns=["cui", "name"])
    with pytest.raises(ValueError, match="row 1 of the terminology"):
        Linker.from_terminology(linker.encoder, names)


def test_a_terminology_that_lacks_a_column_or_has_other_vectors_is_refused(linker):
    for column in ("cui", "name"):
        with pytest.raises(ValueError, match=f"no column '{column}'"):
            Linker.from_terminology(linker.encoder, linker.names.drop(columns=column))
    for shape in ((3, 384), (2, 383), (2,), (2, 384, 1)):
        with pytest.raises(ValueError, match=r"the names need \(2, 384\)"):
            Linker.from_terminology(linker.encoder, linker.names, vectors=np.ones(shape, "f4"))


@pytest.mark.parametrize("only", [
    [False, True], np.array([False, True]), np.array([False, True], object),
    pd.Series([False, True]), pd.Series([False, True], dtype="boolean")])
def test_a_restriction_is_a_boolean_for_each_name(linker, only):
    assert linker.link("heart attack", only=only)["cui"].tolist() == ["C2"]


@pytest.mark.parametrize("only, message", [
    ([0, 1], "row numbers"), ([1], "row numbers"), ([True, float("nan")], "missing values"),
    (pd.Series([True, pd.NA], dtype="boolean"), "missing values"), ([True, None], "missing"),
    (5, "row numbers"), (["yes", ""], "row numbers"), (np.ones((2, 1), bool), "row numbers"),
    ([True], "1 values for 2"), (pd.Series([True, False], index=[1, 0]), "linker.names")])
def test_a_restriction_of_anything_else_is_refused(linker, only, message):
    with pytest.raises(ValueError, match=f"the restriction .*{message}"):
        linker.link("heart attack", only=only)


@pytest.mark.parametrize("mention", [None, float("nan"), 5])
def test_a_text_that_is_none_is_refused_with_its_row(linker, mention, tmp_path):
    with pytest.raises(ValueError, match=f"row 1 of the mentions .*{mention!r}"):
        linker.link(["fever", mention])
    with pytest.raises(ValueError, match=f"row 1 of the dictionary .*{mention!r}"):
        encode_cached(linker.encoder, ["fever", mention], tmp_path)


def test_fewer_than_one_concept_is_refused(linker):
    with pytest.raises(ValueError, match="k is 0"):
        linker.link("fever", k=0)


def test_names_that_do_not_match_the_vectors_are_refused(saved):
    (saved / "names.tsv").write_text("cui\tname\nC1\theart attack\n")
    with pytest.raises(ValueError, match="names.tsv does not hold the 3 names.*save the linker"):
        Linker.load(saved)


def test_names_that_were_sorted_by_hand_are_refused(saved):
    head, *lines = (saved / "names.tsv").read_text().splitlines()
    (saved / "names.tsv").write_text("\n".join([head, *sorted(lines, key=lambda x: x[3:])]) + "\n")
    with pytest.raises(ValueError, match="names.tsv does not hold the 3 names.*in their order"):
        Linker.load(saved)


def test_vectors_of_another_model_are_refused(saved):
    save_encoder(load_encoder("minilm", num_layers=1), saved / "encoder")
    with pytest.raises(ValueError, match="not the one that made the vectors"):
        Linker.load(saved)


@pytest.mark.parametrize("setting, value", [("pooling", "cls"), ("lower", False),
                                            ("prefix", "query: ")])
def test_an_encoder_of_other_settings_is_refused(saved, setting, value):
    file = saved / "encoder" / "sapbert.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {setting: value}))
    with pytest.raises(ValueError, match="not the one that made the vectors"):
        Linker.load(saved)


@pytest.mark.parametrize("text, message", [
    ("{}", "manifest.json is damaged .KeyError.'model'"), ("[]", "manifest.json is damaged"),
    ("{", "manifest.json is damaged"), ("", "manifest.json is damaged"),
    (None, "holds no manifest.json")])
def test_a_manifest_that_says_nothing_is_refused(saved, text, message):
    if text is None:
        (saved / "manifest.json").unlink()
    else:
        (saved / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=f"{message}.*save the linker again"):
        Linker.load(saved)


def test_a_manifest_with_a_value_of_another_kind_is_refused(saved):
    said = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps(said | {"names": "three"}))
    with pytest.raises(ValueError, match="'names': save the linker again"):
        Linker.load(saved)


@pytest.mark.parametrize("part", ["names.tsv", "vectors.npy", "index.faiss"])
def test_a_part_of_another_linker_of_the_same_shape_is_refused(encoder, part, tmp_path):
    rows = pd.DataFrame({"cui": ["C1", "C2"], "name": ["heart attack", "wide nose"]})
    other = rows.assign(cui=rows["cui"][::-1].tolist())
    if part != "names.tsv":
        other = other[::-1]
    for name, names in (("mine", rows), ("other", other)):
        linker = Linker.from_terminology(encoder, names, index="hnsw")
        linker.save(tmp_path / name)
    assert Linker.load(tmp_path / "mine").link("wide nose", k=1)["cui"].tolist() == ["C2"]
    (tmp_path / "other" / part).replace(tmp_path / "mine" / part)
    with pytest.raises(ValueError, match=f"{part} is not the one that was saved: save the linker"):
        Linker.load(tmp_path / "mine")


@pytest.mark.parametrize("changes", [{"index": "foo"}, {"sha256": 5}])
def test_a_manifest_of_an_unknown_index_or_without_hashes_is_refused(saved, changes):
    said = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps(said | changes))
    with pytest.raises(ValueError, match="manifest.json.*save the linker again"):
        Linker.load(saved)


def test_vectors_that_are_missing_cut_or_of_another_width_are_refused(saved):
    file = saved / "vectors.npy"
    np.save(file, np.ones((3, 7), "f4"))
    with pytest.raises(ValueError, match=r"\(3, 7\), not vectors of shape \(3, 384\): save the"):
        Linker.load(saved)
    np.save(file, np.ones((3, 384), "i4"))
    with pytest.raises(ValueError, match="int32 of shape"):
        Linker.load(saved)
    for content in (b"", file.read_bytes()[:-4]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="vectors.npy is missing or damaged"):
            Linker.load(saved)
    file.unlink()
    with pytest.raises(ValueError, match="vectors.npy is missing or damaged"):
        Linker.load(saved)


def test_an_index_that_is_missing_or_cut_is_refused(encoder, tmp_path):
    names = pd.DataFrame({"cui": ["C1", "C2"], "name": ["heart attack", "wide nose"]})
    linker = Linker.from_terminology(encoder, names, index="hnsw")
    saved = linker.save(tmp_path / "linker")
    file = saved / "index.faiss"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ValueError, match="index.faiss is missing or damaged: save the linker"):
        Linker.load(saved)
    file.unlink()
    with pytest.raises(ValueError, match="index.faiss is missing or damaged: save the linker"):
        Linker.load(saved)


def test_names_with_line_ends_tabs_and_quotes_load_again(encoder, tmp_path):
    odd = ["gout\rfoot", "gout\nfoot", "gout\r\nfoot", 'a "b"', '"', "tab\tbed", "NA"]
    names = pd.DataFrame({"cui": [f"C{i}" for i in range(len(odd))], "name": odd, "source": "X"})
    linker = Linker.from_terminology(encoder, names)
    again = Linker.load(linker.save(tmp_path / "linker"))
    assert again.names.values.tolist() == names.values.tolist()
    assert again.link("gout\rfoot", k=9).equals(linker.link("gout\rfoot", k=9))


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_an_approximate_index_finds_what_exact_search_finds(encoder, kind, tmp_path):
    texts = [f"type {i} disease of organ {i % 7}" for i in range(600)]
    names = pd.DataFrame({"cui": [f"C{i}" for i in range(600)], "name": texts})
    exact, near = (Linker.from_terminology(encoder, names, index=k) for k in ("exact", kind))
    near = Linker.load(near.save(tmp_path / "linker"))
    found = [x.link(texts[::20], k=5).groupby("mention")["cui"].agg(set) for x in (exact, near)]
    recall = np.mean([len(a & b) / 5 for a, b in zip(*found)])
    assert recall >= (0.99 if kind == "hnsw" else 0.5)
    with pytest.raises(ValueError, match="exact, hnsw, ivfpq"):
        Linker.from_terminology(encoder, names, index="annoy")


def test_a_compressed_index_of_few_names_can_be_saved(encoder, tmp_path):
    names = pd.DataFrame({"cui": ["C1", "C2"], "name": ["heart attack", "wide nose"]})
    linker = Linker.from_terminology(encoder, names, index="ivfpq")
    again = Linker.load(linker.save(tmp_path / "linker"))
    assert again.link("wide nose", k=2)["cui"].tolist() == ["C2", "C1"]


@pytest.mark.parametrize("mention, text, long", [
    ("RLS", "Seen for restless legs syndrome (RLS) since May.", "restless legs syndrome"),
    ("RLS", "Seen for RLS since May.", "RLS"), ("legs", "restless legs syndrome (RLS)", "legs"),
    ("RLS", "", "RLS"), (" RLS ", "restless legs syndrome (RLS)", "restless legs syndrome"),
    ("RLS", "open ( bracket RLS", "RLS"),
    # the other order
    ("RLS", "RLS (restless legs syndrome) was seen in May.", "restless legs syndrome"),
    ("RLS", "Known RLS (restless legs syndrome, G25.8).", "restless legs syndrome"),
    ("HbA1c", "HbA1c(hemoglobin A1c) of 7", "hemoglobin A1c"),
    ("RLS", "RLS (see below); AS (restless legs syndrome)", "RLS"),
    ("RLS", "XRLS (restless legs syndrome)", "RLS"), ("RLS", "RLS (12 mg)", "RLS"),
    ("pain", "pain (in posterior arm internally near)", "pain"), ("", "x (y z)", ""),
    (" ", "x (y z)", " "), ("RLS", None, "RLS"), ("RLS", float("nan"), "RLS"),
    # line ends, quotation marks and square brackets
    ("RLS", "Seen for restless\r\nlegs  syndrome\n(RLS).", "restless legs syndrome"),
    ("RLS", "restless\rlegs syndrome (RLS)", "restless legs syndrome"),
    ("RLS", "RLS (restless\nlegs syndrome)", "restless legs syndrome"),
    ("RLS", "restless legs\n\nsyndrome (RLS)", "RLS"),
    ("RLS", '"RLS" (restless legs syndrome)', "restless legs syndrome"),
    ("RLS", "\u201cRLS\u201d (restless legs syndrome)", "restless legs syndrome"),
    ("RLS", "RLS [restless legs syndrome]", "restless legs syndrome"),
    ("RLS", "restless legs syndrome [RLS]", "restless legs syndrome"),
    ("RLS", "RLS (restless legs syndrome [mild])", "restless legs syndrome [mild]"),
    ("RLS", "open ( bracket\nrestless legs syndrome (RLS)", "restless legs syndrome")])
def test_an_abbreviation_becomes_what_its_text_says(mention, text, long):
    handlers = logging.getLogger().handlers[:]
    assert expand(mention, text) == long
    assert logging.getLogger().handlers == handlers, "the package must not set up logging"
