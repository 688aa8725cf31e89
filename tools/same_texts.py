"""How many problems two arms of a comparison answered with the very same text.

``python tools/same_texts.py RUN.db``: the first two cells of the run, one line of JSON.
"""

from __future__ import annotations

import json
import sys

from thence.stores.sqlite import RunView


def main() -> int:
    """Print the counts; returns the exit code."""
    with RunView(sys.argv[1]) as view:
        first, second = view.cells()[:2]
        both = sorted(view.results(first).keys() & view.results(second).keys())
        texts = [[[n["text"] for n in view.tree(cell, p)] for cell in (first, second)] for p in both]
    same = sum(a == b for a, b in texts)
    print(json.dumps({"arms": [first.arm, second.arm], "problems": len(both), "same": same, "share": same / len(both)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
