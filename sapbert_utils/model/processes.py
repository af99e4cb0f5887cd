"""Share a batch among processes: split the names, gather the vectors, sum the gradients."""

from collections.abc import Iterator, Sequence

import torch
import torch.distributed
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedModel

from .tokens import Chunk

BUCKET = 1 << 25  # numbers exchanged between processes at a time


def share(count: int, rank: int, processes: int) -> slice:
    """Which of ``count`` names the process with this rank encodes; shares differ by one at most."""
    return slice(rank * count // processes, (rank + 1) * count // processes)


def gathered(accelerator: Accelerator, vectors: Tensor, count: int) -> Tensor:
    """Gather the (count, d) vectors of all processes, given this one's share of them."""
    processes = accelerator.num_processes
    shares = [share(count, rank, processes) for rank in range(processes)]
    sizes = [part.stop - part.start for part in shares]
    # gather needs the same shape everywhere: fill up to the largest share, and cut off afterwards
    filled = torch.nn.functional.pad(vectors, (0, 0, 0, max(sizes) - len(vectors)))
    parts = accelerator.gather(filled).split(max(sizes))
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def sum_gradients(model: PreTrainedModel, chunks: Sequence[Chunk], device: torch.device) -> None:
    """Replace the gradients in each process by their sum over all processes.

    Of the word embeddings, only the rows of tokens in some process's ``chunks`` are exchanged.
    """
    # Not DDP: it would send the whole matrix of word embeddings, 192 million numbers for XLM-R.
    words = model.get_input_embeddings().weight
    grads = [w.grad for w in model.parameters() if w.grad is not None and w is not words]
    if words.grad is not None:
        touched = torch.zeros(len(words), dtype=torch.uint8, device=device)
        for chunk in chunks:
            touched[chunk.ids.flatten()] = 1
        torch.distributed.all_reduce(touched, torch.distributed.ReduceOp.MAX)
        rows = touched.nonzero().flatten()
        some = words.grad[rows]
        grads.append(some)
    for bucket in _buckets(grads):
        flat = torch.cat([grad.flatten() for grad in bucket])
        torch.distributed.all_reduce(flat)
        parts = flat.split([grad.numel() for grad in bucket])
        for grad, part in zip(bucket, parts, strict=True):
            grad.copy_(part.view_as(grad))
    if words.grad is not None:
        words.grad[rows] = some


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Group the tensors by about ``BUCKET`` numbers, because each exchange has a fixed cost."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(t.numel() for t in bucket) + tensor.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
