"""In: an encoder, a terminology's names, mentions. Out: candidates; saved linkers, shards, exports.
May use ``files``, ``data`` and ``model``; knows nothing of evaluation or the course.
Read in this order: search, indexes, vectors, distinct, linker; the others stand alone.
"""

from .abbreviations import expand
from .calibration import best_threshold
from .csv_files import check_csv, link_csv
from .export import encode_onnx, to_onnx, to_parquet, to_sentence_transformers
from .indexes import INDEXES, make_index, shard_index
from .linker import Linker
from .opening import open_linker
from .search import Prepared, search
from .sharding import encode_shards, linker_of_shards, open_shards
from .vectors import encode_cached, fingerprint

__all__ = [
    "INDEXES", "Linker", "Prepared", "best_threshold", "check_csv", "encode_cached", "encode_onnx",
    "encode_shards", "expand", "fingerprint", "link_csv", "linker_of_shards", "make_index",
    "open_linker", "open_shards", "search", "shard_index", "to_onnx", "to_parquet",
    "to_sentence_transformers",
]
