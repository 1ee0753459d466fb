"""Run the workloads, all contenders in turn, round by round: ``python -m benchmarks.run``. See ``make bench``."""

import argparse
import compileall
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Figures, put_into, report, shown, value
from benchmarks.workloads import WORKLOADS, Contender, Workload

HERE = Path(__file__).parent
PEERS_PYTHON = HERE / ".peers" / "bin" / "python"
TIMEOUT_S = 180.0


def command(workload: Workload, contender: Contender, directory: str) -> list[str]:
    arguments = [workload.program_workload, contender.setting, str(workload.sizes[contender]), directory]
    if contender.system in ("duro", "limit"):
        return [sys.executable, "-m", f"benchmarks.programs.{contender.system}_program", *arguments]
    return [str(PEERS_PYTHON), str(HERE / "programs" / f"{contender.system}_program.py"), *arguments]


def compile_ours() -> None:
    """What pip does with the peers: no measurement then pays for the compiling of modules that changed."""
    for part in ("runtime", "benchmarks"):
        compileall.compile_dir(HERE.parent / part, quiet=2)


def measure(workload: Workload, contender: Contender) -> Figures | None:
    """What the program says in a process of its own; None if it fails or hangs."""
    with tempfile.TemporaryDirectory(prefix="duro-bench-") as directory:
        began_s = time.monotonic()
        try:
            done = subprocess.run(
                command(workload, contender, directory),
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                cwd=HERE.parent,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
    said = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not said:
        print(done.stderr[-1000:], file=sys.stderr)
        return None
    figures: dict[str, float] = json.loads(said[-1])
    if "done_at_s" in figures:
        figures["first_ms"] = 1000 * (figures.pop("done_at_s") - began_s)
    return figures


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    try:
        model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        cpu = model[0].partition(":")[2].strip() if model else cpu
    except OSError:
        pass
    versions = ", ".join([f"CPython {platform.python_version()}", *_versions()])
    today = datetime.datetime.fromtimestamp(time.time(), datetime.UTC).date()  # noqa: TID251 - the day of the run
    return f"{today}, {os.cpu_count()} cores ({cpu}), {platform.system()}, {versions}."


def _versions() -> list[str]:
    asked = "import sys, importlib.metadata as m, json;print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    found = [(sys.executable, ("duroctl", "apsw")), (str(PEERS_PYTHON), ("duroxide", "dbos"))]
    versions = []
    for python, names in found:
        if Path(python).exists():
            said = subprocess.run([python, "-c", asked, *names], capture_output=True, text=True, check=True)
            versions += [f"{name} {version}" for name, version in json.loads(said.stdout).items()]
    return versions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="workload keys, such as W1,W4 (all)")
    parser.add_argument("--systems", default="", help="duro,limit,duroxide,dbos (all)")
    parser.add_argument("--write", type=Path, help="put the tables into this document")
    asked = parser.parse_args()
    compile_ours()
    only, systems = _words(asked.only), _words(asked.systems)
    workloads = [one for one in WORKLOADS if not only or one.key in only]
    results: dict[tuple[str, Contender], list[Figures | None]] = {}
    for number in range(1, asked.rounds + 1):
        for workload in workloads:
            for contender in workload.sizes:
                if systems and contender.system not in systems:
                    continue
                figures = measure(workload, contender)
                results.setdefault((workload.key, contender), []).append(figures)
                said = "no result" if figures is None else f"{shown(value(workload, figures))} {workload.unit}"
                print(f"round {number}  {workload.key:4} {contender.label:20} {said}", flush=True)
    text = report(workloads, results, machine())
    print("\n" + text)
    if asked.write:
        asked.write.write_text(put_into(asked.write.read_text(), text))
        kept = [{"workload": key, **each._asdict(), "rounds": rounds} for (key, each), rounds in results.items()]
        (HERE / "results.json").write_text(json.dumps(kept, indent=1) + "\n")


def _words(text: str) -> set[str]:
    return {word for word in text.split(",") if word}


if __name__ == "__main__":
    main()
