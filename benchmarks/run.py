"""Times whole commands, searches and proofs, in one run on one machine: `python benchmarks/run.py [--json FILE]`.

Every command is run several times after a warm-up; the median and the ratio to an empty Python process of the same run
are printed. Searches and proofs are timed inside this process, without start-up.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = (
    "list",
    "nop-then-back --use-case livepatch",
    "careful-call-to-call",
    "careful-call-to-call --proof off",
    "text-poke-batch",
    "prove careful-call-to-call",
    "explain careful-call-to-call",
    "catalogue",
)
SEARCHES = (
    ("careful-call-to-call", 1, 1),
    ("careful-call-to-call", 2, 1),
    ("careful-call-to-call", 2, 2),
    ("careful-call-to-call", 3, 1),
    ("text-poke-batch", 2, 2),
    ("text-poke-batch", 3, 1),
)


def seconds(command: list[str], runs: int) -> list[float]:
    """Wall-clock seconds of each of `runs` runs, after one that does not count."""
    taken = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        taken.append(time.perf_counter() - began)
    return taken[1:]


def search(name: str, cpus: int, sites: int, runs: int) -> dict[str, object]:
    """One search, the median of `runs`: states, transitions, seconds, transitions per second."""
    from checker.search.python import explore
    from models.compose import compose
    from models.library import load
    from models.scenario import Scenario

    taken = []
    for _ in range(runs):
        model = compose(load(name), Scenario(cpus=cpus, sites=sites))
        began = time.perf_counter()
        outcome = explore(model.system).outcome
        taken.append(time.perf_counter() - began)
    middle = statistics.median(taken)
    return {
        "strategy": name,
        "cpus": cpus,
        "sites": sites,
        "states": outcome.states,
        "transitions": outcome.transitions,
        "seconds": round(middle, 4),
        "transitions_per_second": round(outcome.transitions / middle),
    }


def proof(name: str, runs: int) -> dict[str, object]:
    """One proof, for any number of CPUs, from a model of 2 and of 64: medians of the seconds, lemmas, conditions."""
    from checker.proving import prove_model
    from models.compose import compose
    from models.library import load
    from models.scenario import Scenario

    taken: dict[int, list[float]] = {2: [], 64: []}
    for cpus in taken:
        for _ in range(runs):
            proving = prove_model(compose(load(name), Scenario(cpus=cpus)))
            taken[cpus].append(proving.seconds)
    found = proving.tried.proof if proving.tried else None
    return {
        "strategy": name,
        "lemmas": len(found.invariant.lemmas) if found else 0,
        "invariant": found.invariant.origin if found else "",
        "progress": found is not None and found.ranking is not None,
        "conditions": len(found.obligations) if found else 0,
        "seconds": {cpus: round(statistics.median(values), 4) for cpus, values in taken.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    program = str(Path(sys.executable).parent / "check-strategy")
    program = program if Path(program).exists() else shutil.which("check-strategy") or "check-strategy"
    empty = statistics.median(seconds([sys.executable, "-c", "pass"], options.runs))
    print(f"{'command':40} {'median s':>9} {'min':>7} {'max':>7} {'× empty python':>15}")
    print(f"{'python -c pass':40} {empty:9.3f}")
    commands = []
    for command in COMMANDS:
        taken = seconds([program, *command.split()], 2 if command == "catalogue" else options.runs)
        middle = statistics.median(taken)
        print(f"{command:40} {middle:9.3f} {min(taken):7.3f} {max(taken):7.3f} {middle / empty:15.1f}")
        commands.append({"command": command, "seconds": taken, "ratio": middle / empty})
    print(
        f"\n{'search (Python engine)':30} {'CPUs':>4} {'sites':>5} {'states':>9} {'transitions':>12} {'s':>7} {'trans/s':>10}"
    )
    searches = []
    for name, cpus, sites in SEARCHES:
        row = search(name, cpus, sites, options.runs)
        searches.append(row)
        print(
            f"{name:30} {cpus:4} {sites:5} {row['states']:9,} {row['transitions']:12,} {row['seconds']:7.3f} "
            f"{row['transitions_per_second']:10,}"
        )
    from models.library import shipped

    print(f"\n{'proof':34} {'lemmas':>6} {'':8} {'conditions':>10} {'progress':>8} {'s, 2 CPUs':>9} {'64 CPUs':>8}")
    proofs = []
    for name in shipped():
        made = proof(name, options.runs)
        proofs.append(made)
        print(
            f"{name:34} {made['lemmas']:6} {made['invariant']:8} {made['conditions']:10} "
            f"{'yes' if made['progress'] else 'no':>8} {made['seconds'][2]:9.2f} {made['seconds'][64]:8.2f}"  # type: ignore[index]
        )
    print(f"{'all':34} {'':6} {'':8} {'':10} {'':8} {sum(p['seconds'][2] for p in proofs):9.2f}")  # type: ignore[index]
    if options.json:
        values = {"empty_python": empty, "commands": commands, "searches": searches, "proofs": proofs}
        Path(options.json).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
