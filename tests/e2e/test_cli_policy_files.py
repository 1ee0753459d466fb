"""duroctl policy set, unset, edit, simulate, show, check --strict: what they do to the file and what they say."""

import json
import os
import shutil
import stat
import time
from pathlib import Path

import pytest

import duro
from duro.stores.opening import open_store
from tests.e2e.cli_support import Cli

FILE = "runtime_config.toml"
TEXT = """\
# how long things stay
[store]
url = "sqlite:///duro.db"   # here

[pruning]
default_keep_last = 9       # nine lives

[pruning.overrides."Order"] # the orders
keep_last = 8
"""


@pytest.fixture
def configured(loops: Cli) -> Cli:
    """Two eternal instances in their tenth execution, and a file that prunes them at nine and eight."""
    (loops.directory / FILE).write_text(TEXT)
    (loops.directory / FILE).chmod(0o640)
    return loops


def text(cli: Cli) -> str:
    return (cli.directory / FILE).read_text()


def editor(cli: Cli, name: str, script: str) -> str:
    """An editor that does ``script`` (of sh); it logs its arguments."""
    path = cli.directory / name
    path.write_text(f'#!/bin/sh\necho "$@" >> {cli.directory}/editor.log\nfor last; do :; done\n{script}\n')
    path.chmod(0o755)
    return str(path)


def test_set_replaces_the_policy_of_a_name_and_leaves_everything_else_as_it_was(configured: Cli) -> None:
    done = configured("policy", "set", "Order", "--keep-last", "9", "--keep-within", "7d")
    assert (done.code, done.out) == (0, "")
    assert text(configured) == TEXT.replace("keep_last = 8\n", 'keep_last = 9\nkeep_within = "7d"\n')
    assert stat.S_IMODE((configured.directory / FILE).stat().st_mode) == 0o640
    assert "-keep_last = 8" in done.err
    assert '+keep_within = "7d"' in done.err
    assert "Order: 2 executions" in done.err
    assert sorted(os.listdir(configured.directory)) == sorted(  # noqa: PTH208
        {FILE, "home", "duro.db"} | {each.name for each in configured.directory.glob("duro.db-*")}
    )


def test_a_new_name_a_pattern_and_the_default_can_be_set(configured: Cli) -> None:
    assert configured("policy", "set", "monitor.*", "--never").code == 0
    assert text(configured) == TEXT + '\n[pruning.overrides."monitor.*"]\nnever = true\n'
    assert configured("policy", "set", "--default", "--keep-last", "10").code == 0
    assert "default_keep_last = 10       # nine lives" in text(configured)


def test_what_lets_more_go_needs_an_answer(configured: Cli) -> None:
    refused = configured("policy", "set", "Order", "--keep-last", "2")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        "duroctl: error: this lets 6 more executions go, and there is no terminal to ask on; pass --yes to do it\n"
    )
    assert text(configured) == TEXT
    accepted = configured.on_terminal("policy", "set", "Order", "--keep-last", "2", typed="y\n")
    assert (accepted.code, accepted.out.count("Order: 2 executions ("), accepted.out.count("+keep_last = 2")) == (
        0,
        1,
        1,
    )
    (configured.directory / FILE).write_text(TEXT)
    declined = configured.on_terminal("policy", "set", "Order", "--keep-last", "2", typed="n\n")
    assert declined.code == 4
    assert "Order: 2 executions (" in declined.out
    assert "8 executions (" in declined.out
    assert text(configured) == TEXT
    assert configured("policy", "set", "Order", "--keep-last", "2", "--yes").code == 0
    assert text(configured) == TEXT.replace("keep_last = 8", "keep_last = 2")


def test_a_dry_run_shows_the_change_and_makes_none(configured: Cli) -> None:
    done = configured("policy", "set", "Order", "--keep-last", "2", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert "+keep_last = 2" in done.lines
    assert text(configured) == TEXT


def test_what_a_change_says_in_vain_is_told(configured: Cli) -> None:
    done = configured("policy", "set", "Ordr", "--keep-last", "20")
    assert (done.code, done.err.count("no effect")) == (0, 1)
    assert "this has no effect: no orchestration is called 'Ordr'; did you mean 'Order'?" in done.err
    assert "no effect" not in configured("policy", "set", "Order", "--keep-last", "20", "--dry-run").err
    (configured.directory / FILE).write_text('[store]\nurl = "sqlite:///duro.db"\n[pruning]\nenabled = false\n')
    done = configured("policy", "set", "Order", "--keep-last", "20")
    assert "this has no effect: [pruning] enabled = false, so overrides say nothing" in done.err


def test_unset_removes_the_policy_and_asks_if_more_goes_then(configured: Cli) -> None:
    assert configured("policy", "unset", "Order").code == 0
    assert text(configured) == TEXT.partition("\n[pruning.overrides")[0]
    again = configured("policy", "unset", "Order")
    assert (again.code, again.err) == (0, f"duroctl: {FILE}: it has no policy for Order\n")


def test_saying_the_same_again_changes_nothing(configured: Cli) -> None:
    before = (configured.directory / FILE).stat()
    done = configured("policy", "set", "Order", "--keep-last", "8")
    assert (done.code, done.err) == (0, f"duroctl: {FILE}: it says so already\n")
    assert (configured.directory / FILE).stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("Order",), "which policy?; give --keep-last N"),
        (("--keep-last", "3"), "whose policy?"),
        (("Order", "--default", "--keep-last", "3"), "whose policy?"),
        (("Order", "--instance", "queue-1", "--keep-last", "3"), "whose policy?"),
        (("Order", "--keep-last", "3", "--never"), "--never does not go with rules"),
        (("Order", "--keep-last", "x"), "--keep-last must be a whole number of at least 1, not 'x'"),
        (("Order", "--keep-last", "0"), "--keep-last must be a whole number of at least 1, not '0'"),
        (("--instance", "queue-1", "--every", "0"), "--every must be a whole number of at least 1, not '0'"),
        (("Order", "--keep-within", "7"), "--keep-within '7'"),
        (("--default", "--never"), "--never does not go with --default"),
        (("Order", "--keep-versions", "2"), "keep_versions"),
    ],
)
def test_a_wrong_policy_is_refused_and_the_file_stays(configured: Cli, arguments: tuple[str, ...], says: str) -> None:
    done = configured("policy", "set", *arguments)
    assert (done.code, done.out) == (2, ""), done
    assert says.partition("; ")[0] in done.err
    assert text(configured) == TEXT


def test_an_edit_that_cannot_be_made_is_refused_with_what_to_paste(configured: Cli) -> None:
    written = '[pruning]\noverrides = { "Order" = { keep_last = 8 }, # why\n}\n'
    (configured.directory / FILE).write_text(written)
    done = configured("policy", "set", "Order", "--keep-last", "9", "--store", "sqlite:///duro.db")
    if done.code:  # TOML 1.1 allows it, TOML 1.0 calls the file invalid
        assert done.code == 6
    assert text(configured) == written or "keep_last = 9" in text(configured)


@pytest.mark.parametrize("url", ["", 'url = "sqlite:///gone.db"', 'url = "sqlite:///empty.db"'])
def test_an_edit_that_takes_the_store_away_is_asked_about_as_what_it_does_there(configured: Cli, url: str) -> None:
    """Workers that watch the file go on in their store."""
    open_store(configured.directory / "empty.db", create=True).close()
    (configured.directory / "then").write_text(f"[store]\n{url}\n[pruning]\ndefault_keep_last = 1\n")
    command = editor(configured, "ed", f'cat {configured.directory}/then > "$last"')
    done = configured("policy", "edit", EDITOR=command)
    assert (done.code, text(configured)) == (2, TEXT)
    assert "more executions go, and there is no terminal to ask on" in done.err
    assert "not known" not in done.err


def test_a_strict_check_of_a_file_looks_into_the_store_that_this_file_names(loops: Cli) -> None:
    (loops.directory / "c.toml").write_text(TEXT.replace('"Order"', '"Ordr"'))
    for named in (("c.toml",), ("--config", "c.toml")):
        done = loops("policy", "check", "--strict", *named)
        assert (done.code, "no orchestration is called 'Ordr'; did you mean 'Order'?" in done.out) == (6, True), done


def test_without_a_store_the_file_can_be_changed_all_the_same(cli: Cli) -> None:
    (cli.directory / FILE).write_text("[pruning]\n")
    done = cli("policy", "set", "--default", "--keep-last", "3")
    assert done.code == 0
    assert "what this lets go is not known: no store is named here" in done.err
    assert text(cli) == "[pruning]\n\n[pruning.default]\nkeep_last = 3\n"
    nowhere = cli("policy", "set", "x", "--keep-last", "3", "--config", "no.toml")
    assert nowhere.code == 6
    (cli.directory / FILE).unlink()
    assert "make one with `duroctl init`" in cli("policy", "set", "x", "--keep-last", "3").err


@pytest.mark.parametrize("flag", [True, False])
def test_a_store_that_is_named_for_the_command_and_is_not_there_is_an_error(configured: Cli, flag: bool) -> None:
    command = ("policy", "set", "Order", "--keep-last", "1", "--yes")
    named = "sqlite:///typo.db"
    done = configured(*command, "--store", named) if flag else configured(*command, DUROCTL_STORE=named)
    assert (done.code, text(configured)) == (10, TEXT)
    assert "typo.db" in done.err


def test_of_a_store_that_is_not_made_yet_nothing_is_known_and_that_is_said(configured: Cli) -> None:
    (configured.directory / FILE).write_text(TEXT.replace("duro.db", "later.db"))
    done = configured("policy", "set", "Order", "--keep-last", "1")
    assert done.code == 0
    assert "what this lets go is not known: " in done.err
    assert "later.db" in done.err


# --- the editor --------------------------------------------------------------------------------------------------


def test_an_edit_is_saved_when_it_can_be_used(configured: Cli) -> None:
    command = editor(configured, "ed", 'sed -i "s/= 8/= 9/" "$last"')
    done = configured("policy", "edit", EDITOR=command)
    assert (done.code, done.out) == (0, ""), done
    assert text(configured) == TEXT.replace("keep_last = 8", "keep_last = 9")


def test_an_edit_with_an_error_is_opened_again_at_its_line(configured: Cli) -> None:
    again = f'if [ -e {configured.directory}/once ]; then sed -i "s/= 0/= 9/" "$last"; else'
    command = editor(configured, "vi", f'{again} touch {configured.directory}/once; sed -i "s/= 8/= 0/" "$last"; fi')
    configured.environment["EDITOR"] = command
    done = configured.on_terminal("policy", "edit", typed="y\n")
    assert done.code == 0, done
    assert f"{FILE}:9:13: " in done.out
    log = (configured.directory / "editor.log").read_text().splitlines()
    assert [line.split()[0] for line in log][1] == "+9"
    assert text(configured) == TEXT.replace("keep_last = 8", "keep_last = 9")


@pytest.mark.parametrize("place", ["runtime_config.toml", "config/runtime_config.toml", "named.toml"])
def test_an_edit_that_mends_a_file_is_asked_about_like_any_other(configured: Cli, place: str) -> None:
    """The store is the one that the new text names: the old one cannot be read."""
    broken = TEXT.replace("keep_last = 8", "kep_last = 2")
    (configured.directory / FILE).unlink()
    file = configured.directory / place
    file.parent.mkdir(exist_ok=True)
    url = "sqlite:///../duro.db" if place.startswith("config/") else "sqlite:///duro.db"
    file.write_text(broken.replace("sqlite:///duro.db", url))
    before = file.read_text()
    named = ("--config", place) if place == "named.toml" else ()
    command = editor(configured, "ed", 'sed -i "s/kep_last/keep_last/" "$last"')
    done = configured("policy", "edit", *named, EDITOR=command)
    assert (done.code, file.read_text()) == (2, before)
    assert "this lets 9 more executions go" in done.err
    assert configured("policy", "edit", *named, "--yes", EDITOR=command).code == 0
    assert file.read_text() == before.replace("kep_last", "keep_last")


@pytest.mark.parametrize("script", ["", 'sed -i "s/= 8/= 0/" "$last"; '])
def test_an_interrupt_says_where_an_edit_is_kept_if_there_is_one(configured: Cli, script: str) -> None:
    done = configured("policy", "edit", EDITOR=editor(configured, "ed", script + "kill -INT $PPID $$; sleep 0.2"))
    assert (done.code, text(configured)) == (130, TEXT)
    if not script:
        assert done.err == ""
        return
    kept = Path(done.err.removeprefix("duroctl: your edit is kept in ").strip())
    assert "keep_last = 0" in kept.read_text()
    shutil.rmtree(kept.parent)


def test_an_editor_that_makes_something_of_its_own_of_an_interrupt_goes_on(configured: Cli) -> None:
    script = 'trap "" INT; kill -INT $PPID; sleep 0.6; kill -INT $PPID; sed -i "s/= 8/= 9/" "$last"'
    done = configured("policy", "edit", EDITOR=editor(configured, "ed", script))
    assert (done.code, done.out) == (0, ""), done
    assert text(configured) == TEXT.replace("keep_last = 8", "keep_last = 9")


def test_an_edit_with_an_error_is_kept_where_nobody_can_be_asked(configured: Cli) -> None:
    done = configured("policy", "edit", EDITOR=editor(configured, "ed", 'sed -i "s/= 8/= 0/" "$last"'))
    assert done.code == 6
    assert text(configured) == TEXT
    kept = Path(done.err.rpartition("your edit is kept in ")[2].strip())
    assert kept.read_text() == TEXT.replace("= 8", "= 0")


def test_an_editor_that_fails_or_changes_nothing_changes_nothing(configured: Cli) -> None:
    failed = configured("policy", "edit", EDITOR="false")
    assert (failed.code, failed.err) == (4, "duroctl: error: the editor ended with status 1, nothing was changed\n")
    nobody = configured("policy", "edit", EDITOR="", VISUAL="")
    assert (nobody.code, "there is no terminal to edit on" in nobody.err) == (2, True)
    assert configured("policy", "edit", EDITOR="true").err == "duroctl: nothing was changed\n"
    assert configured("policy", "edit", EDITOR="/no/such/editor").code == 2
    assert configured("policy", "edit", EDITOR="'").code == 2
    assert text(configured) == TEXT


def test_a_file_that_somebody_else_changed_meanwhile_is_not_overwritten(configured: Cli) -> None:
    meanwhile = f'sed -i "s/= 8/= 9/" "$last"; echo "# mine" >> {configured.directory}/{FILE}'
    done = configured("policy", "edit", EDITOR=editor(configured, "ed", meanwhile))
    assert done.code == 6
    assert "it was changed by somebody else meanwhile" in done.err
    assert text(configured) == TEXT + "# mine\n"


# --- what else may go --------------------------------------------------------------------------------------------

MORE = """
[purge]
keep_within = "1s"

[orphans]
enabled = true
"""


def test_an_edit_that_lets_whole_instances_and_orphans_go_is_shown_and_asked_about(configured: Cli) -> None:
    assert configured("instances", "terminate", "other", "--reason", "enough", "--yes").code == 0
    time.sleep(1.1)  # as long as it is kept
    (configured.directory / "more").write_text(MORE)
    command = editor(configured, "ed", f'cat {configured.directory}/more >> "$last"')
    refused = configured("policy", "edit", EDITOR=command)
    assert refused.code == 2
    assert "this lets 2 more whole instances go, and there is no terminal to ask on" in refused.err
    assert text(configured) == TEXT
    saved = configured("policy", "edit", "--yes", EDITOR=command)
    assert saved.code == 0, saved
    assert text(configured) == TEXT + MORE
    assert "[purge]: 0 whole instances may go now, 2 after the change" in saved.err
    assert "[orphans]: sweeps remove more orphans (min_age=" in saved.err
    assert "stays the same" not in saved.err
    (configured.directory / "new.toml").write_text(TEXT + MORE)
    simulated = configured("policy", "simulate", "--policy", "new.toml")
    assert "[purge]: 0 whole instances may go now, 2 after the change" in simulated.err
    document = configured("policy", "simulate", "--policy", "new.toml", "-o", "json").json
    assert (document["purgeable_now"], document["purgeable_then"], len(document["loosened"])) == (0, 2, 1)
    (configured.directory / "off.toml").write_text(TEXT + MORE.replace("[purge]", "[purge]\nenabled = false"))
    document = configured("policy", "simulate", "--policy", "off.toml", "-o", "json").json
    assert document["purgeable_then"] == 0


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("", '[pruning]\nchildren = "settled"\n', "[pruning] children: settled children go"),
        ('[archive]\nenabled = true\ndirectory = "kept"\n', "", "[archive]: what goes is no longer kept"),
        ("[orphans]\nenabled = true\n", '[orphans]\nenabled = true\nmin_age = "30m"\n', "[orphans]: sweeps remove"),
    ],
)
def test_what_is_kept_no_longer_is_said_and_asked_about_and_the_way_back_is_not(
    configured: Cli, before: str, after: str, says: str
) -> None:
    store = '[store]\nurl = "sqlite:///duro.db"\n'
    for now, then, more in ((before, after, True), (after, before, False)):
        (configured.directory / FILE).write_text(store + now)
        (configured.directory / "then").write_text(store + then)
        command = editor(configured, "ed", f'cat {configured.directory}/then > "$last"')
        done = configured("policy", "edit", EDITOR=command)
        assert (done.code, "this lets more go" in done.err) == ((2, True) if more else (0, False)), done
        if more:
            assert says in configured("policy", "edit", "--yes", EDITOR=command).err
        assert text(configured) == store + then


# --- what it would do, and what it says in vain -------------------------------------------------------------------


def test_simulate_shows_what_would_go_by_orchestration(configured: Cli) -> None:
    before = configured.dump()
    (configured.directory / "new.toml").write_text("[pruning]\ndefault_keep_last = 3\n")
    done = configured("policy", "simulate", "--policy", "new.toml")
    rows = {row["name"]: row for row in done.rows()}
    assert [(name, row["executions"], row["removable_now"], row["removable_then"]) for name, row in rows.items()] == [
        ("Child", "10", "0", "7"),
        ("Order", "11", "0", "7"),
    ]
    assert rows["Child"]["origins"] == "file_default: new.toml:2"
    assert "no worker has published" in done.err
    document = configured("policy", "simulate", "--policy", "new.toml", "-o", "json").json
    assert document["schema"] == "duroctl.policy_simulation/1"
    assert document["then"]["executions"] == 14
    assert document["then"]["history_bytes"] == sum(each["then"]["history_bytes"] for each in document["names"])
    pruned = configured("prune", "--all", "--keep-last", "3", "--check", "-o", "json", "--store", "sqlite:///duro.db")
    assert pruned.json["executions_removed"] == 14
    assert configured.dump() == before


def test_show_says_what_prunes_each_orchestration_and_where_that_is_said(configured: Cli) -> None:
    assert [row["policy"] for row in configured("policy", "show").rows()] == ["never", "never"]
    registry = duro.Registry()
    registry.orchestration(name="Child")(order)
    with duro.Runtime(configured.store, registry, config=configured.directory / FILE):
        rows = {row["name"]: row for row in configured("policy", "show").rows()}
        assert (rows["Order"]["policy"], rows["Order"]["origin"]) == ("keep_last=8", f"{configured.directory}/{FILE}:8")
        assert rows["Child"]["origin"] == f"{configured.directory}/{FILE}:6"
        (only,) = configured("policy", "show", "Order", "-o", "json").json["policies"]
        assert only["origin"] == {"kind": "file_override", "text": f"{configured.directory}/{FILE}:8"}
        assert len(configured("policy", "show", "--published").rows()) == 2
        explained = configured("policy", "explain", "queue-1")
        assert "REMOVE" in explained.out
        executions = configured("policy", "explain", "queue-1", "-o", "json").json["executions"]
        assert [each["execution_id"] for each in executions if not each["keep"]] == [1, 2]


async def order(ctx: duro.OrchestrationContext) -> None: ...


def test_show_and_explain_say_when_no_worker_has_read_the_file_that_is_at_hand(configured: Cli) -> None:
    commands = (
        ("policy", "show"),
        ("policy", "show", "--published"),
        ("policy", "explain", "queue-1"),
        ("stats",),
    )

    def notes() -> set[str]:
        return {configured(*command, "--store", "sqlite:///duro.db").err for command in commands}

    nobody = "no worker has published what it was told; `duroctl policy simulate` shows what it would let go"
    assert notes() == {f"duroctl: {FILE} has no effect yet: {nobody}\n"}
    registry = duro.Registry()
    registry.orchestration(order)
    with duro.Runtime(configured.store, registry):
        told = "what is shown is what they were told; `duroctl policy check --strict` names them"
        assert notes() == {f"duroctl: {FILE} says something else than any worker was told: {told}\n"}
        (configured.directory / FILE).write_text("[pruning]\nenabled = 1\n")
        (invalid,) = notes()
        assert invalid.startswith(
            f"duroctl: {FILE}:2:11: [pruning] enabled must be true or false, not 1, so no worker "
        )
        (configured.directory / FILE).write_text('[store]\nurl = "sqlite:///duro.db"\n')
        assert notes() == {""}, "it says nothing about pruning"
    (configured.directory / FILE).write_text(TEXT)
    with duro.Runtime(configured.store, duro.Registry(), config=configured.directory / FILE):
        assert notes() == {""}
    (configured.directory / FILE).write_text(TEXT.replace("keep_last = 8", "keep_last = 7"))
    told = "what is shown is what they were told; they have stopped since"
    assert notes() == {f"duroctl: {FILE} says something else than any worker was told: {told}\n"}


def test_a_prune_without_rules_does_not_go_by_what_a_stopped_worker_was_told_against_the_file(configured: Cli) -> None:
    file = configured.directory / FILE
    file.write_text('[store]\nurl = "sqlite:///duro.db"\n[pruning]\ndefault_keep_last = 1\n')
    registry = duro.Registry()
    registry.orchestration(name="Order", version="1.0.0")(order)
    with duro.Runtime(configured.store, registry, config=file):
        pass
    prune = ("prune", "queue-1", "--store", "sqlite:///duro.db")
    told = configured(*prune, "--dry-run")
    assert told.code == 0
    assert "something else" not in told.err
    assert configured(*prune, "--plan-out", "plan.json").code == 0
    note = "what is shown is what they were told; they have stopped since"
    for now in ("[pruning]\nenabled = false\ndefault_keep_last = 50\n", ""):
        file.write_text(f'[store]\nurl = "sqlite:///duro.db"\n{now}')
        before = configured.dump()
        for look in ("--dry-run", "--check"):
            ran = configured(*prune, look)
            assert ran.err.splitlines()[0] == f"duroctl: {FILE} says something else than any worker was told: {note}"
        for command in (prune, ("prune", "--apply", "plan.json")):
            ran = configured(*command, "--yes")
            assert ran.code == 2
            assert ran.err.startswith(
                f"duroctl: error: no worker runs, and {FILE} is not what the one that stopped last was told; "
            )
        assert configured.dump() == before
    assert configured(*prune, "--keep-last", "1", "--yes").code == 0


def test_a_purge_without_rules_does_not_go_by_what_a_stopped_worker_was_told_against_the_file(configured: Cli) -> None:
    file = configured.directory / FILE
    file.write_text('[store]\nurl = "sqlite:///duro.db"\n[purge]\nkeep_within = "1s"\ninterval = "30d"\n')
    registry = duro.Registry()
    registry.orchestration(name="Order", version="1.0.0")(order)
    with duro.Runtime(configured.store, registry, config=file) as runtime:
        runtime.client.terminate("queue-1", "over")
    purge = ("instances", "purge", "queue-1", "--store", "sqlite:///duro.db")
    while configured(*purge, "--check").code != 20:
        time.sleep(0.2)
    file.write_text('[store]\nurl = "sqlite:///duro.db"\n[purge]\nenabled = false\nkeep_within = "365d"\n')
    before = configured.dump()
    assert "says something else than any worker was told" in configured(*purge, "--check").err
    ran = configured(*purge, "--yes")
    assert ran.code == 2
    assert "no worker runs, and" in ran.err
    assert configured.dump() == before
    assert configured(*purge, "--keep-within", "1s", "--yes").code == 0


def test_check_strict_finds_what_is_said_in_vain_with_its_place(configured: Cli) -> None:
    (configured.directory / FILE).write_text(
        TEXT + '\n[pruning.overrides.Ordre]\nkeep_last = 1\n[orphans]\nmin_age = "30m"\n'
    )
    assert configured("policy", "check").code == 0
    done = configured("policy", "check", "--strict")
    assert done.code == 6
    assert done.lines == [
        f"{FILE}:11:2: no orchestration is called 'Ordre'; did you mean 'Order'?",
        f"{FILE}:14:1: no sweep looks for orphans, so min_age says nothing; set [orphans] enabled = true, or remove it",
    ]
    assert json.loads(configured("policy", "check", "--strict", "-o", "json").out)["problems"][0]["line"] == 11


def test_check_strict_names_workers_that_were_told_something_else(configured: Cli) -> None:
    with duro.Runtime(configured.store, duro.Registry()):
        done = configured("policy", "check", "--strict")
        assert done.code == 6
        assert "without any runtime_config.toml; give it this file" in done.out
    with duro.Runtime(configured.store, duro.Registry(), config=configured.directory / FILE):
        assert configured("policy", "check", "--strict").code == 0


@pytest.mark.parametrize("script", [': > "$last"', 'echo > "$last"', 'rm -f "$last"'])
def test_an_edit_with_nothing_left_in_it_changes_nothing(configured: Cli, script: str) -> None:
    done = configured("policy", "edit", "-y", EDITOR=editor(configured, "empties", script))
    assert (done.code, done.out, text(configured)) == (4, "", TEXT)
    assert done.err == "duroctl: error: the edit is empty, nothing was changed\n"


def test_a_policy_of_an_instance_that_lets_more_go_is_shown_and_asked_about(configured: Cli) -> None:
    of_it = ("policy", "set", "--instance", "queue-1")
    before = configured.dump()
    asked = configured(*of_it, "--keep-last", "2")
    assert (asked.code, asked.out, configured.dump()) == (2, "", before)
    assert "this lets 8 more executions go, and there is no terminal to ask on; pass --yes" in asked.err
    shown = configured(*of_it, "--keep-last", "2", "--dry-run")
    assert shown.lines[-1].startswith("queue-1: 0 executions (0 B) may go now, 8 executions (")
    assert configured.dump() == before
    assert configured(*of_it, "--never").code == 0
    done = configured(*of_it, "--keep-last", "2", "--yes")
    assert (done.code, done.out) == (0, "")
    assert "queue-1: 0 executions (0 B) may go now, 8 executions (" in done.err
    assert configured(*of_it, "--keep-last", "3").code == 0
    assert configured("policy", "unset", "--instance", "queue-1").code == 0


def test_what_was_changed_is_a_document_with_json_output_too(configured: Cli) -> None:
    for command in (
        ("policy", "set", "Order", "--keep-last", "2"),
        ("policy", "unset", "Order"),
        ("policy", "set", "--instance", "queue-1", "--keep-last", "2"),
        ("policy", "unset", "--instance", "queue-1"),
    ):
        would = configured(*command, "--dry-run", "-o", "json").json
        assert configured(*command, "--yes", "-o", "json").json == would
    again = configured("policy", "unset", "Order", "-o", "json")
    assert again.json == {"schema": "duroctl.policy_change/1", "file": FILE, "diff": [], "simulation": None}
    assert "it has no policy for Order" in again.err


def test_a_dry_run_is_a_document_with_json_output_and_no_list(configured: Cli) -> None:
    shown = configured("policy", "set", "Order", "--keep-last", "2", "--dry-run", "-o", "json").json
    assert (shown["schema"], shown["file"]) == ("duroctl.policy_change/1", FILE)
    assert shown["diff"][-2:] == ["-keep_last = 8", "+keep_last = 2"]
    assert shown["simulation"]["then"]["executions"] > shown["simulation"]["now"]["executions"]
    one = configured("policy", "unset", "--instance", "queue-1", "--dry-run", "-o", "jsonl").json
    assert (one["schema"], one["instance_id"], one["policy"]) == ("duroctl.policy_change/1", "queue-1", None)
    two = configured("policy", "set", "--instance", "queue-1", "--keep-last", "2", "-n", "-o", "json").json
    assert (two["instance_id"], two["policy"]) == ("queue-1", "keep_last=2")
    assert two["then"]["executions"] > two["now"]["executions"] == 0
    never = configured("policy", "set", "--instance", "queue-1", "--never", "-n")
    assert never.lines[0] == "queue-1 would never be pruned automatically"
    refused = configured("policy", "set", "Order", "--keep-last", "2", "--dry-run", "-o", "csv")
    assert (refused.code, refused.out) == (2, "")
    assert "a change does not go with -o csv; there are table, json and jsonl" in refused.err
    assert text(configured) == TEXT


@pytest.mark.parametrize(
    "command",
    [
        ("policy", "check"),
        ("policy", "check", FILE),
        ("policy", "set", "Order", "--keep-last", "3"),
        ("policy", "unset", "Order"),
        ("policy", "edit"),
        ("policy", "show"),
        ("policy", "explain", "queue-1"),
        ("policy", "simulate", "--policy", FILE),
        ("policy", "set", "--instance", "queue-1", "--keep-last", "3"),
        ("prune", "--all", "--keep-last", "3", "--yes", "--store", "sqlite:///duro.db"),
        ("worker", "tests.e2e.cli_flows:registry"),
        ("worker", "tests.e2e.cli_flows:registry", "--store", "sqlite:///duro.db"),
        ("init",),
    ],
    ids=" ".join,
)
def test_a_file_that_is_a_link_to_one_that_is_gone_is_named_and_nothing_is_done_without_it(
    configured: Cli, command: tuple[str, ...]
) -> None:
    (configured.directory / FILE).unlink()
    (configured.directory / FILE).symlink_to("mounted/real.toml")
    before = configured.dump()
    done = configured(*command, EDITOR="true")
    said = (
        f"{FILE}: it is a symbolic link to 'mounted/real.toml', which does not exist; "
        "put a file there, or let the link name one that is there\n"
    )
    assert (done.code, (done.out + done.err).removeprefix("duroctl: error: ")) == (6, said)
    assert configured.dump() == before


def test_of_a_name_that_is_nobodys_explain_and_simulate_say_so(configured: Cli) -> None:
    told = configured("policy", "explain", "--name", "Ordr")
    assert "no orchestration of this store, and none that a worker runs, is called 'Ordr'" in told.err
    assert "is called" not in configured("policy", "explain", "--name", "Order").err
    told = configured("policy", "simulate", "--name", "Ordr*")
    assert (told.code, "no orchestration of this store is called 'Ordr*' or matches it" in told.err) == (0, True)


def test_a_slip_of_the_pen_is_not_shown_as_an_orchestration_that_nothing_prunes(configured: Cli) -> None:
    said = "no orchestration of this store, and none that a worker runs, is called"
    assert f"{said} 'Ordre'" in configured("policy", "show", "Ordre").err
    assert said not in configured("policy", "show", "Order").err
    assert said not in configured("policy", "show").err


def test_a_directory_where_the_file_should_be_is_named(configured: Cli) -> None:
    (configured.directory / FILE).unlink()
    (configured.directory / FILE).mkdir()
    done = configured("prune", "--all", "--keep-last", "3", "--yes", "--store", "sqlite:///duro.db")
    assert (done.code, done.err) == (6, f"duroctl: error: {FILE}: it cannot be read: Is a directory; check the path\n")
