"""The gradient of one batch: chunks through the encoder, the loss over all vectors, and back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from .encoder import BERT_LIKE, Encoder
from .encoding import forward_chunk, make_chunks
from .graphs import Graphs
from .losses import LossFunction, never_waits
from .precision import Twin, dtype_of
from .processes import gathered, share, sum_gradients
from .randomness import random_state, replayed
from .tokens import Chunk, Tokens, check_names, tokenize

# Tokens of a chunk: what stays in the caches of a CPU core, and what fills a GPU.
BUDGET, LARGE_BUDGET = 768, 1 << 16


class Step:
    """Computes the gradient of a batch into the weights' ``grad``.

    (1) The names go through the encoder in chunks. (2) The loss is computed over the vectors of all
    names. (3) Its gradient at the vectors goes back through the chunks to the weights.

    If there are several processes, each encodes its share of the names, and the sum over the
    processes is the gradient of the whole batch. In half precision, (1) and (3) run on a copy of
    the weights that is cast once a step; weights and gradients stay in fp32.

    Args:
        encoder: what is trained. Its weights may change, but not the tensors that hold them.
        loss: as :func:`sapbert_utils.model.losses.get_loss` returns it.
        precision: fp32, bf16 or fp16 (with a ``scaler``).
        cached: keep no activations; encode every chunk again, with the same dropout, when its
            gradient is computed (Gao et al. 2021, arXiv 2101.06983). The gradient is the same, and
            memory holds the activations of one chunk only.
        scaler: scales the loss, for fp16.
        accelerator: tells which process this is, and of how many; None: the only one.
        budget: tokens of a chunk; None: what suits the device.
        graphs: on a GPU, record the kernels of a step once for each shape of a batch and play them
            back, so that the card does not wait for Python. This works in half precision, if Python
            needs no value during a step: one process, one chunk, the default loss.
    """

    def __init__(self, encoder: Encoder, loss: LossFunction, precision: str = "fp32",
                 cached: bool = False, scaler: torch.amp.GradScaler | None = None,
                 accelerator: Accelerator | None = None, budget: int | None = None,
                 graphs: bool = True):
        self.encoder, self.loss, self.cached, self.scaler = encoder, loss, cached, scaler
        self.accelerator, self.device = accelerator, encoder.device
        self.processes = accelerator.num_processes if accelerator else 1
        self.rank = accelerator.process_index if accelerator else 0
        self.budget = budget or (BUDGET if self.device.type == "cpu" else LARGE_BUDGET)
        dtype = dtype_of(precision)
        self.twin, self.worker = None, encoder
        if dtype:
            self.twin = Twin(encoder.model, dtype)
            self.worker = replace(encoder, model=self.twin.model, twin=None)
        # a graph needs gradient buffers that nothing else writes to: the half-precision copy's
        records = (graphs and self.twin is not None and self.device.type == "cuda" and not cached
                   and never_waits(loss) and self.processes == 1
                   and encoder.base.config.model_type in BERT_LIKE)
        self.graphs = Graphs(self) if records else None

    def chunks(self, tokens: Tokens) -> list[Chunk]:
        """This process's share of a batch's names, in chunks. Can run in a background thread."""
        if len(tokens) < self.processes:
            raise ValueError(f"a batch of {len(tokens)} names cannot be shared by {self.processes} "
                             f"processes: raise batch_size")
        own = tokens.take(share(len(tokens), self.rank, self.processes))
        chunks = make_chunks(self.encoder, own, self.budget)
        if self.device.type == "cuda":
            chunks = [chunk.pinned() for chunk in chunks]
        return chunks

    def train(self) -> None:
        """Switch dropout on."""
        self.encoder.model.train()
        self.worker.model.train()

    def __call__(self, chunks: Sequence[Chunk], labels: Tensor,
                 ignore: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Set the gradient of a batch of n names.

        Args:
            chunks: as :meth:`chunks` returns them.
            labels: (n,) concepts of all names, including those that other processes encode.
            ignore: (n, n) boolean, pairs that aren't negatives.

        Returns:
            The loss and the share of positives kept, as scalars on the device: reading them would
            make Python wait for a GPU. The loss is NaN if any vector is not finite.
        """
        self.encoder.model.zero_grad(set_to_none=True)
        labels = labels.to(self.device, non_blocking=True)
        if self.graphs and len(chunks) == 1 and ignore is None:
            graph = self.graphs.find(chunks[0], labels)
            if graph:
                return graph.play(chunks[0], labels)
        if ignore is not None:
            ignore = ignore.to(self.device)
        return self.compute([chunk.to(self.device) for chunk in chunks], labels, ignore)

    def compute(self, chunks: Sequence[Chunk], labels: Tensor,
                ignore: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Do the same as a call, for tensors on the device, and never by a recorded step."""
        if self.twin:
            self.twin.refresh(trained_only=True)
            self.twin.model.zero_grad(set_to_none=True)
        states, parts = [], []
        with self._sparse_words():
            for chunk in chunks:  # (1) vectors of all names
                if self.cached:
                    states.append(random_state(self.device))
                with torch.set_grad_enabled(not self.cached):
                    parts.append(_full(forward_chunk(self.worker, chunk)))
            own, order = torch.cat(parts), torch.cat([chunk.names for chunk in chunks])
            vectors = torch.empty_like(own).index_copy_(0, order, own.detach())
            if self.accelerator and self.processes > 1:
                vectors = gathered(self.accelerator, vectors, len(labels))
            vectors.requires_grad_()

            value, kept = self.loss(vectors, labels, ignore)  # (2) the loss
            # NaN is never in a hard pair, so the loss alone may not show it
            finite = torch.isfinite(vectors).all() & torch.isfinite(value)
            if value.requires_grad:
                (whole,) = torch.autograd.grad(value, vectors)
                mine = whole[share(len(labels), self.rank, self.processes)]
                gradient = mine.index_select(0, order)  # in the order of the chunks
            else:  # a library's loss that found no pair
                gradient = torch.zeros_like(own)
            gradients = gradient.split([len(part) for part in parts])

            # (3) back to the weights; the last chunk first, to free the activations made last
            for i in reversed(range(len(chunks))):
                if self.cached:
                    with replayed(states[i], self.device):
                        again = _full(forward_chunk(self.worker, chunks[i]))
                        self._backward(again, gradients[i])
                else:
                    self._backward(parts.pop(), gradients[i])
        if self.processes > 1:
            sum_gradients(self.encoder.model, chunks, self.device)
        value = torch.where(finite, value.detach(), torch.nan)
        return value, torch.as_tensor(kept, device=self.device)

    def _backward(self, vectors: Tensor, gradient: Tensor) -> None:
        """Take the (n, d) gradient at a chunk's vectors back to the weights, and add it there."""
        surrogate = (vectors * gradient).sum()  # its gradient at the vectors is ``gradient``
        if self.scaler:
            surrogate = self.scaler.scale(surrogate)
        surrogate.backward()
        if self.twin:
            self.twin.give_gradients()

    @contextmanager
    def _sparse_words(self) -> Iterator[None]:
        """On a CPU, let a chunk's gradient of the word embeddings hold only the rows it touched.

        Otherwise it is a matrix of the whole vocabulary, mostly zeros, which is added once a chunk.
        """
        tables = [self.worker.model.get_input_embeddings()]
        if self.twin:
            # the small tables, too: a sum of hundreds of rows in half precision loses terms
            tables = [module for module in self.worker.model.modules()
                      if type(module) is torch.nn.Embedding]
        # adapters learn beside a frozen table, and their gradient can't be sparse
        tables = [table for table in tables if table.weight.requires_grad]
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


def _full(vectors: Tensor) -> Tensor:
    """The vectors, in fp32 if they are in half precision (fp64 stays)."""
    return vectors.float() if vectors.dtype in (torch.bfloat16, torch.float16) else vectors


def train_step(encoder: Encoder, names: list[str], labels: Tensor, loss: LossFunction,
               ignore: Tensor | None = None, **settings: Any) -> tuple[float, float]:
    """Set the weights' ``grad`` to the gradient of one batch. Use :class:`Step` itself for many.

    Args:
        encoder: what is trained.
        names: n texts.
        labels: (n,) their concepts.
        loss: as :func:`sapbert_utils.model.losses.get_loss` returns it.
        ignore: (n, n) boolean, pairs that aren't negatives.
        settings: those of :class:`Step`.

    Returns:
        The loss, and the share of positive pairs that the miner kept.

    Example:
        >>> names, labels = next(batches(pairs, batch_size=256, seed=33))
        >>> value, kept = train_step(encoder, names, labels, get_loss())
    """
    check_names(names, "the names")
    step = Step(encoder, loss, **{"graphs": False} | settings)
    step.worker.model.train(encoder.model.training)
    tokens = tokenize(encoder.tokenizer, encoder.prepare(names), encoder.max_length)
    value, kept = step(step.chunks(tokens), labels, ignore)
    return value.item(), kept.item()
