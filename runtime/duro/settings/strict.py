"""What a valid runtime_config.toml says in vain: rules that nothing would ever apply. Pure."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from duro.durations import parse_duration_s
from duro.model.problem import FileProblem
from duro.retention.names import by_precedence, matches
from duro.settings.check import closest, header
from duro.settings.fields import ARCHIVE, ORPHANS, PURGE, ROLLOUT
from duro.settings.places import Lines, Path, Place, scan
from duro.settings.reading import decode, parse, read_settings

_SETS: tuple[str, ...] = ("pruning", "purge")

_Found = tuple[Path, str, str]
"""Where it stands, what is the matter, what to do."""


def vain_rules(data: bytes, file: str, names: Collection[str] | None) -> list[FileProblem]:
    """Everything in ``data`` that can have no effect, in the order of the file. ``names``: the orchestrations there
    are; None: unknown, and overrides are not compared with them.

    Raises:
        SettingsError: the file cannot be used at all.
    """
    read_settings(data, file)
    text = decode(data, file)
    document = parse(text, file)
    places, lines = scan(text), Lines(text)
    found = [
        *_switched_off(document),
        *_untriggered(document.get("pruning", {})),
        *_replaced(document),
        *_unpaused(document.get("pruning", {}).get("rollout", {})),
        *_without_rule(document.get("purge", {})),
        *_orphans(document.get("orphans", {})),
        *_archive(document.get("archive", {})),
        *(() if names is None else _unmatched(document, names)),
    ]
    return [_problem(file, lines, places, *each) for each in sorted(found, key=lambda each: places[each[0]].key)]


def _problem(file: str, lines: Lines, places: Mapping[Path, Place], path: Path, message: str, hint: str) -> FileProblem:
    return FileProblem(file, *lines.line_and_column(places[path].key), message, hint)


def _switched_off(document: Mapping[str, Any]) -> Iterator[_Found]:
    rules = {
        "pruning": ("default_keep_last", "default", "overrides", "rollout"),
        "purge": (*_PURGE_RULES, "overrides"),
    }
    for name, keys in rules.items():
        table = document.get(name, {})
        if table.get("enabled") is False:
            said = [key for key in keys if key in table]
            if said:
                nothing = "says nothing" if len(said) == 1 and said != ["overrides"] else "say nothing"
                message = f"[{name}] enabled = false, so {', '.join(said)} {nothing}"
                yield (name, "enabled"), message, "remove it, or what it switches off"


def _untriggered(pruning: Mapping[str, Any]) -> Iterator[_Found]:
    triggers = pruning.get("triggers")
    if triggers is None:
        return
    policies: dict[Path, Mapping[str, Any]] = {
        ("pruning", "overrides", name): table for name, table in pruning.get("overrides", {}).items()
    }
    if "default" in pruning:
        policies["pruning", "default"] = pruning["default"]
    elif "default_keep_last" in pruning and "continue_as_new" not in triggers:
        yield ("pruning", "default_keep_last"), "nothing triggers this policy: it has no interval", _TRIGGER_HINT
    for path, table in policies.items():
        if table.get("never"):
            continue
        if "interval" in table and "interval" not in triggers:
            yield (*path, "interval"), "triggers does not name interval, so no sweep looks at it", _TRIGGER_HINT
        if "every_n_executions" in table and "continue_as_new" not in triggers:
            message = "triggers does not name continue_as_new, so no execution is counted"
            yield (*path, "every_n_executions"), message, _TRIGGER_HINT
        if "continue_as_new" not in triggers and not ("interval" in table and "interval" in triggers):
            yield path, f"nothing triggers the policy of {header(path)}", _TRIGGER_HINT


_TRIGGER_HINT = "name it in [pruning] triggers, or remove the rule"


def _replaced(document: Mapping[str, Any]) -> Iterator[_Found]:
    """What applies where no override does, beside an override that every name matches."""
    for name, keys in (("pruning", ("default_keep_last", "default")), ("purge", _PURGE_RULES)):
        table = document.get(name, {})
        every = next((pattern for pattern in table.get("overrides", {}) if set(pattern) == {"*"}), None)
        for key in keys if every is not None else ():
            if key in table:
                message = f"every name matches the override {every!r}, so {key} never applies"
                yield (name, key), message, "remove one of them"


def _unpaused(rollout: Mapping[str, Any]) -> Iterator[_Found]:
    (cap,) = (field for field in ROLLOUT.fields if field.name == "cap")
    if rollout.get("cap", cap.default) != cap.default and not parse_duration_s(rollout.get("pause", "0s")):
        yield ("pruning", "rollout", "cap"), "there is no pause, so cap says nothing", "set pause, or remove it"


def _without_rule(purge: Mapping[str, Any]) -> Iterator[_Found]:
    overrides = purge.get("overrides", {})
    if any(key in purge for key in _PURGE_RULES) or any(not each.get("never") for each in overrides.values()):
        return
    hint = "give a rule, such as keep_within, or remove it"
    (interval,) = (field for field in PURGE.fields if field.name == "interval")
    if purge.get("interval", interval.default) != interval.default:
        yield ("purge", "interval"), "there is no rule, so nothing is purged, and interval says nothing", hint
    for pattern in overrides:
        message = f"there is no rule, so nothing is purged, and {pattern!r} needs no protection"
        yield ("purge", "overrides", pattern), message, hint


_PURGE_RULES = ("keep_within", "keep_failed_within", "keep_last")

_OF_THE_SWEEP = ("min_age", "child_status", "interval")
"""A file may write their defaults out, as that of ``duroctl init`` does."""


def _archive(archive: Mapping[str, Any]) -> Iterator[_Found]:
    if not archive.get("enabled", False):
        for field in ARCHIVE.fields:
            key = field.name
            if key not in ("enabled", "directory") and key in archive and archive[key] != field.default:
                message = f"the archive is not enabled, so {key} says nothing"
                yield ("archive", key), message, "set [archive] enabled = true, or remove it"


def _orphans(orphans: Mapping[str, Any]) -> Iterator[_Found]:
    if not orphans.get("enabled", False):
        for field in ORPHANS.fields:
            key = field.name
            if key in _OF_THE_SWEEP and key in orphans and orphans[key] != field.default:
                message = f"no sweep looks for orphans, so {key} says nothing"
                yield ("orphans", key), message, "set [orphans] enabled = true, or remove it"


def _unmatched(document: Mapping[str, Any], names: Collection[str]) -> Iterator[_Found]:
    for kind in _SETS:
        overrides = document.get(kind, {}).get("overrides", {})
        for pattern in overrides:
            of_pattern = [name for name in names if matches(name, pattern)]
            if not of_pattern:
                near = closest(pattern, sorted(names))
                hint = f"did you mean {near!r}?" if near else "correct the name, or remove the override"
                yield (kind, "overrides", pattern), f"no orchestration is called {pattern!r}", hint
            elif not any(by_precedence(name, overrides)[0] == pattern for name in of_pattern):
                others = sorted({by_precedence(name, overrides)[0] for name in of_pattern})
                message = f"more specific overrides replace {pattern!r} for every name it matches: {', '.join(others)}"
                yield (kind, "overrides", pattern), message, "remove it, if no further orchestration is to come"
