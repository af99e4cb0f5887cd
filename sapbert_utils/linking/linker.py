"""Dictionary + index -> candidates: linking a mention is a nearest-neighbour search among all names."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ..files import whole_file, whole_folder, write_json
from ..model.encoder import Encoder, load_encoder, save_encoder
from ..model.encoding import encode
from .abbreviations import expand
from .search import Prepared, search, vectors_for
from .vectors import fingerprint

ANSWER = ["mention", "rank", "cui", "name", "score"]
INDEXES = {  # FAISS factory strings, over unit vectors; recall of the ten nearest and memory: notebook 07
    "exact": "",  # no index: blocks of the vectors, as they lie in memory or on disk
    "hnsw": "HNSW32,Flat",  # a graph: near-exact, more memory than the vectors
    "ivfpq": "IVF{lists},PQ{bytes}np",  # compressed: a byte for six numbers, and less recall
}


def make_index(vectors: np.ndarray, kind: str):
    """A FAISS index of that kind (see ``INDEXES``) over the unit vectors; ``None`` for ``exact``."""
    if kind not in INDEXES:
        raise ValueError(f"unknown index {kind!r}; choose one of: {', '.join(INDEXES)}")
    if kind == "exact":
        return None
    import faiss

    lists, width = max(1, min(4096, len(vectors) // 64)), vectors.shape[1]
    parts = max(n for n in range(1, max(1, width // 6) + 1) if width % n == 0)
    index = faiss.index_factory(vectors.shape[1], INDEXES[kind].format(lists=lists, bytes=parts),
                                faiss.METRIC_INNER_PRODUCT)
    if kind == "hnsw":
        index.hnsw.efConstruction, index.hnsw.efSearch = 200, 128
    else:
        index.nprobe = max(1, lists // 16)
        index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1  # small ones train too, unwarned
        draw = np.random.default_rng(0).permutation(len(vectors))[: 64 * lists]
        index.train(vectors_for("cosine", vectors[np.sort(draw)]).numpy())
    for start in range(0, len(vectors), 100_000):
        index.add(vectors_for("cosine", vectors[start : start + 100_000]).numpy())
    return index


@dataclass
class Linker:
    """A terminology with its vectors: give it mentions, it gives concepts."""

    encoder: Encoder
    names: pd.DataFrame  # columns cui, name, and what else a restriction may ask for (source, language, …)
    vectors: np.ndarray  # (n, d) float32, or float16 on request
    kind: str = "exact"  # of the index, a name of INDEXES
    index: object = None  # FAISS's

    @cached_property
    def prepared(self) -> Prepared:
        """The vectors made ready for exact search, when it is first asked for."""
        return Prepared(self.vectors, "cosine", self.encoder.device)

    @classmethod
    def from_terminology(cls, encoder: Encoder, names: pd.DataFrame, progress: str = "", index: str = "auto",
                         dtype: str = "float32", vectors: np.ndarray | None = None) -> "Linker":
        """Encode the names of a terminology (columns cui, name). Raises ``ValueError`` on an empty one.

        ``index``: a name of ``INDEXES``; ``auto`` is exact below a million names, and hnsw from there on. ``vectors``:
        the names' vectors (n, d) where they are known.
        """
        if names.empty:
            raise ValueError("the terminology holds no names to link to")
        kind = ("exact" if len(names) < 1_000_000 else "hnsw") if index == "auto" else index
        if vectors is None:
            vectors = encode(encoder, names["name"].tolist(), progress=progress, dtype=dtype)
        return cls(encoder, names.reset_index(drop=True), vectors, kind, make_index(vectors, kind))

    def link(self, mentions: str | Sequence[str], k: int = 5, only: np.ndarray | None = None) -> pd.DataFrame:
        """The ``k`` best distinct concepts of each mention: mention, rank, cui, name (that matched), score (cosine).

        ``only``, a boolean for each name of the terminology (``linker.names["source"] == "HPO"``), restricts the
        answers; they are then searched exactly.
        """
        mentions = [mentions] if isinstance(mentions, str) else list(mentions)
        if not mentions:
            return pd.DataFrame(columns=ANSWER)
        rows = np.arange(len(self.names)) if only is None else np.flatnonzero(only)
        if not len(rows):
            raise ValueError("the restriction leaves no name to link to")
        queries, depth = encode(self.encoder, mentions), min(10 * k, len(rows))
        if self.index is not None and only is None:
            score, where = self.index.search(vectors_for("cosine", queries).numpy(), depth)
        else:
            where, score = search(queries, self.prepared if only is None else self.prepared.take(rows), depth)
        cui, name, found = self.names["cui"].to_numpy(), self.names["name"].to_numpy(), []
        for mention, near, values in zip(mentions, where.tolist(), score.tolist(), strict=True):
            seen: dict[str, tuple] = {}
            for i, value in zip(near, values, strict=True):
                if i >= 0:  # an approximate index may find fewer
                    seen.setdefault(cui[rows[i]], (name[rows[i]], value))
            found += [(mention, rank, c, *best) for rank, (c, best) in enumerate(list(seen.items())[:k], 1)]
        return pd.DataFrame(found, columns=ANSWER)

    def link_csv(self, source: Path | str, target: Path | str, column: str, k: int = 5, threshold: float = 0.0,
                 encoding: str = "utf-8-sig", rows: int = 20_000, context: str = "") -> int:
        """Link a column of a CSV file, ``rows`` at a time; returns how many rows were read.

        Every row comes back once for each of its ``k`` candidates, with rank, cui, name, score and ``accepted`` (the
        first, at ``threshold`` or above); a row without a mention once, with these empty. They are called
        ``rank_found`` and so on where the file has such a column. ``context`` names a column with the text around the
        mention: what it abbreviates (:func:`expand`) is linked. ``target`` appears when it is whole. Raises
        ``ValueError`` that says the file, and the line or the columns, on what cannot be read.
        """
        read = 0
        try:
            with whole_file(target) as partial:
                for part in pd.read_csv(source, dtype="str", keep_default_na=False, encoding=encoding, chunksize=rows):
                    missing = [c for c in (column, context) if c and c not in part]
                    if missing:
                        raise ValueError(f"{source} has no column {missing[0]!r}; its columns are: "
                                         f"{', '.join(part.columns)}")
                    texts = part[column].str.strip()
                    if context:
                        texts = pd.Series(map(expand, texts, part[context]), index=part.index, dtype="str").str.strip()
                    found = self.link(sorted(set(texts) - {""}), k)
                    found["accepted"] = (found["rank"] == 1) & (found["score"] >= threshold)
                    found = found.rename(columns={"mention": "_mention"}).round({"score": 4}).astype({"rank": "Int64"})
                    linked = part.assign(_mention=texts).merge(found, "left", "_mention", suffixes=("", "_found"))
                    linked.drop(columns="_mention").to_csv(
                        partial, mode="a" if read else "w", header=not read, index=False)
                    read += len(part)
                if not read:
                    raise ValueError(f"{source} has no rows")
        except UnicodeDecodeError as error:
            raise ValueError(f"{source} is not {encoding} ({error.reason} at byte {error.start}): name its encoding, "
                             f"such as cp1252 or utf-16") from None
        except pd.errors.ParserError as error:
            raise ValueError(f"{source}: {error}") from None
        except pd.errors.EmptyDataError:
            raise ValueError(f"{source} is empty") from None
        return read

    def save(self, folder: Path | str) -> Path:
        """Write encoder, names, vectors and index to a new folder, whole or not at all."""
        with whole_folder(folder) as new:
            save_encoder(self.encoder, new / "encoder")
            self.names.to_csv(new / "names.tsv", sep="\t", index=False)
            np.save(new / "vectors.npy", self.vectors)
            if self.index is not None:
                import faiss

                faiss.write_index(self.index, str(new / "index.faiss"))
            write_json(new / "manifest.json", {"model": fingerprint(self.encoder, ()), "index": self.kind,
                                               "names": len(self.names), "dimension": self.vectors.shape[1]})
        return Path(folder)

    @classmethod
    def load(cls, folder: Path | str) -> "Linker":
        """Read what :meth:`save` wrote. Raises ``ValueError`` when model, names, vectors or index do not match."""
        folder = Path(folder)
        said = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        names = pd.read_csv(folder / "names.tsv", sep="\t", dtype="str", keep_default_na=False)
        encoder = load_encoder(str(folder / "encoder"))
        vectors, index = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False), None
        if said["index"] != "exact":
            import faiss

            index = faiss.read_index(str(folder / "index.faiss"))
        counts = {"names": len(names), "vectors": len(vectors), "index": index.ntotal if index else len(vectors)}
        if set(counts.values()) != {said["names"]}:
            raise ValueError(f"{folder}: {counts}, where the manifest says {said['names']}; save the linker again")
        if fingerprint(encoder, ()) != said["model"]:
            raise ValueError(f"{folder}: the encoder is not the one that made the vectors; save the linker again")
        return cls(encoder, names, vectors, said["index"], index)
