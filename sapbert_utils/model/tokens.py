"""Names as token ids in flat arrays, and the chunks of them that an encoder takes at once.

A chunk is laid out in one of two ways. *Padded*: one name a row, each row filled up to the longest name. *Packed*: rows
of a fixed width, each holding as many names as fit, one after the other; a token then sees the tokens of its own name
only. Packing spends no computation on short names and has few shapes, which is what a GPU wants; sorted and padded
chunks stay within a core's caches, which is what a CPU wants.
"""

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
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
    if backend.truncation != wanted:  # setting it while another thread tokenises would fail
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
    """Some names as tensors. Padded: b = n and t = w, and the last three are None. Packed: (b, t) are the rows."""

    names: torch.Tensor  # (n,) int64, which names of the whole these are
    ids: torch.Tensor  # (b, t) int64 token ids
    mask: torch.Tensor  # (n, w) int64, 1 where a name has a token
    position: torch.Tensor | None = None  # (b, t) int64, place of a token in its name, from 0
    segment: torch.Tensor | None = None  # (b, t) int64, the name of a token; -1: filler
    where: torch.Tensor | None = None  # (n, w) int64, place of a name's tokens in the flattened rows

    def tensors(self) -> list[torch.Tensor]:
        return [value for value in (getattr(self, f.name) for f in fields(self)) if value is not None]

    def to(self, device: torch.device) -> "Chunk":
        """The same on ``device``; from pinned memory this does not wait for the copy."""
        return self._each(lambda x: x.to(device, non_blocking=True))

    def pinned(self) -> "Chunk":
        return self._each(torch.Tensor.pin_memory)

    def _each(self, act) -> "Chunk":
        return Chunk(*(None if (x := getattr(self, f.name)) is None else act(x) for f in fields(self)))


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
        column = np.arange(widths[first + len(rows) - 1])
        mask = column < tokens.length[rows, None]
        place = np.minimum(tokens.start[rows, None] + column, len(tokens.ids) - 1)
        ids = np.where(mask, tokens.ids[place], pad)
        chunks.append(Chunk(torch.from_numpy(rows), torch.from_numpy(ids.astype(np.int64)),
                            torch.from_numpy(mask.astype(np.int64))))
        first += len(rows)
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
        rows, length = np.arange(begins[0], last), tokens.length[begins[0] : last]
        in_row = np.searchsorted(begins, rows, side="right") - 1
        offset = np.cumsum(length) - length
        offset = offset - offset[begins - begins[0]][in_row] + in_row * row  # of each name, in the flattened rows
        chunks.append(_packed(tokens.take(rows), rows, offset, few(len(begins), per_chunk), row, width, pad))
    return chunks


def few(count: int, most: int) -> int:
    """``count`` rounded up by at most a sixteenth, to one of few values, and to no more than ``most``."""
    step = max(1, (1 << (count.bit_length() - 1)) // 16)
    return min(most, -(-count // step) * step)


def _packed(tokens: Tokens, names: np.ndarray, offset: np.ndarray, rows: int, row: int, width: int, pad: int) -> Chunk:
    total = int(tokens.length.sum())
    owner = np.repeat(np.arange(len(tokens)), tokens.length)  # of each real token: its name
    place = np.arange(total) - (np.cumsum(tokens.length) - tokens.length)[owner]  # and its place in it
    at = offset[owner] + place
    ids, position = np.full(rows * row, pad), np.zeros(rows * row, np.int64)
    segment = np.full(rows * row, -1)
    ids[at], position[at], segment[at] = tokens.ids[tokens.start[owner] + place], place, owner
    column = np.arange(width)
    mask = column < tokens.length[:, None]
    where = np.where(mask, offset[:, None] + column, offset[:, None])
    return Chunk(torch.from_numpy(names), *(torch.from_numpy(x) for x in (
        ids.reshape(rows, row), mask.astype(np.int64), position.reshape(rows, row), segment.reshape(rows, row), where)))


def ahead(items: Iterable, depth: int = 4) -> Iterator:
    """The same items, made by a background thread that stays at most ``depth`` of them ahead.

    An error of the thread is raised here, in its place. Closing the iterator stops the thread.
    """
    made, stop, end = queue.Queue(depth), threading.Event(), object()

    def put(item) -> bool:
        while not stop.is_set():
            try:
                made.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((end, None))
        except BaseException as error:  # whatever it is, the reader gets it
            put((end, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        stop.set()
        thread.join()


