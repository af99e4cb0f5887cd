"""Nothing that a reader downloads is executed, and no name becomes markup."""

import ast
import json
import os
import pickle
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch

from sapbert_utils.course.plots import interactive_map
from sapbert_utils.course.profiles import REPOSITORY
from sapbert_utils.files import sha256, write_json
from sapbert_utils.linking import Linker
from sapbert_utils.model import load_encoder, save_encoder
from sapbert_utils.model.checkpoints import load_checkpoint, save_checkpoint

FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "input"}
FORBIDDEN_SETTINGS = {("trust_remote_code", True), ("weights_only", False), ("allow_pickle", True), ("shell", True)}


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("minilm", num_layers=1, device="cpu")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "sapbert_utils").rglob("*.py")), ids=lambda path: path.name)
def test_the_code_unpickles_nothing_and_runs_no_foreign_code(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            assert getattr(node.func, "id", "") not in FORBIDDEN_CALLS, f"line {node.lineno}"
            given = {(k.arg, getattr(k.value, "value", None)) for k in node.keywords}
            assert not given & FORBIDDEN_SETTINGS, f"line {node.lineno}"
            if getattr(node.func, "attr", "") == "load" and getattr(node.func.value, "id", "") in ("np", "torch"):
                safe = {("allow_pickle", False), ("weights_only", True)}
                assert given & safe, f"line {node.lineno}: say that nothing is unpickled"
        names = [a.name for a in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        # what a refused pickle raises, and the reader that refuses classes (test_vocabularies.py)
        if names != ["UnpicklingError"] and (path.name, names) != ("vocabularies.py", ["pickle"]):
            assert not {"pickle", "marshal", "shelve", "dill", "joblib"} & {*names, getattr(node, "module", "")}


def test_a_pickle_among_a_models_weights_is_not_run(encoder, tmp_path):
    folder = save_encoder(encoder, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"w": Bomb(tmp_path / "ran")}, protocol=2))
    with pytest.raises((OSError, ValueError)) as caught:
        load_encoder(str(folder), device="cpu")
    assert "model" in str(caught.value) and not (tmp_path / "ran").exists()


def test_a_model_that_brings_its_own_code_is_refused(encoder, tmp_path):
    folder = save_encoder(encoder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.OwnModel"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    with pytest.raises((OSError, ValueError)) as caught:
        load_encoder(str(folder), device="cpu")
    assert "model" in str(caught.value) and not (tmp_path / "ran").exists()


def test_pickled_vectors_of_a_linker_are_refused(encoder, tmp_path):
    names = pd.DataFrame({"cui": ["C1", "C2"], "name": ["gout", "flu"]})
    folder = Linker.from_terminology(encoder, names).save(tmp_path / "linker")
    np.save(folder / "vectors.npy", np.array([Bomb(tmp_path / "ran")], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="vectors.npy is missing or damaged"):
        Linker.load(folder)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_in_a_checkpoint_is_not_run(tmp_path):
    folder = save_checkpoint(tmp_path, 3, {"w": torch.ones(2)}, {"random": []}, {"recipe": "sapbert"})
    torch.save({"random": [Bomb(tmp_path / "ran")]}, folder / "state.pt")
    mark = json.loads((folder / "checkpoint.json").read_text())
    mark["sha256"]["state.pt"] = sha256(folder / "state.pt")
    write_json(folder / "checkpoint.json", mark)
    with pytest.warns(UserWarning, match="damaged"):
        assert load_checkpoint(tmp_path, {"recipe": "sapbert"}) is None
    assert not (tmp_path / "ran").exists()


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append(tag)


def test_a_name_that_is_markup_stays_text_on_the_map():
    def page(name):
        return interactive_map({"map": np.eye(2)}, [name, "gout"], ["C1", "C2"], ["HPO", "HPO"], ["a", "other"], name)

    evil = "</script><script>document.title='ran'</script><img src=x onerror=alert(1)><!--"
    assert Tags(page(evil)).found == Tags(page("gout")).found


def test_the_lab_listens_on_this_machine_alone_and_asks_for_a_token():
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert not any(word in text for word in ("--ip", "token=", "password=", "allow_origin", "--allow-root"))
