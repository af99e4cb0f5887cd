"""A linker ready for use: a trained model that ships with the course, and open names."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress

from ..data.open_data import cache_dir, wheels
from ..data.terminology import open_names
from ..model.encoder import RELEASED, load_encoder, released
from ..model.precision import training_precision
from .linker import Linker
from .vectors import fingerprint

ENGLISH = ("ENG",)


def open_linker(model: str = "", sources: Sequence[str] = (), languages: Sequence[str] = ENGLISH,
                progress: str = "") -> Linker:
    """Open a linker to the names of the open metathesaurus, layperson names among them.

    The first use makes it, which takes minutes, and keeps it in the course's cache; after that it
    opens in seconds. A damaged one is made again. Names are encoded in bf16 where the processor is
    faster in it. This moves cosines by up to 0.006, and gave four of 592 layperson terms another
    first name.

    Args:
        model: what :func:`load_encoder` takes; empty: sapbert-minilm for English names alone, and
            sapbert-e5 for others.
        sources: SAB codes of the names, such as HPO; empty: all.
        languages: LAT codes of the names, such as ENG, GER; empty: all.
        progress: title of a progress bar for the first use; empty: none.

    Raises:
        ValueError: there are no such names.

    Example:
        >>> open_linker(sources=["HPO"]).link("wide nose", k=1)["name"].tolist()
        ['Wide nose']
    """
    if not model:
        model = "sapbert-minilm" if tuple(languages) == ENGLISH else "sapbert-e5"
    encoder = load_encoder(model)
    # what the vectors and the names depend on
    about = [fingerprint(encoder), sorted(sources), sorted(languages),
             [wheel.sha256 for wheel in wheels().values()]]
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
    folder = cache_dir() / "linkers" / key
    if folder.exists():
        with suppress(ValueError, OSError):  # damaged, or of another version
            return Linker.load(folder)
    names = open_names(sources, languages, encoder.lower)
    linker = Linker.from_terminology(encoder, names, progress,
                                     precision=training_precision("auto", encoder.device))
    linker.threshold = threshold_of(model, sources)
    linker.save(folder, taken="replace")
    return linker


def threshold_of(model: str, sources: Sequence[str] = ()) -> float:
    """Return the threshold measured for a released model and sources, or 0 if there is none."""
    file = RELEASED / model / "thresholds.json"
    if model not in released() or not file.exists():
        return 0.0
    known = json.loads(file.read_text(encoding="utf-8"))
    return known.get(",".join(sorted(sources)), known.get("", 0.0))
