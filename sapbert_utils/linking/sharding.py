"""Encode a dictionary that is too long for one process or one machine, in shards; search them as one.

    accelerate launch -m sapbert_utils.linking.sharding --model models/sapbert --names names.tsv --output shards

Every process takes every n-th shard. A shard that is whole is not made again, so a broken run goes on where it
ended; machines that share the folder ``output`` share the work (``--num_machines``). ``names.tsv`` has the columns cui
and name, as ``Linker.save`` writes it.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from accelerate import Accelerator

from ..files import whole_file, write_json
from ..model.encoder import Encoder, load_encoder
from ..model.encoding import encode
from .linker import Linker, make_index
from .vectors import fingerprint


def encode_shards(encoder: Encoder, names: Sequence[str], folder: Path | str, size: int = 100_000, rank: int = 0,
                  processes: int = 1, dtype: str = "float32", progress: str = "") -> list[Path]:
    """Encode the shards (``size`` names each) whose number is ``rank`` modulo ``processes``; returns all shards' paths.

    ``folder/manifest.json`` says what they belong to. Raises ``ValueError`` when the folder holds another model's or
    other names' shards.
    """
    if not len(names):
        raise ValueError("there are no names to encode")
    folder, count = Path(folder), -(-len(names) // size)
    said = {"dictionary": fingerprint(encoder, names), "model": fingerprint(encoder, ()), "names": len(names),
            "size": size, "dtype": dtype}
    manifest = folder / "manifest.json"
    if manifest.exists() and json.loads(manifest.read_text(encoding="utf-8")) != said:
        raise ValueError(f"{folder} holds shards of another model, other names or another size: choose another folder")
    if rank == 0:
        write_json(manifest, said)
    paths = [folder / f"vectors-{i:05}-of-{count:05}.npy" for i in range(count)]
    for i in range(rank, count, processes):
        if not paths[i].exists():
            part = names[i * size : (i + 1) * size]
            title = f"{progress} {i + 1}/{count}" if progress else ""
            vectors = encode(encoder, part, progress=title, dtype=dtype)
            with whole_file(paths[i]) as partial:
                np.save(partial, vectors)
    return paths


def open_shards(folder: Path | str) -> list[np.ndarray]:
    """The shards of a folder, in order, mapped from disk. Raises ``ValueError`` when one is missing or cut short."""
    folder = Path(folder)
    try:
        said = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no shards (no manifest.json): run sapbert_utils.linking.sharding") from None
    count, size, shards = -(-said["names"] // said["size"]), said["size"], []
    for i in range(count):
        path = folder / f"vectors-{i:05}-of-{count:05}.npy"
        wanted = min(size, said["names"] - i * size)
        try:
            shards.append(np.load(path, mmap_mode="r", allow_pickle=False))
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(f"{path} is missing or damaged ({error}): remove it and run the command "
                             f"again, which makes only what is missing") from None
        if len(shards[-1]) != wanted:
            raise ValueError(f"{path} holds {len(shards[-1])} vectors, not {wanted}: remove it and run again")
    return shards


def shard_index(shards: Sequence[np.ndarray], kind: str):
    """One FAISS index over shards: an index of that kind each (``linker.INDEXES``), searched side by side; what is
    found is numbered through. Over unit vectors, as :func:`make_index`; on one machine here, but each part may be
    written to a file (``faiss.write_index``) and served from another."""
    import faiss

    joined = faiss.IndexShards(shards[0].shape[1], True, True)
    for shard in shards:
        joined.add_shard(make_index(shard, kind))
    return joined


def linker_of_shards(encoder: Encoder, names: pd.DataFrame, folder: Path | str, index: str = "auto") -> Linker:
    """A :class:`Linker` over the shards of :func:`encode_shards`, to link with or to save.

    Raises ``ValueError`` when the shards are not of this encoder and these names.
    """
    shards = open_shards(folder)
    said = json.loads(Path(folder, "manifest.json").read_text(encoding="utf-8"))
    if said["dictionary"] != fingerprint(encoder, names["name"].tolist()):
        raise ValueError(f"{folder}: the shards belong to another model or other names")
    return Linker.from_terminology(encoder, names, index=index, vectors=np.concatenate(shards))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m sapbert_utils.linking.sharding",
                                     description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="minilm, e5-multilingual, a folder, or a Hugging Face name")
    parser.add_argument("--names", type=Path, required=True, help="a TSV file with the columns cui and name")
    parser.add_argument("--output", type=Path, required=True, help="the folder of the shards")
    parser.add_argument("--size", type=int, default=100_000, help="names a shard (100,000)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16"], help="of the vectors (float32)")
    parser.add_argument("--linker", type=Path, help="write a linker (as notebook 07's) to this folder when all is done")
    options = parser.parse_args(arguments)
    state = Accelerator()
    names = pd.read_csv(options.names, sep="\t", dtype="str", keep_default_na=False)
    if not {"cui", "name"} <= set(names):
        raise SystemExit(f"{options.names}: no columns cui and name; its columns are: {', '.join(names)}")
    encoder = load_encoder(options.model, device=str(state.device))
    encode_shards(encoder, names["name"].tolist(), options.output, options.size, state.process_index,
                  state.num_processes, options.dtype, f"process {state.process_index}: shard")
    state.wait_for_everyone()
    if options.linker and state.is_main_process:
        linker_of_shards(encoder, names, options.output).save(options.linker)
    state.end_training()


if __name__ == "__main__":
    main()
