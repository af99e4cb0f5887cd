"""Training step, encoding and search on a GPU, beside a rendering of the original repository's way, in four minutes.

    python benchmarks/bench_gpu.py                      # needs no data: names are drawn from a vocabulary
    python benchmarks/bench_gpu.py --pairs pairs.txt    # real names, from notebook 01
    python benchmarks/bench_gpu.py --small              # a few steps of tiny sizes: shows that it runs, on any machine
    python benchmarks/bench_gpu.py --output gpu.json    # and writes what it measured, with the card's name
    python benchmarks/bench_gpu.py --table steps.csv    # and the steps alone, as notebook 03 shows them

Models have random weights (their speed does not depend on them) and the sizes of MiniLM-L6, BERT-base and XLM-R base.
"original" is a rendering of the original repository's step: two sides padded to 25 tokens, one after the other, fp16 by
autocast with a loss scaler, the library's miner and loss, AdamW's default step. "eager" is this project's step without
recorded kernels. A step is timed from the batch's drawing to the optimiser's end, over some steps, with the names
tokenised in the background as in training. "host" is the time that Python and the driver take to issue a step's work.
"of peak" is the useful arithmetic (six operations a weight of the layers and each real token) in that time, as a share
of the bf16 matrix product that the card was measured to do, whatever the precision. Encoding and search are timed from
names and arrays in memory to arrays in memory. The first steps, in which kernels are chosen, are given apart.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

sys.path.insert(0, str(Path(__file__).parent.parent))
from sapbert_utils.linking import Prepared, search
from sapbert_utils.model.batches import Batches
from sapbert_utils.model.encoder import Encoder, with_quick_dropout
from sapbert_utils.model.encoding import encode
from sapbert_utils.model.losses import get_loss
from sapbert_utils.model.precision import training_precision
from sapbert_utils.model.randomness import deterministic
from sapbert_utils.model.step import Step
from sapbert_utils.model.tokens import TokenStore, ahead

UMLS_PAIRS = 11_800_791  # of the papers' training (2020AA, English, at most 50 a concept)
SIZES = {  # BERT's settings; XLM-R's vocabulary and positions
    "MiniLM-L6": dict(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536),
    "BERT-base": {},
    "XLM-R base": dict(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1),
    "tiny": dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64),
}
SYLLABLES = "car di o my path hep at itis neph ro pneu mon ia gas tr derm osis enceph al oma thy roid ab scess".split()


def drawn_pairs(concepts: int) -> pd.DataFrame:
    """Pairs of made-up names of one to six words, about 11 tokens long, as the names of UMLS are."""
    draw = np.random.default_rng(0)
    words = np.array(["".join(draw.choice(SYLLABLES, n)) for n in draw.integers(2, 4, 5000)])
    names = [[" ".join(draw.choice(words, n)) for n in draw.integers(1, 7, 2)] for _ in range(concepts)]
    return pd.DataFrame([(f"C{i:07}", *pair) for i, pair in enumerate(names)], columns=["cui", "name1", "name2"])


def make_tokenizer() -> PreTrainedTokenizerFast:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *SYLLABLES, *(f"##{s}" for s in SYLLABLES),
              *(c for x in "abcdefghijklmnopqrstuvwxyz0123456789,()-" for c in (x, f"##{x}"))]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
                                   sep_token="[SEP]")


def make_encoder(kind: str, device: str) -> Encoder:
    torch.manual_seed(0)
    if kind == "XLM-R base":
        model = XLMRobertaModel(XLMRobertaConfig(**SIZES[kind], pad_token_id=0), add_pooling_layer=False)
    else:
        model = BertModel(BertConfig(**SIZES[kind]), add_pooling_layer=False)
    return Encoder(with_quick_dropout(model).to(device), make_tokenizer(), lower=True)


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def matrix_peak(dtype: torch.dtype, device: str, size: int) -> float:
    """Operations a second of a large matrix product, the best of five."""
    a, b = torch.randn(2, size, size, device=device, dtype=dtype).unbind()
    return 2 * size**3 / min(seconds_of(lambda: a @ b, device) for _ in range(5))


def seconds_of(work, device: str) -> float:
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


def original_steps(encoder: Encoder, batches: Batches):
    """A function that takes one step as the original repository does."""
    device, half = encoder.device.type, batches.size
    optimizer = torch.optim.AdamW(encoder.model.parameters(), lr=2e-5, weight_decay=0.01)
    scaler = torch.amp.GradScaler(device, enabled=device == "cuda")
    miner, loss = TripletMarginMiner(0.2, type_of_triplets="all"), MultiSimilarityLoss(alpha=1, beta=60, base=0.5)
    stream = batches()

    def take() -> None:
        numbers, labels = next(stream)
        names, labels, sides = batches.names[numbers].tolist(), torch.from_numpy(labels).to(device), []
        optimizer.zero_grad()
        with torch.autocast(device, torch.float16, enabled=device == "cuda"):
            for side in (names[:half], names[half:]):
                tokens = encoder.tokenizer(encoder.prepare(side), padding="max_length", truncation=True, max_length=25,
                                           return_tensors="pt").to(device)
                sides.append(encoder.model(**tokens).last_hidden_state[:, 0])
            vectors = torch.cat(sides)
            value = loss(vectors, labels, miner(vectors, labels))
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()
        value.item()

    return take, lambda: None


def our_steps(encoder: Encoder, batches: Batches, precision: str, graphs: bool):
    """A function that takes one step as a training here does, and one that ends its background work."""
    step = Step(encoder, get_loss(), precision, graphs=graphs)
    optimizer = torch.optim.AdamW(encoder.model.parameters(), lr=2e-5, weight_decay=0.01, fused=True)
    store, pin = TokenStore(encoder, batches.names), encoder.device.type == "cuda"

    def prepared(drawn: tuple) -> tuple:
        labels = torch.from_numpy(drawn[1])
        return step.chunks(store.take(drawn[0])), labels.pin_memory() if pin else labels

    stream = ahead(prepared, batches())
    step.train()

    def take() -> None:
        step(*next(stream))
        optimizer.step()

    return take, stream.close


def time_steps(kind: str, pairs: pd.DataFrame, size: int, way: str, device: str, count: int, peak: float) -> dict:
    """Milliseconds of a step, of its host part, of the first ones; share of the peak; peak memory."""
    encoder, batches = make_encoder(kind, device), Batches(pairs, size, 33)
    tokens = TokenStore(encoder, batches.names).take(next(batches())[0]).length.mean()
    weights = sum(w.numel() for name, w in encoder.model.named_parameters() if "embeddings" not in name)
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    precision = "fp32" if way == "fp32" else training_precision("auto", encoder.device)
    with deterministic(way == "deterministic"):
        take, close = (original_steps(encoder, batches) if way == "original" else
                       our_steps(encoder, batches, precision, way != "eager"))
        try:
            first = seconds_of(lambda: [take() for _ in range(4)], device)
            seconds_of(lambda: [take() for _ in range(min(count, 8))], device)  # in which kernels are recorded
            whole = seconds_of(lambda: [take() for _ in range(count)], device) / count
            host = 0.0
            for _ in range(4):  # with the card idle before each, so that no queue is waited for
                wait(device)
                started = time.perf_counter()
                take()
                host += (time.perf_counter() - started) / 4
        finally:
            close()
    memory = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0.0
    return {"model": kind, "pairs": size, "way": way, "ms": 1e3 * whole, "host ms": 1e3 * host, "first four, s": first,
            "of peak": float(12 * weights * tokens * size / whole / peak), "peak GB": memory,
            "epoch, min": UMLS_PAIRS / size * whole / 60, "tokens a name": float(tokens)}


def time_encoding(kind: str, names: list[str], device: str) -> list[dict]:
    """Names a second of three ways, in half precision on a GPU."""
    encoder, half = make_encoder(kind, device), torch.float16 if device == "cuda" else torch.float32
    encoder.model.eval()

    @torch.inference_mode()
    def original(names: list[str]) -> np.ndarray:
        parts = []
        with torch.autocast(device, half, enabled=device == "cuda"):
            for i in range(0, len(names), 2048):
                tokens = encoder.tokenizer(encoder.prepare(names[i : i + 2048]), padding="max_length", truncation=True,
                                           max_length=25, return_tensors="pt").to(device)
                parts.append(encoder.model(**tokens).last_hidden_state[:, 0].float().cpu().numpy())
        return np.concatenate(parts)

    def with_library(names: list[str]) -> np.ndarray:

        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

        with tempfile.TemporaryDirectory() as folder:
            encoder.model.save_pretrained(folder)
            encoder.tokenizer.save_pretrained(folder)
            body = Transformer(folder, max_seq_length=25)
            model = SentenceTransformer(modules=[body, Pooling(body.get_embedding_dimension(), "cls")], device=device)
            model.to(half)
            few = names[: len(names) // 4]
            started = time.perf_counter()
            model.encode(few, batch_size=2048, show_progress_bar=False)
            return 4 * (time.perf_counter() - started)

    rows, encoded = [], {}
    for way, work in (("this project", lambda names: encode(encoder, names)), ("original", original)):
        work(names[:4096])
        few = names if way == "this project" else names[: len(names) // 4]
        spent = seconds_of(lambda work=work, few=few, way=way: encoded.update({way: work(few)}), device)
        rows.append({"model": kind, "way": way, "names": len(few), "names a second": len(few) / spent})
    apart = np.abs(encoded["this project"][: len(encoded["original"])] - encoded["original"]).max()
    spent = with_library(names)
    rows.append({"model": kind, "way": "sentence-transformers", "names": len(names) // 4,
                 "names a second": len(names) / spent})
    rows[0]["largest difference to the original"] = float(apart)
    return rows


def time_search(queries: int, count: int, width: int, device: str) -> list[dict]:
    """Seconds to find the ten nearest of ``count`` vectors, on a CPU (few queries), on the card, on it again."""
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((count, width), np.float32)
    asked = vectors[:: count // queries][:queries] + 0.5 * draw.standard_normal((queries, width), np.float32)
    few = queries // 32
    rows, expected = [], search(asked[:few], vectors, 10, device="cpu")[0]
    on_cpu = seconds_of(lambda: search(asked[:few], vectors, 10, device="cpu"), device) * 32
    rows.append({"where": f"CPU (from {few} queries)", "seconds": on_cpu})
    if device == "cuda":
        search(asked[:8], vectors[:100_000], 10)
        found = []
        rows.append({"where": "GPU, copied there first",
                     "seconds": seconds_of(lambda: found.append(search(asked, vectors, 10)[0]), device)})
        prepared = Prepared(vectors)
        search(asked, prepared, 10)
        rows.append({"where": "GPU, kept there", "seconds": seconds_of(lambda: search(asked, prepared, 10), device),
                     "same top ten as on the CPU": float((found[0][:few] == expected).mean())})
    return [{"queries": queries, "vectors": count, "width": width} | row for row in rows]


def show(title: str, rows: list[dict]) -> None:
    print(f"\n{title}\n{pd.DataFrame(rows).round(3).to_string(index=False)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, help="a pair file, in place of made-up names")
    parser.add_argument("--small", action="store_true", help="tiny sizes")
    parser.add_argument("--output", type=Path, help="a JSON file for the results")
    parser.add_argument("--table", type=Path, help="a CSV file for the steps")
    options = parser.parse_args()
    device, started = "cuda" if torch.cuda.is_available() else "cpu", time.perf_counter()
    card = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    if options.pairs:
        from sapbert_utils.data.pairs import read_pairs

        pairs = read_pairs(options.pairs)
    else:
        pairs = drawn_pairs(600 if options.small else 40_000)
    size = 256 if options.small else 8192
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16} | ({"fp16": torch.float16} if device == "cuda" else {})
    peaks = {name: matrix_peak(dtype, device, size) for name, dtype in kinds.items()}
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        peaks["tf32"] = matrix_peak(torch.float32, device, size)
        torch.backends.cuda.matmul.allow_tf32 = False
    print(f"{card}, torch {torch.__version__}; matrix products, T operations/s:",
          {name: round(peak / 1e12, 2) for name, peak in peaks.items()})
    peak = peaks[training_precision("auto", torch.device(device))]
    if options.small:
        plan = [("tiny", size, way, 2) for size in (16, 64) for way in ("original", "ours")]
    else:
        ways = [("MiniLM-L6", 256, "original", 8), ("MiniLM-L6", 256, "ours", 100), ("MiniLM-L6", 2048, "original", 3),
                ("MiniLM-L6", 2048, "ours", 40), ("BERT-base", 256, "original", 8), ("BERT-base", 256, "eager", 40),
                ("BERT-base", 256, "ours", 100), ("BERT-base", 256, "fp32", 8), ("BERT-base", 256, "deterministic", 40),
                ("BERT-base", 2048, "original", 3), ("BERT-base", 2048, "eager", 12), ("BERT-base", 2048, "ours", 30),
                ("XLM-R base", 256, "original", 8), ("XLM-R base", 256, "ours", 60), ("XLM-R base", 2048, "ours", 20)]
        plan = ways if device == "cuda" else [(kind, size, way, 1) for kind, size, way, _ in ways
                                              if size == 256 and way in ("original", "ours")]
    steps = []
    for kind, size, way, count in plan:
        steps.append(time_steps(kind, pairs, size, way, device, count, peak))
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in steps[-1].items()}, flush=True)
    show("A training step", steps)
    sides = itertools.chain(pairs["name1"], pairs["name2"])
    names = list(dict.fromkeys(sides))
    names = names[:500] if options.small else (names * 8)[: 240_000 if device == "cuda" else 4000]
    encoding = [row for kind in (["tiny"] if options.small else ["MiniLM-L6", "BERT-base"])
                for row in time_encoding(kind, names, device)]
    show("Encoding", encoding)
    scale = (64, 5000, 32) if options.small else (4096, 1_000_000, 768) if device == "cuda" else (960, 100_000, 384)
    searching = time_search(*scale, device)
    show("Search", searching)
    if options.table:
        pd.DataFrame(steps).assign(card=card).round(4).to_csv(options.table, index=False)
    spent = time.perf_counter() - started
    print(f"\n{spent:.0f} s in all")
    if options.output:
        options.output.write_text(json.dumps(
            {"card": card, "torch": torch.__version__, "peaks": peaks, "steps": steps, "encoding": encoding,
             "search": searching, "seconds": spent, "names": str(options.pairs.name if options.pairs else "made up")},
            indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
