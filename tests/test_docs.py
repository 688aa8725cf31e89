"""The documentation is true: links, tables and commands, and the strategy that the README shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from thence import conformance
from thence.methods import from_file

ROOT = Path(__file__).parents[1]


def test_links_tables_and_commands():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "check_docs.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_strategy_of_the_readme_is_the_example_and_keeps_the_laws():
    (block,) = re.findall(r"```python\n(# two_tries\.py.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    example = (ROOT / "examples" / "two_tries.py").read_text()
    code = re.sub(r'"""[^"]*"""', "", block.split("\n", 1)[1])
    assert "".join(code.split()) in "".join(re.sub(r'"""[^"]*"""', "", example).split())
    conformance.check(from_file(f"{ROOT / 'examples' / 'two_tries.py'}:TwoTries"))
