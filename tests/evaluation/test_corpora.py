"""The gold corpora: what their files say, malformed lines, and where they come from."""

import functools
import gzip
import hashlib
import http.server
import threading

import pandas as pd
import pytest

from sapbert_utils.__main__ import main
from sapbert_utils.evaluation import corpora
from sapbert_utils.evaluation.benchmarks import Benchmark
from sapbert_utils.evaluation.corpora import (
    fetch_corpus,
    find_corpus,
    read_askapatient,
    read_biosyn,
    read_cometa,
    read_custom,
    read_medmentions,
    read_pubtator,
    read_queries,
)


@pytest.fixture
def biosyn(tmp_path):
    (tmp_path / "processed_test").mkdir()
    (tmp_path / "processed_test" / "1.concept").write_text(
        "1||0|5||SpecificDisease||Wide Nose||D9\n"
        "1||9|12||CompositeMention||Left|Right tumour||D1|D2\n")
    (tmp_path / "processed_test" / "2.concept").write_text(
        "2||0|5||Modifier||fièvre||D8+D2\n", encoding="utf-8")
    (tmp_path / "test_dictionary.txt").write_text("D9||Broad nose\nD1|D7||tumour\n")
    return tmp_path


def test_a_biosyn_corpus_is_read_whole_and_lower_cased(biosyn):
    assert read_biosyn(biosyn, name="toy") == Benchmark(
        "toy", ("wide nose", "left|right tumour", "fièvre"), ("D9", "D1|D2", "D8+D2"),
        ("broad nose", "tumour"), ("D9", "D1|D7"))


@pytest.mark.parametrize("file, line, fields", [
    ("processed_test/1.concept", "1||0|5||Modifier||no concept", 4),
    ("processed_test/2.concept", "1||0|5||M||a||b||c", 6),
    ("test_dictionary.txt", "no concept", 1), ("test_dictionary.txt", "D1||a||b", 3)])
def test_a_malformed_biosyn_line_names_file_and_line(biosyn, file, line, fields):
    lines = (biosyn / file).read_text(encoding="utf-8").splitlines()
    (biosyn / file).write_text("\n".join([lines[0], line]) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"{fields} fields where") as error:
        read_biosyn(biosyn)
    assert f"{biosyn / file}, line 2: " in str(error.value)


def test_a_byte_order_mark_is_no_part_of_a_concept(biosyn):
    whole = read_biosyn(biosyn)
    for file in (biosyn / "test_dictionary.txt", biosyn / "processed_test" / "1.concept"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_biosyn(biosyn) == whole and whole.concepts[0] == "D9"
    path = biosyn / "queries.txt"
    path.write_text("\ufeffC3||Lunge\nC4||\ufeffHerz\n", encoding="utf-8")
    assert read_queries(path) == [("C3", "Lunge"), ("C4", "\ufeffHerz")]  # only the file's first


def test_a_biosyn_folder_without_mentions_or_dictionary_is_refused(biosyn):
    with pytest.raises(FileNotFoundError, match="processed_dev holds no .concept file"):
        read_biosyn(biosyn, "dev")
    (biosyn / "test_dictionary.txt").unlink()
    with pytest.raises(FileNotFoundError, match="test_dictionary.txt"):
        read_biosyn(biosyn)


def test_queries_and_names_without_a_concept_are_left_out(biosyn):
    with open(biosyn / "processed_test" / "2.concept", "a") as out:
        out.write("2||0|5||Modifier||unknown||CUI-less\n")
    with open(biosyn / "test_dictionary.txt", "a") as out:
        out.write("\ncui-less||nothing\n")
    assert len(read_biosyn(biosyn).mentions) == 3 and len(read_biosyn(biosyn).names) == 2
    for file in (biosyn / "processed_test").iterdir():
        file.write_text("2||0|5||Modifier||unknown||CUI-less\n")
    with pytest.raises(ValueError, match="0 queries with a gold concept"):
        read_biosyn(biosyn)


def test_query_files_of_all_forms_are_read(tmp_path):
    path = tmp_path / "de.txt"
    path.write_text("C3||Lunge\nC4|C5||Herz\nC1||Niere||die <tgt>Niere</tgt> ist\n",
                    encoding="utf-8")
    assert read_queries(path) == [("C3", "Lunge"), ("C4|C5", "Herz"), ("C1", "Niere")]
    (tmp_path / "dictionary.txt").write_text("C3||Lung\n")
    assert read_custom(path, tmp_path / "dictionary.txt", "mine") == Benchmark(
        "mine", ("Lunge", "Herz", "Niere"), ("C3", "C4|C5", "C1"), ("lung",), ("C3",))


@pytest.mark.parametrize("line", ["C1", "C1|name", "C1||a||b||c", "||name", "C1||"])
def test_a_malformed_query_line_names_file_and_line(tmp_path, line):
    path = tmp_path / "de.txt"
    path.write_text(f"C1||good\n{line}\n")
    with pytest.raises(ValueError, match="fields where 2 or 3 are expected") as error:
        read_queries(path)
    assert f"{path}, line 2: " in str(error.value)


def test_bytes_that_are_not_utf8_are_refused_with_the_line(tmp_path):
    path = tmp_path / "de.txt"
    path.write_bytes(b"C1||good\nC2||fi\xe8vre\n")
    with pytest.raises(ValueError, match="line 2: not UTF-8"):
        read_queries(path)


def test_askapatient_has_ten_folds_and_one_dictionary(tmp_path):
    (tmp_path / "AskAPatient.dict.txt").write_text("1||Pain\n2||Fever\n")
    for fold in range(10):
        file = tmp_path / f"AskAPatient.fold-{fold}.test.preprocessed_query.txt"
        file.write_text(f"1||ouch {fold}\n")
    folds = read_askapatient(tmp_path)
    assert [f.mentions for f in folds] == [(f"ouch {i}",) for i in range(10)]
    assert {f.names for f in folds} == {("pain", "fever")}


@pytest.fixture
def cometa(tmp_path):
    for split in ("stratified", "zeroshot"):
        for kind in ("general", "specific"):
            folder = tmp_path / "splits" / f"{split}_{kind}"
            folder.mkdir(parents=True)
            (folder / "test.csv").write_text(
                "ID\tTerm\tGeneral SNOMED ID\tSpecific SNOMED ID\tExample\n"
                f'1\tTummy Ache\t11\t12\t"a ""bad"" {split}\ttummy ache"\n'
                "2\tflu\t21\t22\tthe flu\n")
    (tmp_path / "COMETA_id_sf_dictionary.txt").write_text("11||Stomach ache\n")
    return tmp_path


def test_cometa_has_two_splits_and_two_kinds_of_identifier(cometa):
    assert read_cometa(cometa) == Benchmark(
        "COMETA stratified general", ("Tummy Ache", "flu"), ("11", "21"),
        ("stomach ache",), ("11",))
    assert read_cometa(cometa, "zeroshot", "specific").gold == ("12", "22")


@pytest.mark.parametrize("text, message", [
    ("ID\tTerm\n1\tx\n", "line 1: no column 'General SNOMED ID'; its columns are: ID, Term"),
    ("Term\tGeneral SNOMED ID\nx\t1\ny\n", "line 3: the header has 2 cells, this row has 1"),
    ("Term\tGeneral SNOMED ID\nx\t1\t2\n", "line 2: the header has 2 cells, this row has 3"),
    ("Term\tGeneral SNOMED ID\nx\t\n", "line 2: no value for Term or General SNOMED ID"),
    ('Term\tGeneral SNOMED ID\nx\t1\n"y\t2\nz\t3\n', "line 3: a quotation mark is not closed"),
    ("", "is empty"), (b"Term\tGeneral SNOMED ID\nx\t1\nfi\xe8vre\t2\n", "line 3: not utf-8")])
def test_a_malformed_cometa_file_names_the_line(cometa, text, message):
    file = cometa / "splits" / "stratified_general" / "test.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as error:
        read_cometa(cometa)
    assert str(error.value).startswith(str(file))


def test_a_long_cell_of_cometa_is_read(cometa):
    long = "x" * 140_000
    (cometa / "splits" / "stratified_general" / "test.csv").write_text(
        f"\ufeffTerm\tGeneral SNOMED ID\tExample\nflu\t1\t{long}\n{long}\t2\t\n", encoding="utf-8")
    assert read_cometa(cometa).mentions == ("flu", long)


PUBTATOR = ("1|t|Fever and 25|a|b\n1|a|Text.\n1\t0\t5\tFever\tT184\tUMLS:C0015967\n\n"
            "2|t|Other\n2|a|Text\n"
            "2\t0\t5\tBreast and ovarian cancer\tCompositeMention\tMESH:D001943|OMIM:167000\n"
            "2\t6\t8\tunknown\tDisease\t-1\n2\tCID\tD1\tD2\n")


def test_pubtator_files_are_read_by_document(tmp_path):
    (tmp_path / "corpus.txt").write_text(PUBTATOR)
    wanted = [("Fever", "C0015967"), ("Breast and ovarian cancer", "D001943|167000")]
    assert read_pubtator(tmp_path / "corpus.txt") == wanted
    assert read_pubtator(tmp_path / "corpus.txt", ["2"]) == wanted[1:]
    assert read_pubtator(tmp_path / "corpus.txt", [1]) == wanted[:1]
    (tmp_path / "corpus.txt").write_text(PUBTATOR + "3\t0\tfive\tx\ty\tz\n")
    with pytest.raises(ValueError, match="corpus.txt, line 10: expected PMID"):
        read_pubtator(tmp_path / "corpus.txt")


@pytest.mark.parametrize("concepts, gold", [
    ("MESH:D1,MESH:D2", "D1|D2"), ("MESH:D1|OMIM:2", "D1|2"), ("D1+D2", "D1|D2"),
    ("D1;D2", "D1|D2"), ("MESH:D1, MESH:D2", "D1|D2"), ("MESH:D1,", "D1"), ("UMLS:C1", "C1"),
    ("-1|D1", "D1"), ("MESH:D1,-", "D1"), ("None|D1", "D1"), ("-", None), ("None", None),
    ("-1|-", None)])
def test_all_concepts_of_a_pubtator_annotation_are_kept(tmp_path, concepts, gold):
    (tmp_path / "corpus.txt").write_text(f"1|t|Fever\n1\t0\t5\tFever\tDisease\t{concepts}\n")
    assert read_pubtator(tmp_path / "corpus.txt") == ([("Fever", gold)] if gold else [])


@pytest.mark.parametrize("document", ["PMC1234567", "PMC12345678901", "my-own-document.2024", "7"])
def test_documents_may_have_any_identifier(tmp_path, document):
    text = f"{document}|t|A fever\n{document}|a|\n{document}\t2\t7\tfever\tDisease\tMESH:D1\n"
    (tmp_path / "corpus.txt").write_text("\ufeff" + text, encoding="utf-8")
    assert read_pubtator(tmp_path / "corpus.txt", [document]) == [("fever", "D1")]


def test_a_tab_inside_a_pubtator_mention_is_refused_and_a_seventh_field_of_parts_is_read(tmp_path):
    file = tmp_path / "corpus.txt"
    file.write_text("1|t|Breast and ovarian cancer\n1\t0\t25\tBreast and ovarian cancer\tDisease\t"
                    "D1|D2\tBreast cancer|ovarian cancer\n")
    assert read_pubtator(file) == [("Breast and ovarian cancer", "D1|D2")]
    for line in ("1\t0\t13\tbreast\tcancer\tDisease\tMESH:D1", "1\t0\t5\tf\te\tv\tDisease\tD1",
                 "1\t0\t6\tgo\tutx\tDisease"):
        file.write_text(f"1|t|Breast cancer\n{line}\n")
        with pytest.raises(ValueError, match="corpus.txt, line 2: expected PMID"):
            read_pubtator(file)


def test_medmentions_takes_its_test_documents_and_the_given_names(tmp_path):
    with gzip.open(tmp_path / "corpus_pubtator.txt.gz", "wt") as out:
        out.write(PUBTATOR)
    (tmp_path / "corpus_pubtator_pmids_test.txt").write_text("1 \t\n")
    names = pd.DataFrame({"cui": ["C0015967", "C1"], "name": ["fever", "cold"]})
    assert read_medmentions(tmp_path, names) == Benchmark(
        "MedMentions", ("Fever",), ("C0015967",), ("fever", "cold"), ("C0015967", "C1"))


def test_a_cut_archive_or_a_part_without_mentions_is_refused(tmp_path):
    file = tmp_path / "corpus_pubtator.txt.gz"
    whole = gzip.compress(PUBTATOR.encode())
    for content in (whole[:-12], whole[:40] + bytes(len(whole) - 40), b"no archive"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="corpus_pubtator.txt.gz.*fetch it again"):
            read_pubtator(file)
    file.write_bytes(whole)
    (tmp_path / "corpus_pubtator_pmids_test.txt").write_text("3\n")
    with pytest.raises(ValueError, match="no mention in the documents of the test part"):
        read_medmentions(tmp_path, pd.DataFrame({"cui": ["C1"], "name": ["fever"]}))


def test_a_corpus_is_found_in_the_readers_folder_and_a_missing_one_says_how_to_get_it(
        monkeypatch, tmp_path):
    monkeypatch.setenv("SAPBERT_CACHE", str(tmp_path / "cache"))
    said = "cometa is not there: put it into .*SAPBERT_BENCHMARKS.*on request"
    with pytest.raises(FileNotFoundError, match=said):
        find_corpus("cometa")
    (tmp_path / "own" / "cometa").mkdir(parents=True)
    monkeypatch.setenv("SAPBERT_BENCHMARKS", str(tmp_path / "own"))
    assert find_corpus("cometa") == tmp_path / "own" / "cometa"


def test_a_corpus_is_fetched_once_and_only_as_pinned(monkeypatch, tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.txt").write_text("C1||a\n")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler,
                                directory=str(tmp_path / "web"))
    server = http.server.ThreadingHTTPServer(("localhost", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("SAPBERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(corpora, "REGISTRY", tmp_path / "registry.txt")
    digest = hashlib.sha256(b"C1||a\n").hexdigest()
    address = f"http://localhost:{server.server_port}/a.txt"
    line = "  xl-bel/v0.0/a.txt  "
    for wrong, url in (("0" * 64, address), (digest, f"{address}.missing")):
        (tmp_path / "registry.txt").write_text(wrong + line + url)
        with pytest.raises(OSError):
            fetch_corpus("xl-bel")
        with pytest.raises(FileNotFoundError):
            find_corpus("xl-bel")
    (tmp_path / "registry.txt").write_text(f"# comment\n{digest}{line}{address}\n")
    assert read_queries(fetch_corpus("xl-bel") / "v0.0" / "a.txt") == [("C1", "a")]
    server.shutdown()
    assert fetch_corpus("xl-bel") == find_corpus("xl-bel")
    with pytest.raises(ValueError, match="cometa cannot be fetched: on request"):
        fetch_corpus("cometa")


def test_fetch_is_a_command_that_refuses_in_one_line(capsys):
    assert main(["fetch", "cometa"]) == 2 and main(["fetch", "unknown"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "on request" in said[0] and "unknown cannot be fetched" in said[1]
