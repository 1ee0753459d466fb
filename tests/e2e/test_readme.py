"""The README's first program, run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_first_program_of_the_readme_prints_what_the_readme_says(tmp_path: Path) -> None:
    text = README.read_text()
    program = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert program is not None
    (tmp_path / "first.py").write_text(program[1])
    run = subprocess.run([sys.executable, "first.py"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert f"$ python first.py\n{run.stdout}" in text
    listed = subprocess.run(
        [sys.executable, "-m", "duroctl", "--store", "sqlite:///duro.db", "instances", "list", "-o", "ids"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert listed.returncode == 0, listed.stderr
    shown = subprocess.run(
        [sys.executable, "-m", "duroctl", "--store", "sqlite:///duro.db", "history", "show", listed.stdout.strip()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr
    assert "OrchestrationCompleted" in shown.stdout
