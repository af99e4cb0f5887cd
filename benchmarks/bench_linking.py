"""Encoding a dictionary and searching it: this project's way beside renderings of two others, on the same model.

    python benchmarks/bench_linking.py                            # 73,024 open English names, from notebook 01
    python benchmarks/bench_linking.py --dictionary id_name.txt   # another dictionary of id||name lines
    python benchmarks/bench_linking.py --pooling mean             # in place of SapBERT's [CLS]

Encoding, against (a) the original repository's path: batches of 2,048 as they come, every name padded to 25 tokens;
and (b) sentence-transformers' encode. Each way encodes the same names once, and all vectors are compared. Searching 960
mentions, against the original's path: each mention is encoded alone, compared with the whole dictionary, and all scores
are sorted. At last, 960 random queries among a million random vectors of 768 numbers, in half precision on disk, in a
process of its own for its peak memory.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from sapbert_utils.course.profiles import get_profile
from sapbert_utils.data import clean_names
from sapbert_utils.data.rrf import read_mrconso
from sapbert_utils.linking import search
from sapbert_utils.linking.export import to_sentence_transformers
from sapbert_utils.model.encoder import load_encoder
from sapbert_utils.model.encoding import encode, pool

COUNT, MENTIONS, MILLION, WIDTH = 73_024, 960, 1_000_000, 768


@torch.inference_mode()
def padded(encoder, names, batch=2048) -> np.ndarray:
    parts = []
    for start in range(0, len(names), batch):
        tokens = encoder.tokenizer(encoder.prepare(names[start : start + batch]), padding="max_length", truncation=True,
                                   max_length=25, return_tensors="pt")
        parts.append(pool(encoder.model(**tokens).last_hidden_state, tokens["attention_mask"], encoder.pooling).numpy())
    return np.concatenate(parts)


def with_sentence_transformers(encoder, names) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    with tempfile.TemporaryDirectory() as folder:
        model = SentenceTransformer(str(to_sentence_transformers(encoder, Path(folder, "model"))), device="cpu")
        return model.encode(names, batch_size=32, show_progress_bar=False)


def one_by_one(encoder, mentions, vectors, k=10) -> np.ndarray:
    found = []
    for mention in mentions:
        scores = np.matmul(padded(encoder, [mention]), vectors.T)
        found.append(torch.argsort(torch.tensor(scores), dim=1, descending=True)[0, :k].numpy())
    return np.stack(found)


def timed(work):
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def million(folder: Path) -> None:
    """Search a memory-mapped file of half precision; print the seconds and this process's peak memory."""
    vectors, queries = np.load(folder / "vectors.npy", mmap_mode="r"), np.load(folder / "queries.npy")
    seconds, (indices, _) = timed(lambda: search(queries, vectors, 10, "cosine"))
    np.save(folder / "found.npy", indices)
    # Not getrusage: it would count the parent's memory, with which a child starts.
    kilobytes = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
    print(f"{seconds:.1f} {kilobytes * 1024 / 1e9:.2f}")


def main(path: str, pooling: str) -> None:
    encoder = load_encoder("minilm", lower=True, pooling=pooling)
    if path:
        names = [line.partition("||")[2].lower() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    else:
        known = read_mrconso(get_profile("demo").data / "metathesaurus").filter("language = 'ENG'")
        names = list(dict.fromkeys(clean_names(known).df()["name"]))[:COUNT]
    tokens = np.mean([len(t) for t in encoder.tokenizer(names, truncation=True, max_length=25)["input_ids"]])
    print(f"{len(names):,} names of {tokens:.1f} tokens, {torch.get_num_threads()} threads, MiniLM-L6, {pooling}")
    ways = {"this project": encode, "original, padded": padded, "sentence-transformers": with_sentence_transformers}
    seconds, vectors = {}, {}
    for way, work in ways.items():
        seconds[way], vectors[way] = timed(lambda work=work: work(encoder, names))
        apart = np.abs(vectors[way] - vectors["this project"]).max()
        print(f"encode  {way:24} {seconds[way]:7.1f} s  {len(names) / seconds[way]:7,.0f} names/s  "
              f"{seconds[way] / seconds['this project']:5.2f} times ours  largest difference {apart:.0e}", flush=True)
    mentions, dictionary = names[:: len(names) // MENTIONS][:MENTIONS], vectors["this project"]
    ours, found = timed(lambda: search(encode(encoder, mentions), dictionary, 10, "dot")[0])
    few = mentions[::8]
    theirs, wanted = timed(lambda: one_by_one(encoder, few, dictionary))
    theirs *= len(mentions) / len(few)
    print(f"search  {len(mentions)} mentions: ours {ours:.2f} s, one by one {theirs:.1f} s (from {len(few)}), ratio "
          f"{theirs / ours:.0f}; same top 10 in {(found[::8] == wanted).all(1).mean():.1%}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        draw, folder = np.random.default_rng(0), Path(folder)
        mapped = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float16, (MILLION, WIDTH))
        for start in range(0, MILLION, 50_000):
            mapped[start : start + 50_000] = draw.standard_normal((50_000, WIDTH), np.float32)
        mapped.flush()
        queries = draw.standard_normal((MENTIONS, WIDTH), np.float32)
        np.save(folder / "queries.npy", queries)
        done = subprocess.run([sys.executable, __file__, "--million", str(folder)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        spent, peak = done.stdout.split()
        few, scores = queries[:8], []
        for start in range(0, MILLION, 50_000):  # brute force, in double precision
            part = mapped[start : start + 50_000].astype(np.float64)
            scores.append(few @ (part / np.linalg.norm(part, axis=1, keepdims=True)).T)
        wanted = np.argsort(-np.hstack(scores), axis=1)[:, :10]
        same = (np.load(folder / "found.npy")[:8] == wanted).mean()
    print(f"million {MENTIONS} queries among {MILLION:,} × {WIDTH} in half precision: {spent} s, peak {peak} GB, "
          f"{same:.1%} of the top 10 as in double precision")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--dictionary", default="")
    parser.add_argument("--pooling", default="cls", choices=["cls", "mean"])
    parser.add_argument("--million", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    million(asked.million) if asked.million else main(asked.dictionary, asked.pooling)
