"""Shared by the tests of linking: a small encoder and two small linkers."""

import pandas as pd
import pytest

from sapbert_utils.linking import Linker
from sapbert_utils.model.encoder import load_encoder


@pytest.fixture(scope="session")
def encoder():
    return load_encoder("minilm", num_layers=2, pooling="mean", lower=True)


@pytest.fixture(scope="session")
def linker(encoder):
    names = pd.DataFrame({"cui": ["C1", "C2"], "name": ["heart attack", "wide nose"]})
    return Linker.from_terminology(encoder, names)


@pytest.fixture
def saved(encoder, tmp_path):
    """The folder of a saved linker."""
    rows = [("C1", "heart attack"), ("C2", "wide nose"), ("C3", "fever")]
    names = pd.DataFrame(rows, columns=["cui", "name"])
    return Linker.from_terminology(encoder, names).save(tmp_path / "linker")
