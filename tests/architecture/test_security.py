"""What must not be in the code, and what must not come out of it: code from data, SQL from data, files that others can
read, secrets of a store's URL, a connection that crosses ``fork()``."""

import ast
import inspect
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

import duro
from duro.errors import DuroError, StoreForkedError
from duro.stores.base import Store
from duro.stores.sqlite import SqliteStore
from tests.support.command_lines import ENDLESS, commands, run, workplace
from tests.support.fuzz_stores import opened

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = sorted([*(ROOT / "runtime").rglob("*.py"), *(ROOT / "duroctl").rglob("*.py")])

# --- what must not be in the code ----------------------------------------------------------------------------

MODULES: Final = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "yaml", "code", "codeop", "pty"}
NAMES: Final = {"eval", "exec", "compile", "__import__"}
CALLS: Final = re.compile(
    r"os\.(system|popen|exec\w*|spawn\w*)|tempfile\.mktemp|\w+\.(unsafe_load|getoutput|getstatusoutput)"
)


def code_from_data(source: str) -> list[str]:
    """Whatever could run what a file or a user says, or load objects from bytes."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [name.name for name in names if name.name.partition(".")[0] in MODULES]
            case ast.ImportFrom(module=str(module), names=names):
                found += [module] if module.partition(".")[0] in MODULES else []
                dotted = [f"{module}.{name.name}" for name in names]
                found += [each for each in dotted if CALLS.fullmatch(each) or each.startswith("builtins.")]
            case ast.Name(id=name) if name in NAMES:
                found.append(name)
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                dotted_name = f"{owner}.{name}"
                if CALLS.fullmatch(dotted_name) or (owner == "builtins" and name in NAMES):
                    found.append(dotted_name)
            case ast.keyword(arg="shell", value=value) if not (isinstance(value, ast.Constant) and not value.value):
                found.append("shell=")
    return found


@pytest.mark.parametrize(
    "planted",
    [
        *("import pickle", "import marshal as m", "from shelve import open", "import yaml", "from os import system"),
        *("eval(x)", "exec('1')", "compile(x, '', 'eval')", "run = eval", "__import__(x)", "builtins.exec(x)"),
        *("os.system(x)", "os.popen(x)", "os.execvp(x, y)", "tempfile.mktemp()", "from tempfile import mktemp"),
        *("subprocess.run(x, shell=True)", "subprocess.run(x, shell=flag)", "subprocess.getoutput(x)"),
    ],
)
def test_code_that_runs_or_loads_what_data_says_would_be_found(planted: str) -> None:
    assert code_from_data(planted)


def test_code_that_only_looks_like_it_is_left_alone() -> None:
    for harmless in ("re.compile(x)", "self.exec(x)", "subprocess.run(x, shell=False)", "tempfile.mkstemp()"):
        assert code_from_data(harmless) == []


def test_nothing_runs_code_or_loads_objects_from_data() -> None:
    assert len(SOURCES) > 150
    assert {path.name: found for path in SOURCES if (found := code_from_data(path.read_text(encoding="utf-8")))} == {}


IMPORTS_BY_NAME: Final = {
    *("duroctl/app.py", "duroctl/importing.py", "runtime/duro/__init__.py", "runtime/duro/stores/sqlite/late.py"),
}


def test_only_what_must_imports_modules_by_a_name_that_is_not_in_the_code() -> None:
    """Commands by the table of commands, the user's registry, what ``duro`` exports, what is seldom needed."""
    found = {str(path.relative_to(ROOT)) for path in SOURCES if "import_module(" in path.read_text(encoding="utf-8")}
    assert found <= IMPORTS_BY_NAME


STARTS: Final = re.compile(r"\b(subprocess|multiprocessing|ProcessPoolExecutor|posix_spawnp?|create_subprocess_\w+)\b")


def test_no_process_is_started_but_the_editor_that_the_user_named() -> None:
    """Whoever started one could put a secret on its command line (``tests/e2e/test_process_list.py``)."""
    for planted in ("import subprocess", "from concurrent.futures import ProcessPoolExecutor", "os.posix_spawn(x)"):
        assert STARTS.search(planted)
    found = {str(path.relative_to(ROOT)) for path in SOURCES if STARTS.search(path.read_text(encoding="utf-8"))}
    assert found == {"duroctl/policy_files.py"}


def made_into_sql(source: str) -> list[str]:
    """Calls of ``execute`` whose statement is put together where it is called."""
    return [
        ast.unparse(node.args[0])
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("execute", "executemany", "executescript", "query")
        and node.args
        and isinstance(node.args[0], ast.JoinedStr | ast.BinOp | ast.Call)
    ]


MADE_AND_MEANT: Final = {
    "checking.py": ["sql.counted(check)"],  # of a check of the program's
    "texts.py": ["as_bytes(statement, 2)", "as_bytes(statement, columns)"],  # around one of the program's
    "space.py": ["sql.INCREMENTAL_VACUUM.format(pages=int(pages_max))"],  # a pragma takes no parameter
}


def test_no_statement_is_put_together_where_it_is_executed() -> None:
    for planted in ("f'SELECT {x}'", "'A' + x", "'%s' % x", "'{}'.format(x)"):
        assert made_into_sql(f"c.execute({planted})")
    made = {path.name: found for path in SOURCES if (found := made_into_sql(path.read_text(encoding="utf-8")))}
    assert made == MADE_AND_MEANT


def test_statements_are_constants_of_modules_without_functions_that_take_a_value() -> None:
    for path in sorted((ROOT / "runtime/duro/stores/sqlite").glob("sql*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        functions = [node.name for node in nodes if isinstance(node, ast.FunctionDef)]
        assert [name for name in functions if not name.startswith("_") and name != "counted"] == [], path.name


# --- hostile text is data ------------------------------------------------------------------------------------

HOSTILE: Final = (
    *("'; DROP TABLE instances; --", '" OR 1=1 --', "a' UNION SELECT * FROM store --", "%", "_", "*", "?1", ":x", "@x"),
    *(
        "../../etc/passwd",
        "..",
        "/",
        "a/1",
        "-",
        "--all",
        "$(touch pwned)",
        "`touch pwned`",
        "a;touch pwned",
        "|touch pwned",
    ),
    *("\x1b[2J\x1b]0;pwned\x07", "\u202egnp.exe", "line\nbreak", "\r", "\t", "\ufeff", "<script>alert(1)</script>"),
    *('{"a":1}', '"', "\\", "%s%n", "{0.__class__}", "{{7*7}}", "null", "0", "é", "=cmd|' /C calc'!A0"),
)


def test_hostile_ids_names_and_payloads_are_stored_listed_and_exported_as_they_are() -> None:
    with workplace() as directory:
        with closing(duro.Client(directory / "hostile.db")) as client:
            for text in HOSTILE:
                payload = {text: [text]}
                client.start_orchestration(text, payload, instance_id=text, version=text, allow_unregistered=True)
                client.raise_event(text, text, payload)
                client.add_hold(text, reason=f"why {text}", by=text)
                client.add_hold(name=text, version=text, reason="why")
            assert {each.instance_id for each in client.list_instances(limit=0).instances} == set(HOSTILE)
            for text in HOSTILE:
                found = client.get_instance(text)
                assert (found.instance_id, found.name) == (text, text)
                assert client.list_instances(duro.InstanceFilter(name=text)).instances == (found,)
                assert client.complete_instance_ids(text)[0] == text
                assert client.read_history(text).input is not None
            assert [each for each in client.checkup(deep=True) if each.count and each.severity == "error"] == []
        before = {path.relative_to(directory) for path in directory.rglob("*")}
        store = ("--store", "sqlite:///hostile.db")
        for chosen in ("table", "json", "jsonl", "csv", "ids"):
            listed = run(("instances", "list", "--limit", "0", "-o", chosen, *store))
            assert (listed.code, listed.err) == (0, "")
            assert chosen == "csv" or not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", listed.out)
        ids = run(("instances", "list", "--limit", "0", "-o", "ids", *store)).out
        ended = run(("instances", "terminate", "-", "--yes", "--reason", HOSTILE[0], *store), ids.encode())
        assert (ended.code, ended.err) == (0, "")
        assert run(("export", "--to", "export.db", *store)).code == 0
        made = {path.relative_to(directory) for path in directory.rglob("*")} - before
        assert made - {Path("hostile.db-wal"), Path("hostile.db-shm")} == {Path("export.db")}
        with closing(duro.Client(directory / "hostile.db")) as client:
            assert {each.status for each in client.list_instances(limit=0).instances} == {
                duro.InstanceStatus.TERMINATED
            }


# --- files ---------------------------------------------------------------------------------------------------


def test_what_holds_inputs_results_or_ids_is_its_owners_only_whatever_the_umask() -> None:
    before = os.umask(0)
    try:
        with workplace() as directory:
            lines: tuple[tuple[str, ...], ...] = (
                ("prune", "--all", "--keep-last", "1", "--plan-out", "prune-plan.json"),
                ("instances", "purge", "--all", "--keep-last", "1", "--plan-out", "purge-plan.json"),
                ("orphans", "cleanup", "--all", "--min-age", "0s", "--plan-out", "orphans-plan.json"),
                ("backup", "backup.db"),
                ("export", "--to", "export.db"),
                ("init", "made.db"),
            )
            (directory / "duro.db").chmod(0o600)
            there = set(directory.iterdir())
            for line in lines:
                assert run(line).code == 0, line
            with closing(opened(directory / "made.db")) as store:
                store.keep_reserve()
                made = {path.name: stat.S_IMODE(path.stat().st_mode) for path in set(directory.iterdir()) - there}
        assert set(made) >= {line[-1] for line in lines} | {"made.db-wal", "made.db-shm", "made.db-reserve"}
        assert {name: oct(mode) for name, mode in made.items() if mode != 0o600} == {}
    finally:
        os.umask(before)


# --- secrets -------------------------------------------------------------------------------------------------

SECRET: Final = "s3cr3t"
URLS: Final = (
    f"postgresql://user:{SECRET}@host/db",
    f"postgresql://host/db?user=me&password={SECRET}",
    f"sqlite://user:{SECRET}@host/db",
    f"mysql:user:{SECRET}@host",
)


@pytest.mark.parametrize("path", sorted(path for path in commands() if path not in ENDLESS), ids=" ".join)
def test_no_command_shows_the_secret_of_a_store_url(path: tuple[str, ...]) -> None:
    arguments: dict[str, tuple[str, ...]] = {
        "export": ("--to", "x"),
        "backup": ("x",),
        "raise": ("a", "b"),
        "start": ("a",),
    }
    needed = arguments.get(path[0], () if path[-1] in ("list", "purge", "prune", "cleanup") else ("loop-1",))
    with workplace() as directory:
        for url in URLS:
            (directory / "runtime_config.toml").write_text(f"[store]\nurl = '{url}'\n")
            for line in ((*path, *needed, "-v"), (*path, *needed, "-v", "--store", url, "-o", "json")):
                ran = run(line)
                assert SECRET not in ran.out + ran.err, (line, ran)
        (directory / "runtime_config.toml").write_text(
            f"[store]\nurl = ['{URLS[0]}']\n[pruning]\ntriggers = '{URLS[0]}'\n"
        )
        assert SECRET not in "".join(map(str, run((*path, *needed, "-v"))))


@pytest.mark.parametrize("url", URLS)
def test_no_error_or_log_of_the_library_shows_the_secret_of_a_store_url(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "runtime_config.toml").write_text(f"[store]\nurl = '{url}'\n")
    registry = duro.Registry()
    for make in (
        lambda: duro.Client(url),
        lambda: duro.open_store(url, create=False),
        lambda: duro.Runtime(url, registry).start(),
        lambda: duro.Runtime(None, registry, config=tmp_path / "runtime_config.toml").start(),
    ):
        with pytest.raises(DuroError) as caught:
            make()
        assert SECRET not in f"{caught.value} {caught.value!r}"
    assert SECRET not in caplog.text


# --- fork() --------------------------------------------------------------------------------------------------

OF_A_CHILD: Final = {"close", "open", "offer_lease", "withdraw_offer", "contended"}
"""What may be called: closing does nothing there, opening makes a store of its own, and the others only look at the
memory of their own process."""


def methods() -> Iterator[tuple[str, list[Any]]]:
    """Every method of a store, with an argument in the place of each that it needs."""
    for name, method in inspect.getmembers(SqliteStore, callable):
        if name.startswith("_") or name in OF_A_CHILD or not callable(getattr(Store, name, None)):
            continue
        parameters = list(inspect.signature(method).parameters.values())[1:]
        yield name, [each for each in parameters if each.default is inspect.Parameter.empty]


def refused_in_a_child(store: Store) -> list[str]:
    """The methods that do not refuse to run in a child of the process that opened the store."""
    allowed = []
    for name, needed in methods():
        keywords = {each.name: () for each in needed if each.kind is inspect.Parameter.KEYWORD_ONLY}
        positional = [() for each in needed if each.kind is not inspect.Parameter.KEYWORD_ONLY]
        try:
            answer = getattr(store, name)(*positional, **keywords)
            list(answer) if inspect.isgenerator(answer) else answer
            allowed.append(name)
        except StoreForkedError:
            continue
        except Exception as error:
            allowed.append(f"{name} ({type(error).__name__})")
    return allowed


def test_every_method_of_a_store_is_refused_after_a_fork(tmp_path: Path) -> None:
    store = opened(tmp_path / "duro.db")
    store.keep_reserve()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, " ".join(refused_in_a_child(store)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        allowed = told.read()
    os.waitpid(child, 0)
    assert allowed == ""
    assert len(list(methods())) > 40
    assert (tmp_path / "duro.db-reserve").exists(), "a child gave away what its parent keeps"
    assert "store_id" in refused_in_a_child(store), "in the process that opened it, it works"
    store.close()
