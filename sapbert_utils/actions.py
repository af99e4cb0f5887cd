"""What each command does once ``__main__`` has parsed it."""

import argparse
import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sapbert_utils.course.notebooks import (
    Refused,
    choose,
    combinations,
    convert,
    find_notebooks,
    listing,
    metrics_table,
    parse_assignments,
    read_results,
)
from sapbert_utils.course.profiles import PROFILES, Profile, get_profile
from sapbert_utils.course.running import run_all, run_grid
from sapbert_utils.files import whole_file

Options = argparse.Namespace


def say(text: str) -> None:
    """Print a text at once, without a line end."""
    sys.stdout.write(text)
    sys.stdout.flush()


@contextmanager
def refusing() -> Iterator[None]:
    """Turn the library's errors about bad input into refusals."""
    try:
        yield
    except (ValueError, LookupError) as error:
        raise Refused(str(error)) from None
    except OSError as error:
        raise Refused(in_words(error)) from None


def in_words(error: OSError) -> str:
    """Add what to do to an error of the system, which says only what is wrong."""
    if error.errno == errno.ENOSPC:
        place = error.filename or "the disk"
        return f"{place}: no space is left; free some and run again (finished work is kept)"
    if error.filename:
        return f"{error.filename}: {error.strerror}; check the path and your permissions"
    return str(error)


def profile_of(options: Options) -> Profile:
    with refusing():
        return get_profile(options.profile)


def reproduce(options: Options) -> None:
    notebooks, profile = find_notebooks(options.notebooks), profile_of(options)
    parameters = convert(notebooks, parse_assignments(options.parameters))
    run_all(notebooks, parameters, profile, options.force, say)
    table = f"{metrics_table(read_results(notebooks, profile))}\n"
    with whole_file(profile.folder / "metrics.txt") as partial:
        partial.write_text(table, encoding="utf-8")
    say(f"\n{table}")


def run(options: Options) -> None:
    notebook = choose(find_notebooks(options.notebooks), options.notebook)
    profile, given = profile_of(options), parse_assignments(options.parameters)
    if options.grid:
        chosen = combinations(parse_assignments(options.grid))
        parameters = [convert([notebook], given | values)[0] for values in chosen]
        table = run_grid(notebook, parameters, profile, say)
        say(f"\n{table.read_text(encoding='utf-8')}\n{table}\n")
    else:
        run_all([notebook], convert([notebook], given), profile, True, say)
        say(f"\n{metrics_table(read_results([notebook], profile))}\n")


def list_notebooks(options: Options) -> None:
    profiles = [get_profile(name) for name in PROFILES]
    say(f"{listing(find_notebooks(options.notebooks), profiles)}\n")


def link(options: Options) -> None:
    from sapbert_utils.linking import Linker, check_csv, link_csv

    suffix = ".jsonl" if options.json else ".csv"
    target = options.output or options.csv.with_suffix(f".linked{suffix}")
    if target.resolve() == options.csv.resolve():
        raise Refused(f"{target} is the file of mentions itself: name another file with --output")
    if target.is_dir():  # say so before the linker is loaded
        raise Refused(f"{target} is a folder: name a file with --output")
    if options.json != (target.suffix == ".jsonl"):
        raise Refused(f"{target} does not end in {suffix}: name such a file with --output, or "
                      f"{'leave --json out' if options.json else 'add --json'}")
    if options.linker and (options.model or options.languages):
        raise Refused("--linker has its own model and names: leave out --model and --languages")
    if options.linker and not options.linker.is_dir():
        raise Refused(f"no linker in {options.linker}: run notebook 07, name a folder that "
                      "Linker.save wrote, or leave out --linker")
    sources, languages, types = (listed(text) for text in (
        options.sources, options.languages or "ENG", options.semantic_type))
    form = {"encoding": options.encoding, "context": options.context}
    with refusing():
        check_csv(options.csv, options.column, options.k, options.threshold, **form)
        if options.linker:
            linker = Linker.load(options.linker)
        else:
            languages = [] if languages == ["all"] else languages
            linker = Linker.open(options.model, sources, languages, "names (once)")
            sources = []  # the linker has only these
        only = linker.part(sources, types) if sources or types else None
        rows = link_csv(linker, options.csv, target, options.column, options.k, options.threshold,
                        only, **form)
    say(f"{rows:,} rows linked: {target}\n")


def listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def release(options: Options) -> None:
    from sapbert_utils.releasing import train_released

    with refusing():
        folder = train_released(options.name, options.output, say,
                                **parse_assignments(options.parameters))
    say(f"{folder}\n")


def measure_claims(options: Options) -> None:
    from sapbert_utils.claims import run_claims

    seeds = listed(options.seeds)
    if not seeds or not all(seed.isdigit() for seed in seeds):
        raise Refused(f"--seeds {options.seeds!r}: give whole numbers, such as 1,2,3")
    with refusing():
        run_claims(profile_of(options), say, options.only, [int(seed) for seed in seeds],
                   options.again)


def report(options: Options) -> None:
    from sapbert_utils.claims.report import write_report

    with refusing():
        for path in write_report(profile_of(options)):
            say(f"{path}\n")


def fetch(options: Options) -> None:
    from sapbert_utils.evaluation.corpora import fetch_corpus

    with refusing():
        say(f"{fetch_corpus(options.corpus)}\n")


def publish_run(options: Options) -> None:
    from sapbert_utils.course.publishing import publish

    notebooks = find_notebooks(options.notebooks)
    for path in publish(notebooks, get_profile("demo"), options.figures, say):
        say(f"{path}\n")
