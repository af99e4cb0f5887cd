"""One training step: this project's way beside a plain rendering of the original repository's; and the miner alone.

    python benchmarks/bench_training.py                 # needs the English pair file: python -m sapbert_utils run 01
    python benchmarks/bench_training.py pairs.txt       # another pair file

Both ways take the same batches of 256 real pairs in one process, in turns, and the medians are compared: MiniLM-L6 with
its weights, and a BERT of base size with random ones (its speed does not depend on them). Then each way runs in a
process of its own for its peak memory. The plain step pads every name to 25 tokens, encodes the two sides one after the
other, lists all triplets and takes AdamW's default step, in fp32. "of peak" is the useful arithmetic (six operations a
weight and real token) in that time as a share of the matrix product this machine was measured to do.
"""

import itertools
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from transformers import BertConfig, BertModel

sys.path.insert(0, str(Path(__file__).parent.parent))
from sapbert_utils.course.profiles import get_profile
from sapbert_utils.data.pairs import read_pairs
from sapbert_utils.model.batches import batches
from sapbert_utils.model.encoder import load_encoder, with_quick_dropout
from sapbert_utils.model.losses import get_loss
from sapbert_utils.model.step import train_step


def plain_step(encoder, names, labels, mined=None) -> float:
    """Two padded passes, the library's miner and loss."""
    half, sides = len(names) // 2, []
    for side in (names[:half], names[half:]):
        tokens = encoder.tokenizer(encoder.prepare(side), padding="max_length", truncation=True, max_length=25,
                                   return_tensors="pt")
        sides.append(encoder.model(**tokens).last_hidden_state[:, 0])
    vectors = torch.cat(sides)
    triplets = TripletMarginMiner(margin=0.2, type_of_triplets="all")(vectors, labels)
    loss = MultiSimilarityLoss(alpha=1, beta=60, base=0.5)(vectors, labels, triplets)
    loss.backward()
    return loss.item()


def our_step(encoder, names, labels, cached=False) -> float:
    return train_step(encoder, names, labels, get_loss(), cached=cached)[0]


def get_encoder(way: str, kind: str):
    encoder = load_encoder("minilm", lower=True)
    if kind == "base":
        torch.manual_seed(0)
        encoder.model = with_quick_dropout(BertModel(BertConfig(), add_pooling_layer=False))
    if way == "plain":
        for module in encoder.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.__class__ = torch.nn.Dropout
    return encoder


def optimizer_of(way: str, encoder):
    return torch.optim.AdamW(encoder.model.parameters(), lr=2e-5, weight_decay=0.01, fused=way == "ours" or None)


def seconds_of(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_gb() -> float:
    """This process's largest resident set; of Linux's two counters the one that a new program starts at zero."""
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9


def matrix_peak() -> float:
    """Operations a second of a large matrix product, the best of five."""
    a, b = torch.randn(2, 2048, 2048).unbind()
    return 2 * 2048**3 / min(seconds_of(lambda: a @ b) for _ in range(5))


def timed(kind: str, data, rounds: int) -> tuple[dict, dict, float]:
    """Seconds of each way's steps; how far loss and gradient norm differ; useful operations a step."""
    ways = {"plain": plain_step, "ours": our_step}
    encoders = {way: get_encoder(way, kind) for way in ways}
    encoder = encoders["ours"]
    optimizers = {way: optimizer_of(way, encoders[way]) for way in ways}
    batch = list(itertools.islice(batches(data, 256, 33), rounds + 1))
    norms, values = {}, {}
    for way in ways:  # with dropout off, both must agree
        encoders[way].model.eval()
        values[way] = ways[way](encoders[way], *batch[0])
        norms[way] = torch.stack([w.grad.norm() for w in encoders[way].model.parameters()]).norm().item()
        encoders[way].model.train().zero_grad()
    differ = {what: abs(found["ours"] / found["plain"] - 1) for what, found in (("loss", values), ("norm", norms))}
    times = {way: [] for way in ways}

    def whole(way, names, labels):
        ways[way](encoders[way], names, labels)
        optimizers[way].step()
        optimizers[way].zero_grad()

    for number, (names, labels) in enumerate(batch):
        for way in ways:
            took = seconds_of(lambda way=way, names=names, labels=labels: whole(way, names, labels))
            times[way] += [took] if number else []  # the first warms up
    token_ids = [t for names, _ in batch[1:] for t in
                 encoder.tokenizer(encoder.prepare(names), truncation=True, max_length=25)["input_ids"]]
    weights = sum(w.numel() for name, w in encoder.model.named_parameters() if "embeddings" not in name)
    return times, differ, 6 * weights * sum(map(len, token_ids)) / rounds


def compare(kind: str, data, rounds: int) -> None:
    memory = {way: memory_of(way, kind, 256) for way in ("plain", "ours")}  # before this process holds two models
    times, differ, operations = timed(kind, data, rounds)
    peak, median = matrix_peak(), {way: statistics.median(found) for way, found in times.items()}
    for way, s in median.items():
        print(f"{kind:8} {way:6} {s:8.2f} {512 / s:9.0f} {memory[way]:9.2f} {operations / s / peak:8.0%}   "
              f"{median['plain'] / s:5.2f} x", flush=True)
    print(f"{'':8} relative difference with dropout off: loss {differ['loss']:.1e}, gradient norm {differ['norm']:.1e}",
          flush=True)


def memory_of(way: str, kind: str, pairs: int) -> float:
    """:func:`peak_memory` in a process of its own."""
    command = [sys.executable, __file__, "--memory", way, kind, str(pairs), *sys.argv[1:]]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_memory(way: str, kind: str, pairs: int, data) -> None:
    encoder = get_encoder(way, kind)
    optimizer = optimizer_of("plain" if way == "plain" else "ours", encoder)
    names, labels = next(batches(data, pairs, 33))
    for _ in range(2):
        encoder.model.train()
        plain_step(encoder, names, labels) if way == "plain" else our_step(encoder, names, labels, way == "cached")
        optimizer.step()
        optimizer.zero_grad()
    print(peak_gb())


def miner_alone(n: int) -> None:
    """Seconds of miner and loss with gradient, of both ways, and this process's peak memory with ours alone."""
    x = torch.randn(n, 384, requires_grad=True)
    y = torch.arange(n // 2).repeat(2)
    loss = get_loss()

    def plain():
        MultiSimilarityLoss(alpha=1, beta=60, base=0.5)(x, y, TripletMarginMiner(0.2, "all")(x, y)).backward()

    ours = min(seconds_of(lambda: loss(x, y, None)[0].backward()) for _ in range(5))
    memory = peak_gb()
    library = min(seconds_of(plain) for _ in range(3)) if n <= 512 else float("nan")  # N³ bytes and more past that
    print(f"{n:6} {library:10.3f} {ours:10.4f} {library / ours:8.1f} x {memory:9.2f}", flush=True)


def main() -> None:
    data = read_pairs(next(iter(sys.argv[1:]), get_profile("").data / "pairs_english.txt"))
    print(f"{torch.get_num_threads()} threads, matrix product {matrix_peak() / 1e9:.0f} G operations/s")
    print("model    step    seconds   names/s   peak GB  of peak   speed")
    compare("minilm", data, 5)
    compare("base", data, 3)
    print("\ncached gradients, MiniLM-L6: pairs a batch, peak GB")
    for pairs in (256, 2048):
        print(f"{pairs:6} {memory_of('cached', 'minilm', pairs):9.2f}", flush=True)
    print("\nminer and loss with gradient, N names of 384 numbers, N/2 concepts")
    print("     N  library s     ours s      speed   our peak GB", flush=True)
    for n in (128, 256, 512, 1024, 2048, 4096):
        subprocess.run([sys.executable, __file__, "--miner", str(n)], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        file = sys.argv[5] if len(sys.argv) > 5 else get_profile("").data / "pairs_english.txt"
        peak_memory(sys.argv[2], sys.argv[3], int(sys.argv[4]), read_pairs(file))
    elif sys.argv[1:2] == ["--miner"]:
        miner_alone(int(sys.argv[2]))
    else:
        main()
