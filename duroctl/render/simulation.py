"""What other settings would remove, as lines and records. Pure."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from duro.maintenance.going import Removable, RemovableWhole
from duro.maintenance.simulating import InstanceSimulation, PolicySimulation, SimulatedName
from duroctl.render.tables import Column, View
from duroctl.render.text import visible_field
from duroctl.render.units import counted, size


def change_lines(simulation: PolicySimulation) -> Iterator[str]:
    """What may go at once and may not yet, by orchestration, and what else changes; one line if it is the same."""
    changed = [each for each in simulation.names if each.now != each.then or each.executions_more]
    for each in changed:
        more = each.executions_more if each.executions_more != each.then.executions - each.now.executions else 0
        kept = f", {more:,} of them kept now" if more else ""
        yield visible_field(f"{each.name}: {_amount(each.now)} may go now, {_amount(each.then)} after the change{kept}")
    others = [*other_lines(simulation)]
    yield from others
    if not changed and not others:
        yield "what may be removed now stays the same"


def other_lines(simulation: PolicySimulation) -> Iterator[str]:
    """What changes beside what pruning may remove."""
    for table, now, then in (
        ("purge", simulation.purgeable_now, simulation.purgeable_then),
        ("orphans", simulation.orphans_now, simulation.orphans_then),
    ):
        if now != then:
            yield f"[{table}]: {counted(now, 'whole instance')} may go now, {then:,} after the change"
    for each in simulation.names:
        if each.whole_now != each.whole_then or each.instances_more:
            now_text, then_text = _whole(each.whole_now), _whole(each.whole_then)
            more = each.instances_more
            kept = (
                f", {more:,} of them kept now"
                if more and more != each.whole_then.instances - each.whole_now.instances
                else ""
            )
            yield visible_field(f"{each.name}, whole: {now_text} may go now, {then_text} after the change{kept}")
    yield from map(visible_field, simulation.loosened)


def _whole(found: RemovableWhole) -> str:
    what = counted(found.instances, "instance")
    return f"{what} with {counted(found.executions, 'execution')} ({size(found.history_bytes)})"


def more_text(simulation: PolicySimulation | InstanceSimulation) -> str:
    """The question's reason, for a change that lets go what is kept now."""
    executions, instances = simulation.executions_more, simulation.instances_more
    more = [counted(executions, "more execution")] if executions else []
    more += [counted(instances, "more whole instance")] if instances else []
    return f"this lets {' and '.join(more) or 'more'} go"


def instance_line(instance_id: str, simulated: InstanceSimulation) -> str:
    """What of an instance may go at once with another policy, and what may now."""
    now, then = _with_children(simulated.now, simulated.whole_now), _with_children(simulated.then, simulated.whole_then)
    more = simulated.executions_more
    if now == then and not more:
        return "what may be removed now stays the same"
    kept = (
        f", {more:,} of them kept now" if more and more != simulated.then.executions - simulated.now.executions else ""
    )
    return visible_field(f"{instance_id}: {now} may go now, {then} after the change{kept}")


def _with_children(found: Removable, whole: RemovableWhole) -> str:
    return _amount(found) + (f" and whole: {_whole(whole)}" if whole.instances else "")


def instance_json(simulated: InstanceSimulation) -> dict[str, Any]:
    return {name: msgspec.to_builtins(getattr(simulated, name)) for name in simulated._fields}


def total_line(simulation: PolicySimulation) -> str:
    then = _all_of(simulation.then, simulation.whole_then)
    now = _all_of(simulation.now, simulation.whole_now)
    return visible_field(f"with {simulation.file} would go: {then}; as workers are told now: {now}")


def _all_of(found: Removable, whole: RemovableWhole) -> str:
    text = f"{_amount(found)}, {counted(found.events, 'event')}"
    return text + (f", and whole: {_whole(whole)}" if whole.instances else "")


def _amount(found: Removable) -> str:
    return f"{counted(found.executions, 'execution')} ({size(found.history_bytes)})"


def simulation_json(simulation: PolicySimulation) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(simulation)
    sums = ("now", "then", "whole_now", "whole_then", "executions_more", "instances_more")
    return document | {name: msgspec.to_builtins(getattr(simulation, name)) for name in sums}


def _name_json(each: SimulatedName) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(each)
    return document


SIMULATED: Final = View(
    "duroctl.policy_simulation/1",
    "names",
    (
        Column("name", "NAME", "id", lambda each: each.name),
        Column("instances", "INSTANCES", "number", lambda each: each.instances),
        Column("executions", "EXECS", "number", lambda each: each.executions),
        Column("removable_now", "GO NOW", "number", lambda each: each.now.executions),
        Column("removable_now_bytes", None, "bytes", lambda each: each.now.history_bytes),
        Column("removable_then", "WOULD GO", "number", lambda each: each.then.executions),
        Column("removable_then_events", "EVENTS", "number", lambda each: each.then.events),
        Column("removable_then_bytes", "SIZE", "bytes", lambda each: each.then.history_bytes),
        Column("whole_now", None, "number", lambda each: each.whole_now.instances),
        Column("whole_then", "WHOLE", "number", lambda each: each.whole_then.instances),
        Column("whole_then_executions", None, "number", lambda each: each.whole_then.executions),
        Column("whole_then_bytes", None, "bytes", lambda each: each.whole_then.history_bytes),
        Column("origins", "SAID BY", "id", lambda each: " ".join(each.origins)),
    ),
    _name_json,
    lambda each: each.name,
)
