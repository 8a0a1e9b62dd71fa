"""Try to break Farthing on both engines, and say what happened.

make proof SEED=7 ROUNDS=200
python -m scripts.proof --engine sqlite --only F14 --minutes 8 --sum proof.json
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

from scripts.proof import supervisor, tally
from scripts.proof.faults import FAULTS

ENGINES = ("sqlite", "postgresql")


def main() -> int:
    """Run what the arguments ask for; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m scripts.proof", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", choices=(*ENGINES, "both"), default="both")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60, help="faults and pairs of faults, on each engine")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long, on each engine")
    parser.add_argument("--only", action="append", default=[], metavar="ROW", help="such as F14, or words of a name")
    parser.add_argument("--sum", type=Path, help="add the results to this file, and print the table of all of them")
    parser.add_argument("--keep", type=Path, help="keep the files of a site where something was found")
    parser.add_argument("--list", action="store_true", help="print the table of faults")
    options = parser.parse_args()
    if options.list:
        for fault in FAULTS:
            print(f"{fault.row:4} {'+'.join(fault.engines):18} {fault.name}")
        return 0
    known: dict[str, tally.Tally] = {}
    broken = False
    for engine in ENGINES if options.engine == "both" else (options.engine,):
        with supervisor.server(engine) as server:
            found = asyncio.run(
                supervisor.run(
                    engine,
                    options.seed,
                    rounds=options.rounds,
                    say=lambda line: print(line, flush=True),
                    only=tuple(options.only),
                    until=time.monotonic() + 60 * options.minutes,
                    server=server,
                    keep=options.keep,
                )
            )
        broken = broken or found.broken
        if options.sum:
            known = tally.load(options.sum)  # another run may have added to it meanwhile
        if engine in known:
            known[engine].add(found)
        else:
            known[engine] = found
        if options.sum:
            tally.save(options.sum, known.values())
    print(tally.table(known.values()))
    for engine, found in known.items():
        for row, reason in found.skipped.items():
            print(f"{engine}: {row} was not tried: {reason}")
        for problem in found.problems:
            print(f"{engine}: {problem[:300]}")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
