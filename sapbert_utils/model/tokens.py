"""Names as token ids in flat arrays, and the chunks of them that an encoder takes at a time.

There are two layouts of chunks. *Padded*: one name per row, each row filled up to the longest name.
*Packed*: rows of a fixed width, each with as many names as fit, one after the other; a token sees
only the tokens of its own name. A GPU wants packed chunks: no time goes into padding, and there are
few shapes of chunks. A CPU wants padded chunks, sorted by length: they stay in a core's caches.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from .encoder import Encoder

ROW = 128  # tokens of a packed row


def check_names(names: Sequence[object] | np.ndarray, where: str) -> None:
    """Raise ``ValueError`` if one of ``names`` isn't text; ``where`` says where they are from."""
    if names is None or isinstance(names, str):  # it would pass as a list of letters
        raise ValueError(f"{where} are {names!r:.60}: give a list of names")
    if all(issubclass(kind, str) for kind in set(map(type, names))):  # fast, for millions of names
        return
    row, name = next((i, name) for i, name in enumerate(names) if not isinstance(name, str))
    raise ValueError(f"row {row} of {where} lacks a name: it has {name!r} instead of text")


@dataclass(frozen=True)
class Tokens:
    """The token ids of n names: name i has ``ids[start[i] : start[i] + length[i]]``."""

    ids: np.ndarray  # flat, int32
    start: np.ndarray  # (n,) int64
    length: np.ndarray  # (n,) int64

    def __len__(self) -> int:
        return len(self.start)

    def take(self, rows: np.ndarray | slice) -> "Tokens":
        """Some of the names; the ids themselves are shared."""
        return Tokens(self.ids, self.start[rows], self.length[rows])


def tokenize(tokenizer: PreTrainedTokenizerFast, names: Sequence[str], max_length: int) -> Tokens:
    """Token ids of ``names``, special tokens included, each name cut to ``max_length`` tokens."""
    backend = tokenizer.backend_tokenizer
    wanted = {"max_length": max_length, "stride": 0, "strategy": "longest_first",
              "direction": tokenizer.truncation_side}
    # set only what has to change: threads that tokenise at the same time share these settings
    if backend.truncation != wanted:
        backend.enable_truncation(**wanted)
    if backend.padding is not None:
        backend.no_padding()
    found = [encoding.ids for encoding in backend.encode_batch_fast(names)]
    length = np.fromiter(map(len, found), np.int64, len(found))
    ids = np.fromiter(chain.from_iterable(found), np.int32, int(length.sum()))
    return Tokens(ids, np.cumsum(length) - length, length)


class TokenStore:
    """The token ids of a fixed list of names. Each name is tokenised once, when it is first used.

    Args:
        encoder: its tokenizer and settings say how names become tokens.
        names: (n,) distinct names; a name is asked for by its number in this array.
    """

    def __init__(self, encoder: Encoder, names: np.ndarray):
        self.encoder, self.names, self.used = encoder, names, 0
        self.start = np.full(len(names), -1)  # -1: not yet tokenised
        self.length = np.zeros(len(names), np.int64)
        self.ids = np.empty(1 << 16, np.int32)

    def take(self, numbers: np.ndarray) -> Tokens:
        """Token ids of the names with these numbers, in their order."""
        new = np.unique(numbers[self.start[numbers] < 0])
        if len(new):
            texts = self.encoder.prepare(self.names[new].tolist())
            found = tokenize(self.encoder.tokenizer, texts, self.encoder.max_length)
            end = self.used + len(found.ids)
            if end > len(self.ids):  # at least double the room, so that it rarely has to grow
                room = np.empty(max(end, len(self.ids)), np.int32)
                self.ids = np.concatenate([self.ids, room])
            self.ids[self.used : end] = found.ids
            self.start[new] = found.start + self.used
            self.length[new] = found.length
            self.used = end
        return Tokens(self.ids, self.start[numbers], self.length[numbers])


@dataclass(frozen=True)
class Chunk:
    """The token ids of n names as tensors, in b rows of t tokens.

    A chunk holds only what cannot be computed from the rest. The model's other inputs are computed
    on the device, so that little travels to a GPU and Python never waits for a value from there.
    """

    names: Tensor  # (n,) int64, which of all names these are
    ids: Tensor  # (b, t) int32 token ids
    length: Tensor  # (n,) int64, tokens of each name
    width: int  # no name has more tokens
    offset: Tensor | None = None  # (n,) int64, where names begin in flat ids; None: padded

    def tensors(self) -> list[Tensor]:
        """All tensors, in the order of the fields."""
        found = [self.names, self.ids, self.length]
        return found if self.offset is None else [*found, self.offset]

    def to(self, device: torch.device) -> "Chunk":
        """The same chunk on ``device``; from pinned memory, this does not wait for the copy."""
        return self._each(lambda x: x.to(device, non_blocking=True))

    def pinned(self) -> "Chunk":
        """The same chunk in pinned memory."""
        return self._each(Tensor.pin_memory)

    def _each(self, act: Callable[[Tensor], Tensor]) -> "Chunk":
        names, ids, length, *offset = map(act, self.tensors())
        return Chunk(names, ids, length, self.width, *offset)

    @property
    def mask(self) -> Tensor:
        """(n, width) boolean: where a name has a token."""
        return torch.arange(self.width, device=self.length.device) < self.length[:, None]

    def owners(self) -> tuple[Tensor, Tensor]:
        """For a packed chunk: which name each token belongs to (-1: filler), and its place in it.

        Both are (b, t) int64; the place of filler is 0.
        """
        assert self.offset is not None, "a padded chunk has one name a row"
        at = torch.arange(self.ids.numel(), device=self.ids.device)
        owner = torch.searchsorted(self.offset, at, right=True) - 1
        place = at - self.offset[owner]
        real = place < self.length[owner]
        owner, place = torch.where(real, owner, -1), place * real
        return owner.view(self.ids.shape), place.view(self.ids.shape)


def padded_chunks(tokens: Tokens, budget: int, pad: int, width: int | None = None,
                  multiple: int = 1) -> list[Chunk]:
    """All names, sorted by length, in padded chunks.

    Args:
        budget: the most tokens in a chunk, padding included; a single name may have more.
        pad: id of the pad token.
        width: pad every chunk to this many tokens; None: to its longest name.
        multiple: round that longest name's tokens up to a multiple of this.
    """
    if width:
        order, widths = np.arange(len(tokens)), np.full(len(tokens), width)
    else:
        order = np.argsort(tokens.length, kind="stable")
        widths = -(-tokens.length[order] // multiple) * multiple
    chunks, first = [], 0
    while first < len(tokens):
        # With names sorted, each further name makes the chunk bigger, so bisection finds the last
        # name that fits. No chunk has more than ``budget`` names, as each has a token at least.
        near = widths[first : first + max(1, budget)]
        sizes = near * np.arange(1, len(near) + 1)
        count = max(1, int(np.searchsorted(sizes, budget, side="right")))
        rows, row = order[first : first + count], int(widths[first : first + count][-1])
        ids = _filled(tokens.take(rows), np.arange(len(rows)) * row, (len(rows), row), pad)
        length = torch.from_numpy(tokens.length[rows])
        chunks.append(Chunk(torch.from_numpy(rows), ids, length, row))
        first += len(rows)
    return chunks


def packed_chunks(tokens: Tokens, budget: int, pad: int, width: int, row: int = ROW) -> list[Chunk]:
    """All names, in their order, in packed chunks.

    Args:
        budget: the most tokens in a chunk, filler included; a single row may have more.
        pad: id of the pad token, which fills the rows up.
        width: the most tokens in a name.
        row: tokens of a row; raised to ``width`` if it is less.
    """
    row = max(row, width)
    end = np.cumsum(tokens.length)
    starts, first = [], 0  # the first name of each row, found in a step per row, not per name
    while first < len(tokens):
        starts.append(first)
        before = end[first - 1] if first else 0
        first = int(np.searchsorted(end, before + row, side="right"))
    per_chunk, chunks = max(1, budget // row), []
    for i in range(0, len(starts), per_chunk):
        begins = np.array(starts[i : i + per_chunk])
        last = starts[i + per_chunk] if i + per_chunk < len(starts) else len(tokens)
        part = tokens.take(slice(begins[0], last))
        # where each name begins: its row, and the tokens of that row before it
        in_row = np.searchsorted(begins, np.arange(begins[0], last), side="right") - 1
        before = np.cumsum(part.length) - part.length  # tokens of the chunk before each name
        offset = before - before[begins - begins[0]][in_row] + in_row * row
        # the number of rows is rounded up, so that shapes repeat
        ids = _filled(part, offset, (few(len(begins), per_chunk), row), pad)
        names, length = torch.arange(int(begins[0]), last), torch.from_numpy(part.length.copy())
        chunks.append(Chunk(names, ids, length, width, torch.from_numpy(offset)))
    return chunks


def _filled(part: Tokens, offset: np.ndarray, shape: tuple[int, int], pad: int) -> Tensor:
    """Token ids in rows of this shape: name i begins at the flat place ``offset[i]``; else pad."""
    ids = np.full(shape[0] * shape[1], pad, np.int32)
    before = np.cumsum(part.length) - part.length
    place = np.arange(int(part.length.sum())) - np.repeat(before, part.length)  # within its name
    source = np.repeat(part.start, part.length) + place
    ids[np.repeat(offset, part.length) + place] = part.ids[source]
    return torch.from_numpy(ids.reshape(shape))


def few(count: int, most: int) -> int:
    """``count`` rounded up by at most a sixteenth, so that few values occur; at most ``most``."""
    step = max(1, (1 << (count.bit_length() - 1)) // 16)
    return min(most, -(-count // step) * step)


def ahead(act: Callable[[Any], Any], items: Iterable[Any], depth: int = 4,
          workers: int = 1) -> Generator[Any, None, None]:
    """``map(act, items)``, computed in the background at most ``depth`` items ahead.

    Args:
        workers: background threads; closing the iterator ends them.

    Raises:
        Whatever ``act`` raises, where the caller asks for that item.
    """
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(act, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
