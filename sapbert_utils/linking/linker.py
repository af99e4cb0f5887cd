"""Dictionary + index -> candidates: linking a mention is a search for the nearest of all names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..data.open_data.ontologies import is_blank
from ..data.tables import read_frame, write_frame
from ..files import sha256, whole_folder, write_json
from ..model.encoder import Encoder, load_encoder
from ..model.encoding import encode
from ..model.saving import save_encoder
from ..model.tokens import check_names
from .distinct import nearest_concepts
from .indexes import INDEXES, check_index, make_index, read_index
from .search import Prepared, search, vectors_for
from .vectors import check_terminology, fingerprint, open_vectors, read_manifest

if TYPE_CHECKING:
    import faiss

ANSWER = ["mention", "rank", "cui", "name", "score"]
PARTS = ["names.tsv", "vectors.npy", "index.faiss"]  # files that must belong together


@dataclass
class Linker:
    """A terminology with its vectors: give it mentions, it gives concepts.

    Example:
        >>> names = pd.DataFrame({"cui": ["C1", "C2"], "name": ["heart attack", "wide nose"]})
        >>> linker = Linker.from_terminology(load_encoder("minilm"), names)
        >>> linker.link("broad nose", k=1)["cui"].tolist()
        ['C2']
    """

    encoder: Encoder
    names: pd.DataFrame  # columns cui, name, and others to restrict by (source, …)
    vectors: np.ndarray  # (n, d) float32, or float16 on request
    kind: str = "exact"  # of the index, a name of INDEXES
    index: "faiss.Index | None" = None  # None: search the vectors block by block
    threshold: float = 0.0  # accept a first answer from this score on

    @classmethod
    def from_terminology(cls, encoder: Encoder, names: pd.DataFrame, progress: str = "",
                         index: str = "auto", dtype: str = "float32",
                         vectors: np.ndarray | None = None, precision: str = "auto") -> "Linker":
        """Encode the names of a terminology; ``ValueError`` if it has none or a row lacks one.

        Args:
            names: columns cui and name, one name a row.
            progress: title of a progress bar; empty: none.
            index: a name of `INDEXES`; ``auto`` is exact below a million names, else hnsw.
            dtype: type of the vectors, float32 or float16.
            vectors: (n, d) vectors of the names, if you have them.
            precision: the precision to encode in, as for :func:`encode`.
        """
        if names.empty:
            raise ValueError("the terminology holds no names to link to")
        check_terminology(names)
        shape = len(names), encoder.base.config.hidden_size
        if vectors is not None and np.shape(vectors) != shape:
            raise ValueError(f"the vectors have shape {np.shape(vectors)}; the names need {shape}")
        if index == "auto":
            index = "exact" if len(names) < 1_000_000 else "hnsw"
        check_index(index)  # before the names are encoded, which may take hours
        if vectors is None:
            vectors = encode(encoder, names["name"].tolist(), progress=progress, dtype=dtype,
                             precision=precision)
        made = None if index == "exact" else make_index(vectors, index)
        return cls(encoder, names.reset_index(drop=True), vectors, index, made)

    @classmethod
    def open(cls, model: str = "", sources: Sequence[str] = (), languages: Sequence[str] = ("ENG",),
             progress: str = "") -> "Linker":
        """Open a linker to open names, with a model that ships with the course (`open_linker`)."""
        from .opening import open_linker  # imported here: it imports this module

        return open_linker(model, sources, languages, progress)

    @cached_property
    def prepared(self) -> Prepared:
        """The vectors prepared for exact search, on first use."""
        return Prepared(self.vectors, "cosine", self.encoder.device)

    @cached_property
    def concepts(self) -> np.ndarray:
        """A number for the concept of each name, (n,) int64."""
        return pd.factorize(self.names["cui"], use_na_sentinel=False)[0]

    def link(self, mentions: str | Sequence[str], k: int = 5,
             only: np.ndarray | pd.Series | None = None) -> pd.DataFrame:
        """Find the ``k`` best distinct concepts of each mention; a blank one gets no row.

        Args:
            only: a boolean for each name of the terminology, for example
                ``linker.names["source"] == "HPO"``: answers come only from these names, which are
                searched exactly.

        Returns:
            Columns mention, rank (from 1), cui, name (the one that matched), score (cosine).

        Raises:
            ValueError: on a mention that isn't text, a k below 1, or an ``only`` without names.
        """
        if k < 1:
            raise ValueError(f"k is {k}: ask for at least one concept")
        if not isinstance(mentions, Iterable):
            raise ValueError(f"the mentions are {mentions!r}: give a text or a list of texts")
        asked = [mentions] if isinstance(mentions, str) else list(mentions)
        check_names(asked, "the mentions")
        # a blank text has a vector too, and its nearest name would look like an answer
        asked = [mention for mention in asked if not is_blank(mention)]
        rows = None if only is None else self._rows(only)
        if not asked:
            return pd.DataFrame(columns=ANSWER)
        cui, name, found = self.names["cui"].to_numpy(), self.names["name"].to_numpy(), []
        for mention, nearest in zip(asked, self._nearest(asked, k, rows), strict=True):
            for rank, (row, score) in enumerate(nearest, 1):
                found.append((mention, rank, cui[row], name[row], score))
        return pd.DataFrame(found, columns=ANSWER)

    def _rows(self, only: np.ndarray | pd.Series) -> np.ndarray:
        """The numbers of the names that a restriction leaves."""
        values = np.asarray(only)
        boolean = values.dtype == bool or {bool, np.bool_}.issuperset(map(type, values.flat))
        if values.ndim != 1 or not boolean:
            raise ValueError("the restriction holds more than True and False: give a boolean for "
                             "each name of the terminology, not row numbers or missing values")
        if (given := len(values)) != len(self.names):
            raise ValueError(f"the restriction has {given} values for {len(self.names)} names")
        if isinstance(only, pd.Series) and not only.index.equals(self.names.index):
            raise ValueError("the restriction must have the index of linker.names: make it of them")
        rows = np.flatnonzero(values)
        if not len(rows):
            raise ValueError("the restriction leaves no name to link to")
        return rows

    def _nearest(self, mentions: Sequence[str], k: int,
                 rows: np.ndarray | None) -> list[list[tuple[int, float]]]:
        """(row of the terminology, score) of the best name of each of the nearest concepts."""
        queries, index = encode(self.encoder, mentions), self.index
        if rows is not None:  # an index cannot leave names out, so these are searched exactly
            part = self.prepared.take(rows)
            found = nearest_concepts(queries, self.concepts[rows], k,
                                     lambda some, depth: search(some, part, depth))
            return [[(int(rows[row]), score) for row, score in nearest] for nearest in found]

        def exactly(some: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
            return search(some, self.prepared, depth)

        if index is None:
            return nearest_concepts(queries, self.concepts, k, exactly)

        def by_index(some: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
            scores, found = index.search(vectors_for("cosine", some).numpy(), depth)
            return found, scores

        return nearest_concepts(queries, self.concepts, k, exactly, by_index)

    def part(self, sources: Iterable[str] = (), types: Iterable[str] = ()) -> np.ndarray:
        """Tell for each name whether its source and the type of its concept are among those given.

        A name's sources and types are in the columns ``sources`` and ``types``, joined by ``|``
        (:func:`sapbert_utils.data.open_names`). If you give none, all count. The result, a boolean
        for each name, goes into :meth:`link` as ``only``. Raises ``ValueError`` when no name is
        left.
        """
        kept = np.ones(len(self.names), dtype=bool)
        for column, asked in (("sources", set(sources)), ("types", set(types))):
            if not asked:
                continue
            if column not in self.names:  # notebook 07 gives each name one source
                column = column[:-1]
            if column not in self.names:
                raise ValueError(f"the names of this linker have no column {column!r}")
            kept &= [not asked.isdisjoint(cell.split("|")) for cell in self.names[column]]
            if not kept.any():
                known = sorted(set("|".join(self.names[column].unique()).split("|")) - {""})
                raise ValueError(f"no name of this linker is of {', '.join(sorted(asked))}; its "
                                 f"{column} are: {', '.join(known)}")
        return kept

    def save(self, folder: Path | str, taken: str = "refuse") -> Path:
        """Write encoder, names, vectors and index to a folder, whole or not at all.

        If the folder exists, ``taken`` says what to do (:func:`.files.whole_folder`).
        """
        with whole_folder(folder, taken) as new:
            save_encoder(self.encoder, new / "encoder")
            write_frame(self.names, new / "names.tsv")
            np.save(new / "vectors.npy", self.vectors)
            if self.index is not None:
                import faiss

                faiss.write_index(self.index, str(new / "index.faiss"))
            write_json(new / "manifest.json", {
                "model": fingerprint(self.encoder), "index": self.kind, "names": len(self.names),
                "threshold": self.threshold,
                "dictionary": fingerprint(self.encoder, self.names["name"]),
                "dimension": self.vectors.shape[1],
                "sha256": {part: sha256(new / part) for part in PARTS if (new / part).exists()}})
        return Path(folder)

    @classmethod
    def load(cls, folder: Path | str) -> "Linker":
        """Read what :meth:`save` wrote.

        Raises a ``ValueError`` that names the file if a part is missing, damaged or from elsewhere.
        """
        folder, advice = Path(folder), "save the linker again"
        said = read_manifest(folder, advice, model=str, dictionary=str, index=str, names=int,
                             dimension=int, sha256=dict)
        if said["index"] not in INDEXES:
            raise ValueError(f"{folder}/manifest.json: no index {said['index']!r}; {advice}")
        encoder = load_encoder(str(folder / "encoder"))
        # two checks, so that the message can say which part is wrong
        if fingerprint(encoder) != said["model"]:
            raise ValueError(f"{folder / 'encoder'} is not the one that made the vectors: {advice}")
        names = read_frame(folder / "names.tsv", ["cui", "name"])
        if fingerprint(encoder, names["name"]) != said["dictionary"]:
            raise ValueError(f"{folder / 'names.tsv'} does not hold the {said['names']} names of "
                             f"the vectors in their order: {advice}")
        shape = said["names"], said["dimension"]
        vectors, index = open_vectors(folder / "vectors.npy", *shape, advice), None
        if said["index"] != "exact":
            index = read_index(folder / "index.faiss", *shape, advice)
        for part in PARTS:
            if part in said["sha256"] and sha256(folder / part) != said["sha256"][part]:
                raise ValueError(f"{folder / part} is not the one that was saved: {advice}")
        # an older linker has no threshold
        return cls(encoder, names, vectors, said["index"], index, said.get("threshold", 0.0))
