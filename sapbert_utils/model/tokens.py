"""Names as token ids in flat arrays, and the chunks of them that an encoder takes at once.

A chunk is laid out in one of two ways. *Padded*: one name a row, each row filled up to the longest name. *Packed*: rows
of a fixed width, each holding as many names as fit, one after the other; a token then sees the tokens of its own name
only. Packing spends no computation on short names and has few shapes, which is what a GPU wants; sorted and padded
chunks stay within a core's caches, which is what a CPU wants.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch

ROW = 128  # tokens of a packed row


@dataclass(frozen=True)
class Tokens:
    """The token ids of names: name i has ``ids[start[i] : start[i] + length[i]]``."""

    ids: np.ndarray  # flat, int32
    start: np.ndarray  # (n,) int64
    length: np.ndarray  # (n,) int64

    def __len__(self) -> int:
        return len(self.start)

    def take(self, rows: np.ndarray | slice) -> "Tokens":
        """Some of the names; the ids themselves are shared."""
        return Tokens(self.ids, self.start[rows], self.length[rows])


def tokenize(tokenizer, names: Sequence[str], max_length: int) -> Tokens:
    """Token ids of ``names``, special tokens included, each cut to ``max_length``."""
    backend = tokenizer.backend_tokenizer
    wanted = {"max_length": max_length, "stride": 0, "strategy": "longest_first",
              "direction": tokenizer.truncation_side}
    if backend.truncation != wanted:  # else nothing to set, which other threads that tokenise would notice
        backend.enable_truncation(**wanted)
    if backend.padding is not None:
        backend.no_padding()
    found = [encoding.ids for encoding in backend.encode_batch_fast(names)]
    length = np.fromiter(map(len, found), np.int64, len(found))
    ids = np.fromiter(chain.from_iterable(found), np.int32, int(length.sum()))
    return Tokens(ids, np.cumsum(length) - length, length)


class TokenStore:
    """The token ids of a fixed list of names, each tokenised when it is asked for the first time."""

    def __init__(self, encoder, names: np.ndarray):
        self.encoder, self.names, self.used = encoder, names, 0
        self.start = np.full(len(names), -1)
        self.length = np.zeros(len(names), np.int64)
        self.ids = np.empty(1 << 16, np.int32)

    def take(self, numbers: np.ndarray) -> Tokens:
        """Token ids of the names with these numbers, in their order."""
        new = np.unique(numbers[self.start[numbers] < 0])
        if len(new):
            found = tokenize(self.encoder.tokenizer, self.encoder.prepare(self.names[new].tolist()),
                             self.encoder.max_length)
            end = self.used + len(found.ids)
            if end > len(self.ids):  # twice the room, so that growing costs little
                self.ids = np.concatenate([self.ids, np.empty(max(end, len(self.ids)), np.int32)])
            self.ids[self.used : end] = found.ids
            self.start[new], self.length[new] = found.start + self.used, found.length
            self.used = end
        return Tokens(self.ids, self.start[numbers], self.length[numbers])


@dataclass(frozen=True)
class Chunk:
    """The token ids of n names as tensors, in b rows of t tokens; what else a model needs is computed from them where
    they lie, so that little travels to a GPU and the layout holds no value that Python has to wait for."""

    names: torch.Tensor  # (n,) int64, which names of the whole these are
    ids: torch.Tensor  # (b, t) int32 token ids
    length: torch.Tensor  # (n,) int64, tokens of each name
    width: int  # no name is longer
    offset: torch.Tensor | None = None  # (n,) int64, where each name begins in the flattened rows; None: padded

    def tensors(self) -> list[torch.Tensor]:
        return [self.names, self.ids, self.length, *([] if self.offset is None else [self.offset])]

    def to(self, device: torch.device) -> "Chunk":
        """The same on ``device``; from pinned memory this does not wait for the copy."""
        return self._each(lambda x: x.to(device, non_blocking=True))

    def pinned(self) -> "Chunk":
        return self._each(torch.Tensor.pin_memory)

    def _each(self, act) -> "Chunk":
        names, ids, length, *offset = map(act, self.tensors())
        return Chunk(names, ids, length, self.width, *offset)

    @property
    def mask(self) -> torch.Tensor:
        """(n, width) boolean: where a name has a token."""
        return torch.arange(self.width, device=self.length.device) < self.length[:, None]

    def owners(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Of a packed chunk, both (b, t) int64: the name of each token (-1: filler), and its place in that name."""
        at = torch.arange(self.ids.numel(), device=self.ids.device)
        owner = torch.searchsorted(self.offset, at, right=True) - 1
        place = at - self.offset[owner]
        real = place < self.length[owner]
        return torch.where(real, owner, -1).view(self.ids.shape), (place * real).view(self.ids.shape)


def padded_chunks(tokens: Tokens, budget: int, pad: int, width: int | None = None, multiple: int = 1) -> list[Chunk]:
    """All names, sorted by length, in padded chunks of at most ``budget`` tokens (or one name).

    ``width`` pads every chunk to that width, else to its longest name, rounded up to a ``multiple``.
    """
    order = np.arange(len(tokens)) if width else np.argsort(tokens.length, kind="stable")
    widths = np.full(len(tokens), width) if width else -(-tokens.length[order] // multiple) * multiple
    chunks, first = [], 0
    while first < len(tokens):
        # sorted, so the tokens of a chunk grow with each name: the last that fits is found by bisection
        near = widths[first : first + max(1, budget)]
        count = max(1, int(np.searchsorted(near * np.arange(1, len(near) + 1), budget, side="right")))
        rows = order[first : first + count]
        first += len(rows)
        column = np.arange(widths[first - 1])
        place = np.minimum(tokens.start[rows, None] + column, len(tokens.ids) - 1)
        ids = np.where(column < tokens.length[rows, None], tokens.ids[place], np.int32(pad))
        chunks.append(Chunk(torch.from_numpy(rows), torch.from_numpy(ids), torch.from_numpy(tokens.length[rows]),
                            len(column)))
    return chunks


def packed_chunks(tokens: Tokens, budget: int, pad: int, width: int, row: int = ROW) -> list[Chunk]:
    """All names, in their order, packed into rows; chunks of at most ``budget`` tokens (or one row).

    The number of a chunk's rows is rounded up to one of few values, so that chunks of like size have the same shape.
    ``width`` is that of a name: no name may be longer. ``row`` is raised to it where it is smaller.
    """
    row = max(row, width)
    end = np.cumsum(tokens.length)
    starts, first = [], 0  # the name that begins each row: one step a row, not one a name
    while first < len(tokens):
        starts.append(first)
        before = end[first - 1] if first else 0
        first = int(np.searchsorted(end, before + row, side="right"))
    per_chunk, chunks = max(1, budget // row), []
    for i in range(0, len(starts), per_chunk):
        begins = np.array(starts[i : i + per_chunk])
        last = starts[i + per_chunk] if i + per_chunk < len(starts) else len(tokens)
        part = tokens.take(slice(begins[0], last))
        in_row = np.searchsorted(begins, np.arange(begins[0], last), side="right") - 1
        before = np.cumsum(part.length) - part.length  # tokens of the chunk before each name, without filler
        offset = before - before[begins - begins[0]][in_row] + in_row * row
        ids = np.full(few(len(begins), per_chunk) * row, pad, np.int32)
        shift = np.arange(int(part.length.sum())) - np.repeat(before, part.length)  # place of each token in its name
        ids[np.repeat(offset, part.length) + shift] = part.ids[np.repeat(part.start, part.length) + shift]
        chunks.append(Chunk(torch.arange(int(begins[0]), last), torch.from_numpy(ids.reshape(-1, row)),
                            torch.from_numpy(part.length.copy()), width, torch.from_numpy(offset)))
    return chunks


def few(count: int, most: int) -> int:
    """``count`` rounded up by at most a sixteenth, to one of few values, and to no more than ``most``."""
    step = max(1, (1 << (count.bit_length() - 1)) // 16)
    return min(most, -(-count // step) * step)


def ahead(act: Callable, items: Iterable, depth: int = 4, workers: int = 1) -> Iterator:
    """``map(act, items)``, done by background threads that stay at most ``depth`` items ahead.

    An error is raised here, in the place of its item. Closing the iterator ends the threads.
    """
    pool, waiting = ThreadPoolExecutor(workers), deque()
    try:
        for item in items:
            waiting.append(pool.submit(act, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
