"""Kill an evaluation at random moments, resume it each time, and compare with an uninterrupted run.

``python tools/kill_resume.py --kills 10``: prints when each kill came, and the two final tables. Exit code 0 when they
are equal in everything that does not measure time or the machine (spent tokens, seconds, file names).
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MEASURED = ("seconds", "seconds_per_problem", "spent", "run")


def command(run: Path, limit: int, strategy: str, extra: list[str]) -> list[str]:
    """One evaluation as a command."""
    return [
        *(sys.executable, "-m", "thence", "eval", "wordproblems", "--limit", str(limit), "--strategy", strategy),
        *("--run", str(run), "--json", "--quiet", *extra),
    ]


def finished(run: Path) -> int:
    """Samples in the run file, read while it is being written."""
    from thence.core.errors import ThenceError
    from thence.stores.sqlite import RunView

    try:
        with RunView(run) as view:
            return view.sample_count()
    except (ThenceError, AttributeError):
        return 0


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--strategy", default="self-consistency(n=16)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options, extra = parser.parse_known_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole.db", Path(folder) / "broken.db"
        expected = json.loads(subprocess.check_output(command(whole, options.limit, options.strategy, extra)))
        total, killed = finished(whole), 0
        targets = sorted(moments.randrange(1, total) for _ in range(options.kills))
        for target in targets:
            child = subprocess.Popen(command(broken, options.limit, options.strategy, extra), stdout=subprocess.DEVNULL)
            while child.poll() is None and finished(broken) < target:
                time.sleep(0.02)
            time.sleep(moments.random() * 0.2)
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
                killed += 1
            child.wait()
            print(f"killed with {finished(broken)} of {total} samples on disk", file=sys.stderr)
        resumed = json.loads(subprocess.check_output(command(broken, options.limit, options.strategy, extra)))
        stored = finished(broken)
    for report in (expected, resumed):
        for name in MEASURED:
            report.pop(name, None)
    same = expected == resumed and stored == total
    print(json.dumps({"kills": killed, "same": same, "samples": [total, stored], "charged": expected["charged"]}))
    if not same:
        print(json.dumps({"expected": expected, "resumed": resumed}))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
