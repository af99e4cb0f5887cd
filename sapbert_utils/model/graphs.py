"""Record the kernels of a step on a GPU, and play them back without Python in between."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .randomness import random_state, set_random_state
from .tokens import Chunk

if TYPE_CHECKING:
    from .step import Step

GRAPHS = 8  # the most shapes of batches to record: each takes memory


class Graphs:
    """The recorded steps of a :class:`sapbert_utils.model.step.Step`, one per shape of batch."""

    def __init__(self, step: "Step"):
        self.step, self.stream = step, torch.cuda.Stream(step.device)
        self.recorded: dict[tuple, Graph | None] = {}  # by shape; None: that shape was seen once
        self.gradients: list[Tensor] = []  # all recorded steps write to them

    def find(self, chunk: Chunk, labels: Tensor) -> "Graph | None":
        """The recorded step for a batch of this shape, or None while there is none.

        A shape is recorded when it comes a second time, because many come only once.
        """
        key = tuple(tuple(x.shape) for x in [*chunk.tensors(), labels])
        if key not in self.recorded:
            self.recorded[key] = None
            return None
        others = [graph for graph in self.recorded.values() if graph]
        if self.recorded[key] is None and len(others) < GRAPHS:
            self.recorded[key] = Graph(self, chunk.to(self.step.device), labels, others)
        return self.recorded[key]


class Graph:
    """The kernels of a step, recorded for batches of one shape.

    Args:
        graphs: the step, its stream and the gradients' buffers.
        chunk: on the device; every batch is copied into its tensors.
        labels: (n,) on the device.
        others: the steps recorded before.
    """

    def __init__(self, graphs: Graphs, chunk: Chunk, labels: Tensor, others: list["Graph"]):
        step, stream = graphs.step, graphs.stream
        self.chunk, self.labels = chunk, labels.clone()
        weights = [w for w in step.encoder.model.parameters() if w.requires_grad]
        graphs.gradients = graphs.gradients or [torch.zeros_like(w) for w in weights]
        state = random_state(step.device)  # restored below: a resumed run records other steps
        # (1) libraries set themselves up on first use, which cannot be recorded: use them first
        stream.wait_stream(torch.cuda.current_stream(step.device))
        with torch.cuda.stream(stream):
            for _ in range(2):
                step.compute([self.chunk], self.labels)
                step.encoder.model.zero_grad(set_to_none=True)
        torch.cuda.current_stream(step.device).wait_stream(stream)
        # (2) record. One stream and one pool: recorded steps run one after the other, so they can
        # use the same memory. thread_local: the thread that prepares batches may go on using the
        # driver meanwhile
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=others[0].graph.pool() if others else None,
                              stream=stream, capture_error_mode="thread_local"):
            self.value, self.kept = step.compute([self.chunk], self.labels)
            found = [(buffer, w.grad) for buffer, w in zip(graphs.gradients, weights, strict=True)
                     if w.grad is not None]
            torch._foreach_copy_([buffer for buffer, _ in found], [grad for _, grad in found])
        step.encoder.model.zero_grad(set_to_none=True)
        self.weights, self.gradients = weights, graphs.gradients
        set_random_state(state, step.device)

    def play(self, chunk: Chunk, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Take the step for a batch of the recorded shape: loss, and share of positives kept."""
        held, new = [*self.chunk.tensors(), self.labels], [*chunk.tensors(), labels]
        for mine, theirs in zip(held, new, strict=True):
            mine.copy_(theirs, non_blocking=True)
        self.graph.replay()
        for weight, gradient in zip(self.weights, self.gradients, strict=True):
            weight.grad = gradient
        return self.value.clone(), self.kept.clone()  # the next replay writes over the originals
