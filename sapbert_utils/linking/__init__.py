"""In: an encoder, the names of a terminology, mentions. Out: candidates; saved linkers, shards and exports.
May use ``files``, ``data`` and ``model``; knows nothing of evaluation or the course.
Read in this order: search, vectors, linker; abbreviations, sharding and export stand alone.
"""

from .abbreviations import expand
from .export import encode_onnx, to_onnx, to_parquet, to_sentence_transformers
from .linker import Linker, make_index
from .search import Prepared, search
from .sharding import encode_shards, linker_of_shards, open_shards, shard_index
from .vectors import encode_cached, fingerprint

__all__ = [
    "Linker", "Prepared", "encode_cached", "encode_onnx", "encode_shards", "expand", "fingerprint", "linker_of_shards",
    "make_index", "open_shards", "search", "shard_index", "to_onnx", "to_parquet", "to_sentence_transformers",
]
