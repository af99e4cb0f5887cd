"""Token ids in flat arrays, both layouts of chunks, and work that is done ahead."""

import threading
import time

import numpy as np
import pytest
import torch

from sapbert_utils.model.encoder import load_encoder
from sapbert_utils.model.tokens import (
    Tokens,
    TokenStore,
    ahead,
    few,
    packed_chunks,
    padded_chunks,
    tokenize,
)

NAMES = ["heart attack", "MI", "a" * 300, "", "naïve\u0301 İstanbul 心筋梗塞",
         "type 2 diabetes mellitus, " * 20, "MI"]


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("minilm", num_layers=1)


def made(*lengths: int) -> Tokens:
    """Names of these lengths whose ids are all different."""
    length = np.array(lengths)
    ids = np.arange(1, length.sum() + 1, dtype=np.int32)
    return Tokens(ids, np.cumsum(length) - length, length)


def names_of(chunk) -> list[list[int]]:
    """The token ids that a chunk says each of its names has."""
    flat, length = chunk.ids.flatten(), chunk.length.tolist()
    start = chunk.offset
    if start is None:
        start = torch.arange(len(length)) * chunk.ids.shape[1]
    return [flat[at : at + count].tolist() for at, count in zip(start, length, strict=True)]


def listed(tokens: Tokens) -> list[list[int]]:
    """The token ids of each name."""
    places = zip(tokens.start, tokens.length, strict=True)
    return [tokens.ids[first : first + count].tolist() for first, count in places]


@pytest.mark.parametrize("max_length", [5, 25])
def test_token_ids_are_those_of_transformers(encoder, max_length):
    found = tokenize(encoder.tokenizer, NAMES, max_length)
    expected = encoder.tokenizer(NAMES, truncation=True, max_length=max_length)["input_ids"]
    assert listed(found) == expected
    assert len(tokenize(encoder.tokenizer, [], 25)) == 0


def test_a_store_tokenises_each_name_once(encoder, monkeypatch):
    asked = []

    def watched(tokenizer, names, length):
        asked.extend(names)
        return tokenize(tokenizer, names, length)

    monkeypatch.setattr("sapbert_utils.model.tokens.tokenize", watched)
    names = [f"disease {i} of the {'very ' * 9} long heart" for i in range(6000)]
    names = np.array(names, dtype=object)
    store = TokenStore(encoder, names)
    for numbers in (np.array([5, 3, 5]), np.arange(6000), np.array([5, 5999])):
        found = store.take(numbers)
        texts = names[numbers].tolist()
        expected = encoder.tokenizer(texts, truncation=True, max_length=25)["input_ids"]
        assert listed(found) == expected
    assert len(asked) == len(set(asked)) == 6000


@pytest.mark.parametrize("layout", ["padded", "one width", "packed", "packed in long rows"])
@pytest.mark.parametrize("budget", [1, 30, 64, 10_000])
def test_chunks_hold_every_name_once_with_its_tokens_and_no_other(layout, budget):
    draw = np.random.default_rng(0)
    tokens = made(*draw.integers(2, 26, 200)).take(draw.permutation(200))
    chunks = {"padded": lambda: padded_chunks(tokens, budget, 0),
              "one width": lambda: padded_chunks(tokens, budget, 0, 25),
              "packed": lambda: packed_chunks(tokens, budget, 0, 32, row=32),
              "packed in long rows": lambda: packed_chunks(tokens, budget, 0, 32)}[layout]()
    seen = np.concatenate([chunk.names for chunk in chunks])
    assert sorted(seen.tolist()) == list(range(200))
    for chunk in chunks:
        assert chunk.ids.numel() <= budget or len(chunk.ids) == 1
        for i, ids in zip(chunk.names.tolist(), names_of(chunk), strict=True):
            assert ids == tokens.ids[tokens.start[i] : tokens.start[i] + tokens.length[i]].tolist()
        if chunk.offset is not None:
            owner, place = (x.flatten() for x in chunk.owners())
            assert int((owner >= 0).sum()) == int(chunk.length.sum())
            assert not chunk.ids.flatten()[owner < 0].any()
            places = zip(chunk.offset.tolist(), chunk.length.tolist(), strict=True)
            for name, (at, length) in enumerate(places):
                assert place[at : at + length].tolist() == list(range(length))
                assert (owner[at : at + length] == name).all()
                row = chunk.ids.shape[1]
                assert at // row == (at + length - 1) // row  # within one row


def test_packing_wastes_little_and_has_few_shapes():
    draw, shapes = np.random.default_rng(0), set()
    for _ in range(50):
        tokens = made(*draw.integers(3, 20, 512))
        (chunk,) = packed_chunks(tokens, 1 << 16, 0, 32)
        shapes.add(tuple(chunk.ids.shape))
        assert chunk.mask.sum() > 0.85 * chunk.ids.numel()
    assert len(shapes) <= 4
    assert all(count <= few(count, 10**6) <= count * 17 / 16 for count in range(1, 3000))
    assert few(500, 500) == 500 and few(33, 1000) == 34


def test_padded_widths_are_rounded_up_on_request():
    chunks = padded_chunks(made(3, 9, 17), 24, 0, multiple=8)
    assert {chunk.ids.shape[1] for chunk in chunks} == {8, 16, 24}


def test_work_ahead_keeps_order_stays_within_its_depth_and_passes_errors_on():
    started = []

    def act(i):
        started.append(i)
        return 10 // (5 - i)

    reader = ahead(act, range(100), depth=2, workers=2)
    assert [next(reader) for _ in range(3)] == [2, 2, 3]
    time.sleep(0.2)
    assert len(started) <= 6
    assert [next(reader) for _ in range(2)] == [5, 10]
    with pytest.raises(ZeroDivisionError):
        next(reader)
    before = threading.active_count()
    reader = ahead(act, iter(range(6, 10**9)))
    assert next(reader) == -10 and threading.active_count() == before + 1
    reader.close()
    assert threading.active_count() == before and list(ahead(act, [])) == []
