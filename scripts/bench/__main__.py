"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from pathlib import Path

from scripts.bench import instructions, interference, ledger, report
from scripts.bench.contestants import Contestant, Farthing, Floor, Lab, Nginx
from scripts.bench.machine import LOAD_CORE, describe, pin, raise_open_files
from scripts.bench.peers import LiteLLM
from scripts.bench.scenarios import SCENARIOS, Sample, held, measure, open_loop

RESULTS = Path("bench-results")
WHAT = ("gateways", "ledger", "interference", "instructions")
CONTESTANTS: dict[str, Contestant] = {
    "direct": Contestant(),
    "nginx": Nginx(),
    "floor": Floor(),
    "farthing": Farthing(),
    "farthing-aiohttp": Farthing("aiohttp"),
    "litellm": LiteLLM(),
}


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="?", default="gateways", choices=WHAT)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--seconds", type=int, default=2, help="length of one measurement (default 2)")
    parser.add_argument("--against", metavar="COMMIT", help="instructions: a commit to count beside this tree")
    parser.add_argument("--heard", action="store_true", help="instructions: beside a key that a hook listens to")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"gateways: {', '.join(CONTESTANTS)}")
    parser.add_argument("--scenarios", nargs="+", metavar="NAME", help=f"{', '.join(SCENARIOS)}, added, held")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory of the JSON file (default bench-results)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and whoever was started ends with it
    raise_open_files()
    if options.what == "ledger":
        rows = ledger.measure(rounds=options.rounds, seconds=options.seconds)
        title, columns = ledger.TITLE, ledger.COLUMNS
        notes: list[str] = []
    elif options.what == "interference":
        rows = interference.measure(rounds=options.rounds, seconds=options.seconds)
        title, columns, notes = interference.TITLE, interference.COLUMNS, []
    elif options.what == "instructions":
        with tempfile.TemporaryDirectory(prefix="farthing-bench-") as directory:
            rows, notes = instructions.measure(
                rounds=options.rounds, against=options.against, heard=options.heard, directory=Path(directory)
            )
        title, columns = instructions.TITLE, instructions.COLUMNS
    else:
        unknown = set(options.only or ()) - CONTESTANTS.keys()
        unknown |= set(options.scenarios or ()) - {*SCENARIOS, "added", "held"}
        if unknown:
            parser.error(f"unknown: {', '.join(sorted(unknown))}")
        samples, notes = _gateways(options)
        rows, title, columns = report.summarise(samples), report.TITLE, report.COLUMNS
    machine = describe()
    path = report.save(options.out, options.what, machine, rows, notes)
    print(report.render(title, columns, rows, machine, notes, markdown=options.markdown))
    print(f"\nwritten to {path}")


def _gateways(options: argparse.Namespace) -> tuple[list[Sample], list[str]]:
    """Start each contestant in turn, round by round, and measure it."""
    names = options.only or list(CONTESTANTS)
    wanted = set(options.scenarios or (*SCENARIOS, "added", "held"))
    notes: list[str] = []
    samples: list[Sample] = []
    pin(LOAD_CORE)  # this process drives the load
    with tempfile.TemporaryDirectory(prefix="farthing-bench-") as directory, Lab(Path(directory), CONTESTANTS) as lab:
        for name in list(names):
            if (missing := CONTESTANTS[name].missing()) is not None:
                notes.append(f"{name}: {missing}; skipped")
                names = [other for other in names if other != name]
        if lab.note:
            notes.append(lab.note)
        for turn in range(options.rounds):
            order = random.Random(turn).sample(names, len(names))
            for name in order:
                with lab.started(name) as gateway:
                    for scenario in SCENARIOS:
                        if scenario in wanted:
                            samples += measure(name, gateway, SCENARIOS[scenario], options.seconds, turn)
                    if "added" in wanted:
                        samples += open_loop(name, gateway, options.seconds + 1, turn)
                notes += [f"{name}, round {turn + 1}: {note}" for note in gateway.notes]
                print(f"round {turn + 1}/{options.rounds}: {name}", flush=True)
        if "held" in wanted:
            for name in names:
                if name != "direct" and CONTESTANTS[name].holds:
                    with lab.started(name) as gateway:
                        samples += held(name, gateway)
                    print(f"held streams: {name}", flush=True)
    return samples, notes


if __name__ == "__main__":
    main()
