"""Encode a dictionary in shards if it is too long for one process or one machine.

    accelerate launch -m sapbert_utils.linking.sharding \\
        --model models/sapbert --names names.tsv --output shards

The processes take the shards in turn. A finished shard isn't made again, so an interrupted run
resumes where it stopped. Machines that share the folder ``output`` share the work
(``--num_machines``). ``names.tsv`` has the columns cui and name, as ``Linker.save`` writes it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from accelerate import Accelerator

from ..data.tables import read_frame
from ..files import given_path, whole_file, write_json
from ..model.encoder import Encoder, load_encoder
from ..model.encoding import encode
from .linker import Linker
from .vectors import check_terminology, fingerprint, open_vectors, read_manifest


def encode_shards(encoder: Encoder, names: Sequence[str], folder: Path | str, size: int = 100_000,
                  rank: int = 0, processes: int = 1, dtype: str = "float32",
                  progress: str = "") -> list[Path]:
    """Encode this process's share of the shards; return the paths of all shards, in order.

    ``folder/manifest.json`` says what the shards belong to.

    Args:
        size: names per shard.
        rank: this process takes the shards whose number is ``rank`` modulo ``processes``.
        dtype: type of the vectors, float32 or float16.
        progress: title of a progress bar; empty: none.

    Raises:
        ValueError: if there are no names, or the folder holds shards of another model, of other
            names or of another size, or shards without a manifest.
    """
    if not len(names):
        raise ValueError("there are no names to encode")
    if size < 1:
        raise ValueError(f"the size of a shard is {size} names: choose 1 or more")
    folder = Path(folder)
    said = {"model": fingerprint(encoder), "dictionary": fingerprint(encoder, names),
            "names": len(names), "dimension": encoder.base.config.hidden_size, "size": size,
            "dtype": dtype}
    manifest, advice = folder / "manifest.json", "choose another folder"
    # shards first: a process writes the manifest before its shards, so it exists by now
    if any(folder.glob("vectors-*.npy")) and not manifest.exists():
        raise ValueError(f"{folder} holds shards (vectors-*.npy) without the manifest.json that "
                         f"says what they are: {advice} or remove them")
    if manifest.exists() and read_manifest(folder, advice) != said:
        raise ValueError(f"{folder} holds shards of another model, other names or another size: "
                         f"{advice}")
    if not manifest.exists():  # first under another name: another machine may write it too
        write_json(folder / f"manifest-{rank}.json", said).replace(manifest)
    paths = _paths(folder, len(names), size)
    for i in range(rank, len(paths), processes):
        if paths[i].exists():  # it is whole: it was written under another name
            continue
        part = names[i * size : (i + 1) * size]
        title = f"{progress} {i + 1}/{len(paths)}" if progress else ""
        vectors = encode(encoder, part, progress=title, dtype=dtype)
        with whole_file(paths[i]) as partial:
            np.save(partial, vectors)
    return paths


def _paths(folder: Path, names: int, size: int) -> list[Path]:
    count = -(-names // size)  # rounded up: the last shard may be smaller
    return [folder / f"vectors-{i:05}-of-{count:05}.npy" for i in range(count)]


def open_shards(folder: Path | str) -> list[np.ndarray]:
    """The shards of a folder, in order, mapped from disk.

    Raises a ``ValueError`` that names the file if one is missing, cut short, or from elsewhere.
    """
    folder = Path(folder)
    said = read_manifest(folder, "run sapbert_utils.linking.sharding", names=int, size=int,
                         dimension=int)
    names, size = said["names"], said["size"]
    if names < 1 or size < 1:
        raise ValueError(f"{folder / 'manifest.json'} says {names} names, {size} per shard: "
                         f"encode the names again, into another folder")
    shards = []
    for i, path in enumerate(_paths(folder, names, size)):
        count = min(size, names - i * size)
        shards.append(open_vectors(path, count, said["dimension"], "remove it and run the command "
                                   "again, which makes only what is missing"))
    return shards


def linker_of_shards(encoder: Encoder, names: pd.DataFrame, folder: Path | str,
                     index: str = "auto") -> Linker:
    """A :class:`Linker` over the shards of :func:`encode_shards`, to link with or to save.

    Raises ``ValueError`` when the shards are not of this encoder and these names.
    """
    check_terminology(names)
    shards = open_shards(folder)
    said = read_manifest(Path(folder), "encode the names again", dictionary=str)
    if said["dictionary"] != fingerprint(encoder, names["name"].tolist()):
        raise ValueError(f"{folder}: the shards belong to another model or other names")
    return Linker.from_terminology(encoder, names, index=index, vectors=np.concatenate(shards))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sapbert_utils.linking.sharding",
                                     description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, type=lambda name: str(given_path(name)),
                        help="minilm, e5-multilingual, mpnet, a folder, or a Hugging Face name")
    parser.add_argument("--names", type=given_path, required=True,
                        help="a TSV file with the columns cui and name")
    parser.add_argument("--output", type=given_path, required=True, help="the folder of the shards")
    parser.add_argument("--size", type=int, default=100_000, help="names per shard (100,000)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16"],
                        help="type of the vectors (default: float32)")
    parser.add_argument("--linker", type=given_path,
                        help="when all is done, write a linker like notebook 07's to this folder")
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.linker and options.linker.exists():  # say so now, not after hours of encoding
        raise ValueError(f"{options.linker} exists: choose another folder or remove it first")
    shards = options.output.resolve()
    if options.linker and options.linker.resolve() in (shards, *shards.parents):
        raise ValueError(f"the linker cannot be written to {options.linker}, where the shards go: "
                         f"choose another folder")
    names = read_frame(options.names, ["cui", "name"])
    check_terminology(names, str(options.names))
    state = Accelerator()  # after the names were read: a wrong file ends all processes at once
    encoder = load_encoder(options.model, device=str(state.device))
    encode_shards(encoder, names["name"].tolist(), options.output, options.size,
                  state.process_index, state.num_processes, options.dtype,
                  f"process {state.process_index}: shard")
    state.wait_for_everyone()  # a linker needs the shards of all processes
    if options.linker and state.is_main_process:
        linker_of_shards(encoder, names, options.output).save(options.linker)
    state.end_training()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; if it can't be done, print one line to stderr and exit with code 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
