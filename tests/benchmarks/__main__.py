"""Measure: `python -m tests.benchmarks --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.benchmarks.cases import CASES, CLIENTS, scaled
from tests.benchmarks.report import show_case, show_goals
from tests.benchmarks.results import FILE, Results, describe_machine
from tests.benchmarks.rounds import Bench, why_missing


def main(words: list[str]) -> None:
    options = _parse(words)
    results = Results.load(options.output) if options.show else _run(options)
    if options.show:
        for key in results.cases:
            print(show_case(results, key))
    print("\n" + show_goals(results))


def _run(options: argparse.Namespace) -> Results:
    cases = [case for case in CASES if not options.case or case.key in options.case]
    clients = []
    for name in options.client or CLIENTS:
        if why := why_missing(name):
            print(f"{why}: left out")
        else:
            clients.append(name)
    resumed = options.resume and options.output.exists()
    results = Results.load(options.output) if resumed else Results()
    with Bench(clients, options.server, lambda line: print(line, flush=True)) as bench:
        results.machine = describe_machine(bench.server_version, options.rounds)
        for case in cases:
            if resumed and case.key in results.cases:
                continue
            case = scaled(case, options.scale)
            results.add(case, bench.run(case, options.rounds))
            results.save(options.output)
            print(show_case(results, case.key), flush=True)
    return results


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure objstore beside its peers, in alternating rounds on one server.",
    )
    keys = [case.key for case in CASES]
    parser.add_argument(
        "case", nargs="*", help=f"what to measure; everything if empty: {', '.join(keys)}"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of every client (%(default)s)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="multiply sizes and counts (%(default)s)"
    )
    parser.add_argument(
        "--client", action="append", choices=CLIENTS, help="only this one; may be repeated"
    )
    parser.add_argument("--server", help="the nats-server program")
    parser.add_argument(
        "--output", type=Path, default=FILE, help="where the results go (%(default)s)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="measure only what is not in the output yet"
    )
    parser.add_argument("--show", action="store_true", help="show the output, measure nothing")
    options = parser.parse_args(words)
    for key in options.case:
        if key not in keys:
            parser.error(f"no case {key!r}; there are {', '.join(keys)}")
    return options


if __name__ == "__main__":
    main(sys.argv[1:])
