"""The gradient of one batch: chunks through the encoder, the loss over all vectors, and back; on any device."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.distributed
from accelerate import Accelerator

from .encoder import BERT_LIKE, Encoder
from .encoding import forward_chunk, make_chunks
from .losses import LossFunction, never_waits
from .precision import DTYPES, Twin, check_precision
from .randomness import random_state, replayed, set_random_state
from .tokens import Chunk, Tokens, tokenize

BUDGET, LARGE_BUDGET = 768, 1 << 16  # tokens of a chunk: what stays in a CPU core's caches, and what fills a GPU
GRAPHS = 8  # how many shapes of batches are recorded at most: each takes memory
BUCKET = 1 << 25  # numbers that travel between processes at a time


class Step:
    """Computes the gradient of a batch into the weights' ``grad``; holds what stays the same from step to step.

    One forward pass over the names in chunks, then the loss over the vectors of all processes: each encodes its share
    of the names, and the sum over processes is the gradient of the whole batch. In half precision the forward and
    backward pass run on a copy of the weights that is cast once a step; weights and gradients stay in fp32.

    Args:
        encoder: what is trained; its ``model`` keeps its weights' places in memory from step to step.
        loss: as :func:`sapbert_utils.model.losses.get_loss` returns it.
        precision: fp32, bf16 or fp16 (with a ``scaler``).
        cached: keep no activations but encode every chunk again, with the same dropout, for its part of the gradient
            (Gao et al. 2021, arXiv 2101.06983): the same gradient in the memory of one chunk.
        scaler: of the loss, for fp16.
        accelerator: says which of how many processes this is; None: the only one.
        budget: tokens of a chunk; None: what suits the device.
        graphs: on a GPU, record the kernels of a step once for each shape of a batch and play them back, so that
            the card does not wait for Python. Used in half precision and where nothing in a step depends on values: one
            process, one chunk, the default loss.
    """

    def __init__(self, encoder: Encoder, loss: LossFunction, precision: str = "fp32", cached: bool = False,
                 scaler: torch.amp.GradScaler | None = None, accelerator: Accelerator | None = None,
                 budget: int | None = None, graphs: bool = True):
        self.encoder, self.loss, self.cached, self.scaler = encoder, loss, cached, scaler
        self.accelerator, self.device = accelerator, encoder.device
        self.budget = budget or (BUDGET if self.device.type == "cpu" else LARGE_BUDGET)
        dtype = DTYPES[check_precision(precision)]
        self.twin = Twin(encoder.model, dtype) if dtype else None
        self.worker = replace(encoder, model=self.twin.model, twin=None) if dtype else encoder
        # a graph needs gradient buffers that nothing else writes to: those of the half-precision copy
        self.records = (graphs and self.twin is not None and self.device.type == "cuda" and not cached
                        and never_waits(loss) and self.processes == 1 and encoder.base.config.model_type in BERT_LIKE)
        self.graphs: dict[tuple, Graph | None] = {}  # shapes of a batch -> the recorded step; None: seen once
        self.gradients: list[torch.Tensor] = []  # to which all recorded steps write
        self.stream = torch.cuda.Stream(self.device) if self.records else None

    @property
    def processes(self) -> int:
        return self.accelerator.num_processes if self.accelerator else 1

    def share(self, count: int, rank: int | None = None) -> slice:
        """Which of ``count`` names the process with that rank (default: this one) encodes."""
        rank = self.accelerator.process_index if rank is None and self.accelerator else rank or 0
        return slice(rank * count // self.processes, (rank + 1) * count // self.processes)

    def chunks(self, tokens: Tokens) -> list[Chunk]:
        """This process's share of the names of a batch, in chunks; safe to call in a background thread."""
        if len(tokens) < self.processes:
            raise ValueError(f"a batch of {len(tokens)} names cannot be shared by {self.processes} processes: raise "
                             f"batch_size")
        chunks = make_chunks(self.encoder, tokens.take(self.share(len(tokens))), self.budget)
        return chunks if self.device.type != "cuda" else [chunk.pinned() for chunk in chunks]

    def train(self) -> None:
        """Switch dropout on."""
        self.encoder.model.train()
        self.worker.model.train()

    def __call__(self, chunks: Sequence[Chunk], labels: torch.Tensor,
                 ignore: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Set the gradient of a batch; returns its loss and the share of positives kept, as scalars on the device.

        ``chunks`` are those of :meth:`chunks`, ``labels`` (n,) the concepts of all names of all processes, ``ignore``
        (n, n) the pairs that are no negatives. A loss or a vector that is not finite gives a loss of NaN.
        """
        self.encoder.model.zero_grad(set_to_none=True)
        labels = labels.to(self.device, non_blocking=True)
        if self.records and len(chunks) == 1 and ignore is None:
            key = tuple(tuple(x.shape) for x in [*chunks[0].tensors(), labels])
            recorded = [graph for graph in self.graphs.values() if graph]
            if key in self.graphs and self.graphs[key] is None and len(recorded) < GRAPHS:
                self.graphs[key] = Graph(self, chunks[0].to(self.device), labels, recorded)
            self.graphs.setdefault(key)  # a shape that comes once only is not worth recording
            if self.graphs[key]:
                return self.graphs[key].play(chunks[0], labels)
        ignore = None if ignore is None else ignore.to(self.device)
        return self.compute([chunk.to(self.device) for chunk in chunks], labels, ignore)

    def compute(self, chunks: Sequence[Chunk], labels: torch.Tensor,
                ignore: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """As a call, of tensors on the device, kernel by kernel."""
        if self.twin:
            self.twin.refresh(trained_only=True)
            self.twin.model.zero_grad(set_to_none=True)
        states, parts = [], []
        with self._sparse_words():
            for chunk in chunks:  # (1) vectors of all names
                states.append(random_state(self.device) if self.cached else None)
                with torch.set_grad_enabled(not self.cached):
                    parts.append(_full(forward_chunk(self.worker, chunk)))
            own, order = torch.cat(parts), torch.cat([chunk.names for chunk in chunks])
            vectors = self._gathered(torch.empty_like(own).index_copy_(0, order, own.detach()), len(labels))
            vectors.requires_grad_()
            value, kept = self.loss(vectors, labels, ignore)  # (2) loss, and its gradient at the vectors
            # NaN is in no hard pair: the loss alone may not show it
            finite = torch.isfinite(vectors).all() & torch.isfinite(value)
            if value.requires_grad:
                gradient = torch.autograd.grad(value, vectors)[0][self.share(len(labels))].index_select(0, order)
            else:  # a library's loss that found no pair
                gradient = torch.zeros_like(own)
            gradients = gradient.split([len(part) for part in parts])
            for i in reversed(range(len(chunks))):  # (3) from there to the weights, the last activations first
                if self.cached:
                    with replayed(states[i], self.device):
                        self._backward(_full(forward_chunk(self.worker, chunks[i])), gradients[i])
                else:
                    self._backward(parts.pop(), gradients[i])
        if self.processes > 1:
            self._sum_over_processes(chunks)
        return torch.where(finite, value.detach(), torch.nan), torch.as_tensor(kept, device=self.device)

    def _backward(self, vectors: torch.Tensor, gradient: torch.Tensor) -> None:
        surrogate = (vectors * gradient).sum()
        (self.scaler.scale(surrogate) if self.scaler else surrogate).backward()
        if self.twin:
            self.twin.give_gradients()

    @contextmanager
    def _sparse_words(self) -> Iterator[None]:
        """On a CPU, let each chunk's gradient of the word embeddings hold only the rows that the chunk touched.

        Otherwise it is a matrix of the whole vocabulary, most of it zeros, which is added up once a chunk.
        """
        tables = [self.worker.model.get_input_embeddings()]
        if self.twin:  # of the small tables too: a sum of hundreds of rows in half precision would lose its last terms
            tables = [module for module in self.worker.model.modules() if type(module) is torch.nn.Embedding]
        for table in tables:
            table.sparse = self.device.type == "cpu"
        try:
            yield
        finally:
            for table in tables:
                table.sparse = False
        for weight in self.encoder.model.parameters():
            if weight.grad is not None and weight.grad.is_sparse:
                weight.grad = weight.grad.to_dense()

    def _gathered(self, vectors: torch.Tensor, count: int) -> torch.Tensor:
        """The vectors of all processes, whose shares may differ by one name."""
        if self.processes == 1:
            return vectors
        shares = [self.share(count, rank) for rank in range(self.processes)]
        sizes = [share.stop - share.start for share in shares]
        filled = torch.nn.functional.pad(vectors, (0, 0, 0, max(sizes) - len(vectors)))
        parts = self.accelerator.gather(filled).split(max(sizes))
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def _sum_over_processes(self, chunks: Sequence[Chunk]) -> None:
        """Add up all processes' gradients, in buckets; of the word embeddings only rows that some name touched."""
        words = self.encoder.model.get_input_embeddings().weight
        grads = [w.grad for w in self.encoder.model.parameters() if w.grad is not None and w is not words]
        if words.grad is not None:
            touched = torch.zeros(len(words), dtype=torch.uint8, device=self.device)
            for chunk in chunks:
                touched[chunk.ids.flatten()] = 1
            torch.distributed.all_reduce(touched, torch.distributed.ReduceOp.MAX)
            rows = touched.nonzero().flatten()
            some = words.grad[rows]
            grads.append(some)
        for bucket in _buckets(grads):
            flat = torch.cat([grad.flatten() for grad in bucket])
            torch.distributed.all_reduce(flat)
            for grad, part in zip(bucket, flat.split([grad.numel() for grad in bucket]), strict=True):
                grad.copy_(part.view_as(grad))
        if words.grad is not None:
            words.grad[rows] = some


def _full(vectors: torch.Tensor) -> torch.Tensor:
    return vectors.float() if vectors.dtype in (torch.bfloat16, torch.float16) else vectors


def _buckets(tensors: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    bucket: list[torch.Tensor] = []
    for tensor in tensors:
        if bucket and sum(t.numel() for t in bucket) + tensor.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


class Graph:
    """The kernels of a step, recorded for batches of one shape."""

    def __init__(self, step: Step, chunk: Chunk, labels: torch.Tensor, others: list["Graph"]):
        self.chunk, self.labels = chunk, labels.clone()
        weights = [w for w in step.encoder.model.parameters() if w.requires_grad]
        step.gradients = step.gradients or [torch.zeros_like(w) for w in weights]
        state = random_state(step.device)  # recording draws numbers: a resumed run must not see that
        step.stream.wait_stream(torch.cuda.current_stream(step.device))
        with torch.cuda.stream(step.stream):  # libraries set themselves up on first use, which cannot be recorded
            for _ in range(2):
                step.compute([self.chunk], self.labels)
                step.encoder.model.zero_grad(set_to_none=True)
        torch.cuda.current_stream(step.device).wait_stream(step.stream)
        self.graph = torch.cuda.CUDAGraph()
        # one stream and one pool: recorded steps run one after the other, so they can use the same memory.
        # thread_local: the thread that prepares batches may go on using the driver meanwhile
        with torch.cuda.graph(self.graph, pool=others[0].graph.pool() if others else None, stream=step.stream,
                              capture_error_mode="thread_local"):
            self.value, self.kept = step.compute([self.chunk], self.labels)
            found = [(g, w.grad) for g, w in zip(step.gradients, weights, strict=True) if w.grad is not None]
            torch._foreach_copy_([g for g, _ in found], [grad for _, grad in found])
        step.encoder.model.zero_grad(set_to_none=True)
        self.weights, self.gradients = weights, step.gradients
        set_random_state(state, step.device)

    def play(self, chunk: Chunk, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for mine, new in zip([*self.chunk.tensors(), self.labels], [*chunk.tensors(), labels], strict=True):
            mine.copy_(new, non_blocking=True)
        self.graph.replay()
        for weight, gradient in zip(self.weights, self.gradients, strict=True):
            weight.grad = gradient
        return self.value.clone(), self.kept.clone()


def train_step(encoder: Encoder, names: list[str], labels: torch.Tensor, loss: LossFunction,
               ignore: torch.Tensor | None = None, **settings) -> tuple[float, float]:
    """Set the weights' ``grad`` to the gradient of one batch; returns the loss and the share of positives kept.

    ``labels`` (n,) are the concepts of the n ``names``; ``ignore`` (n, n) the pairs that are no negatives;
    ``settings`` those of :class:`Step`, which many steps should use itself.
    """
    step = Step(encoder, loss, **{"graphs": False} | settings)
    step.worker.model.train(encoder.model.training)
    tokens = tokenize(encoder.tokenizer, encoder.prepare(names), encoder.max_length)
    value, kept = step(step.chunks(tokens), labels, ignore)
    return value.item(), kept.item()
