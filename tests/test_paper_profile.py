"""The profile ``paper`` from end to end: a UMLS release and base models that lie on disk, both made small.

The release is the open metathesaurus in the shape of one: gzipped, no source called ICD10, a drug with a brand in
MRREL.RRF. The base models have the architectures, file formats and tokenizers of PubMedBERT and XLM-R, and random
weights: what is tested is that everything runs and is read from where it should be, not how well it links.
"""

import gzip
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertConfig, BertForMaskedLM, XLMRobertaConfig, XLMRobertaForMaskedLM, XLMRobertaTokenizer

from sapbert_utils.course.notebooks import find_notebooks
from sapbert_utils.course.profiles import REPOSITORY
from sapbert_utils.data.pairs import read_pairs
from sapbert_utils.data.rrf import FIELDS
from sapbert_utils.data.splits import held_out
from sapbert_utils.data.terminology import build_open_metathesaurus
from sapbert_utils.model import encode, load_encoder

SCHEMA = REPOSITORY / "tests" / "course" / "results.schema.json"

STEMS = [notebook.stem for notebook in find_notebooks()]
RECIPES = ("sapbert", "sapbert-mean-token", "sapbert-xlmr", "sapbert-xlmr-english", "xling-bitext")
DRUG, BRAND, OLD = "C9000001", "C9000002", "C9000003"  # the last one's name is suppressed
ENGLISH, MULTILINGUAL = 32, 48  # hidden sizes, so that one model is never taken for the other
TINY = dict(num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, initializer_range=0.3)
GIVEN = {"umls_dir": "META", "english_model": "pubmedbert", "multilingual_model": "xlmr", "trade_names": "true",
         "steps": 2, "train_steps": 2, "count_batches": 10, "max_names": 600, "queries": 30,
         "map_names": 200, "dictionary_names": 500, "method": "tsne"}


def line(name: str, **values: str) -> str:
    """One line of an RRF file; fields that are not given stay empty."""
    return "|".join(values.get(field, "") for field in FIELDS[name]) + "|\n"


def write_release(folder):
    """The smoke profile's slice of the open metathesaurus, as a UMLS release would hold it."""
    plain = build_open_metathesaurus(folder, 600)
    with gzip.open(folder / "MRCONSO.RRF.gz", "wt", encoding="utf-8") as out:
        for text in plain.read_text(encoding="utf-8").splitlines(keepends=True):
            fields = text.split("|")
            if fields[11] == "ICD10":  # in a release each translation is a source of its own
                fields[11] += fields[1]
            out.write("|".join(fields))
        for cui, name in ((DRUG, "Standinol"), (BRAND, "Brandolin")):
            out.write(line("MRCONSO.RRF", CUI=cui, LAT="ENG", SAB="RXNORM", TTY="PT", STR=name, SUPPRESS="N"))
        out.write(line("MRCONSO.RRF", CUI=OLD, LAT="ENG", SAB="MSH", TTY="PT",
                       STR="Obsoletin fever", SUPPRESS="O"))
    with open(folder / "MRREL.RRF", "w", encoding="utf-8") as out:
        for relation, one, other in (("has_tradename", DRUG, BRAND), ("tradename_of", BRAND, DRUG)):
            out.write(line("MRREL.RRF", CUI1=one, RELA=relation, CUI2=other, SAB="RXNORM", SUPPRESS="N"))
    plain.unlink()


def write_medmentions(folder):
    """MedMentions with one mention, whose name its source suppresses."""
    folder.mkdir(parents=True)
    text = f"1|t|obsoletin fever\n1\t0\t15\tobsoletin fever\tT047\tUMLS:{OLD}\n"
    (folder / "corpus_pubtator.txt.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "corpus_pubtator_pmids_test.txt").write_text("1\n")


def read_release(folder):
    """The lines of the release's names, each split into its fields."""
    with gzip.open(folder / "MRCONSO.RRF.gz", "rt", encoding="utf-8") as lines:
        return [dict(zip(FIELDS["MRCONSO.RRF"], text.split("|"))) for text in lines]


def write_pubmedbert(folder):
    """As on the hub: a model of masked words in pytorch_model.bin, and a tokenizer that is a bare vocab.txt."""
    words = load_encoder("minilm", 1).tokenizer.get_vocab()  # bert-base-uncased's
    config = BertConfig(vocab_size=len(words), hidden_size=ENGLISH, **TINY, architectures=["BertForMaskedLM"])
    config.save_pretrained(folder)
    torch.save(BertForMaskedLM(config).state_dict(), folder / "pytorch_model.bin")
    (folder / "vocab.txt").write_text("\n".join(sorted(words, key=words.get)) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}', encoding="utf-8")


def write_xlmr(folder, names):
    """XLM-R's order of special pieces and two positions more than tokens; its pieces are learnt from ``names``."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(names, trainers.UnigramTrainer(vocab_size=4000, show_progress=False,
                                                                 special_tokens=["<unk>"], unk_token="<unk>"))
    learnt = json.loads(tokenizer.to_str())["model"]["vocab"][1:]
    special = [(piece, 0.0) for piece in ("<s>", "<pad>", "</s>", "<unk>")]
    XLMRobertaTokenizer(vocab=[*special, *map(tuple, learnt), ("<mask>", 0.0)]).save_pretrained(folder)
    config = XLMRobertaConfig(vocab_size=len(learnt) + 5, hidden_size=MULTILINGUAL, max_position_embeddings=514,
                              type_vocab_size=1, layer_norm_eps=1e-5, **TINY)
    XLMRobertaForMaskedLM(config).save_pretrained(folder)


def command(place, *words, given):
    """One command of the runner on the profile ``paper``, started in the folder that holds release and models."""
    environment = {k: v for k, v in os.environ.items() if k not in ("SAPBERT_PROFILE", "SAPBERT_BENCHMARKS")}
    # Models so small gain nothing from a second thread, and lose much where threads wait for a busy core.
    environment["SAPBERT_BENCHMARKS"] = str(place / "benchmarks")
    environment |= {"SAPBERT_RUNS": str(place / "runs"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
                    "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    parameters = [word for name, value in given.items() for word in ("-p", f"{name}={value}")]
    done = subprocess.run([sys.executable, "-m", "sapbert_utils", *words, "--profile", "paper", *parameters], cwd=place,
                          capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """All notebooks, run two at a time where neither needs the other, which saves half of the wait."""
    place = tmp_path_factory.mktemp("paper")
    for name in ("META", "pubmedbert", "xlmr"):
        (place / name).mkdir()
    torch.manual_seed(33)
    write_release(place / "META")
    write_medmentions(place / "benchmarks" / "medmentions")
    write_pubmedbert(place / "pubmedbert")
    write_xlmr(place / "xlmr", [row["STR"] for row in read_release(place / "META")])

    def run(notebook):
        own = {name: value for name, value in GIVEN.items() if name in notebook.parameters}
        return command(place, "run", notebook.stem[:2], given=own)

    notebooks = find_notebooks()
    for together in (notebooks[:2], notebooks[2:4], notebooks[:3:-1]):  # the longest of the last first
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(run, together))
    return place


def test_reproduce_takes_the_same_parameters_and_finds_the_nine_notebooks_up_to_date(course):
    out = command(course, "reproduce", given=GIVEN)
    assert out.count("up to date") == 9 and out.splitlines()[-1].startswith("9 notebooks, ")


def result(course, stem):
    return json.loads((course / "runs/paper/results" / f"{stem}.json").read_text(encoding="utf-8"))


def test_all_nine_notebooks_end_with_a_record_of_the_paper_profile(course):
    assert len(STEMS) == 9
    for stem in STEMS:
        record = result(course, stem)
        jsonschema.validate(record, json.loads(SCHEMA.read_text()))
        assert record["profile"] == "paper" and all(m["expected"] is None for m in record["metrics"])
        for name, folder in (("english_model", "pubmedbert"), ("multilingual_model", "xlmr")):
            assert record["parameters"].get(name, str(course / folder)) == str(course / folder)
    assert "english_model" in result(course, STEMS[0])["parameters"]


def test_names_and_trade_names_come_from_the_release(course):
    assert "external/MRCONSO.RRF.gz" in result(course, STEMS[1])["inputs"]
    assert not (course / "runs/paper/data/metathesaurus").exists()
    pairs = read_pairs(course / "runs/paper/data/pairs_english.txt")
    brand = pairs[pairs["cui"].isin([DRUG, BRAND])]
    assert {tuple(sorted(row)) for row in brand[["name1", "name2"]].to_numpy()} == {("brandolin", "standinol")}


def test_the_dictionary_of_medmentions_holds_suppressed_names_as_the_original_does(course):
    executed = (course / "runs/paper/notebooks" / f"{STEMS[4]}.ipynb").read_text(encoding="utf-8")
    (found,) = re.findall(r"MedMentions +TF-IDF +(\d+\.\d)", executed)  # acc@1 in the plain table
    assert found == "100.0"


def test_held_out_blocks_stay_out_though_the_release_has_no_source_icd10(course):
    strings, held_codes = held_out(["ICD10"])
    codes = {code for _, code in held_codes}
    rows = [row for row in read_release(course / "META") if row["SAB"].startswith("ICD10")]
    assert "ICD10" not in {row["SAB"] for row in rows}
    held = {row["CUI"] for row in rows if row["CODE"] in codes}
    assert len(held) > 50
    for name in ("pairs_multilingual.txt", "pairs_english_cased.txt"):
        pairs = read_pairs(course / "runs/paper/data" / name)
        assert len(pairs) > 100 and not held & set(pairs["cui"])
        assert strings.isdisjoint(pairs["name1"].str.lower()) and strings.isdisjoint(pairs["name2"].str.lower())


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_the_base_model_of_its_language_with_the_papers_pooling(course, name):
    folder = course / "runs/paper/models" / name
    config = json.loads((folder / "config.json").read_text())
    english = name in ("sapbert", "sapbert-mean-token")
    assert config["model_type"] == ("bert" if english else "xlm-roberta")
    assert config["hidden_size"] == (ENGLISH if english else MULTILINGUAL) and config["num_hidden_layers"] == 2
    settings = json.loads((folder / "sapbert.json").read_text())
    assert settings["pooling"] == ("mean_all_tok" if name == "sapbert-mean-token" else "cls")
    assert settings["lower"] == english and settings["prefix"] == "" and settings["max_length"] == 25
    card = (folder / "README.md").read_text()
    base = "sapbert-xlmr" if name == "xling-bitext" else "pubmedbert" if english else "xlmr"
    assert f"**Base model:** {base} (" in card and str(course) not in card
    history = json.loads((course / f"runs/paper/data/history_{name}.json").read_text())
    assert [record["step"] for record in history] == [1, 2] and history[-1]["lr"] == 2e-5


@pytest.mark.parametrize("name, base", [("sapbert", "pubmedbert"), ("sapbert-xlmr", "xlmr")])
def test_training_started_from_the_weights_in_the_folder(course, name, base):
    """Two steps of 2e-5 move no weight by more than a few times as much, and do move the vectors."""
    start, end = load_encoder(str(course / base)), load_encoder(str(course / "runs/paper/models" / name))
    moved = [(a - b).abs().max().item() for a, b in zip(start.model.parameters(), end.model.parameters(), strict=True)]
    assert 0 < max(moved) < 1e-3
    assert start.tokenizer(["Heart attack"])["input_ids"] == end.tokenizer(["Heart attack"])["input_ids"]
    assert encode(end, ["heart attack"]).shape == encode(start, ["heart attack"]).shape
