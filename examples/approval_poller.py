"""A job that takes its time, and a person who must say yes: polling and waiting that survive any restart.

    python approval_poller.py

The orchestration polls an export until it is ready, then asks for an approval. If nobody answers in time it escalates
to the boss, and if the boss does not answer either, the export is discarded. Between two polls, and while it waits for
people for days, nothing runs: the timer and the mailbox are rows in the store.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duro

registry = duro.Registry()

POLLS_PER_EXECUTION = 100  # then continue as new: a history that grows for weeks is slow to replay


@dataclass(frozen=True)
class Export:
    """``polls`` is how often it was looked at so far; continue-as-new carries it on."""

    name: str
    poll_every_s: float = 30.0
    patience_s: float = 3_600.0
    polls: int = 0


@dataclass(frozen=True)
class Approval:
    """What the event ``approval`` says."""

    by: str
    granted: bool


@dataclass(frozen=True)
class Decision:
    published: bool
    by: str
    escalated: bool
    polls: int


@registry.orchestration(version="1.0.0")
async def publish_export(ctx: duro.OrchestrationContext, export: Export) -> Decision:
    while not await ctx.schedule_activity(is_ready, export):
        export = replace(export, polls=export.polls + 1)
        await ctx.schedule_timer(export.poll_every_s)  # durable: a restart neither forgets it nor begins it again
        if export.polls % POLLS_PER_EXECUTION == 0:
            await ctx.continue_as_new(export)
    ctx.set_custom_status({"waiting for": "approval", "since": ctx.utc_now()})
    approval = await _answer(ctx, "approval", export.patience_s)
    escalated = approval is None
    if approval is None:
        await ctx.schedule_activity(tell_the_boss, export)
        ctx.set_custom_status({"waiting for": "the boss", "since": ctx.utc_now()})
        approval = await _answer(ctx, "boss-approval", export.patience_s) or Approval("nobody", False)
    await ctx.schedule_activity(publish if approval.granted else discard, export)
    return Decision(approval.granted, approval.by, escalated, export.polls)


async def _answer(ctx: duro.OrchestrationContext, name: str, patience_s: float) -> Approval | None:
    """The event if it comes in time, else None. It may have come before: the mailbox keeps it until it is asked for.
    ``select`` cancels what loses, so no timer is left behind to wake anybody."""
    index, answer = await ctx.select(ctx.wait_for_event(name, Approval), ctx.schedule_timer(patience_s))
    return answer if index == 0 else None


@registry.activity
async def is_ready(ctx: duro.ActivityContext, export: Export) -> bool:
    """Stands in for a service that needs three polls."""
    return export.polls >= 3


@registry.activity
async def tell_the_boss(ctx: duro.ActivityContext, export: Export) -> None:
    print(f"{export.name}: nobody answers; mail to the boss")


@registry.activity
async def publish(ctx: duro.ActivityContext, export: Export) -> None:
    print(f"{export.name}: published")


@registry.activity
async def discard(ctx: duro.ActivityContext, export: Export) -> None:
    print(f"{export.name}: discarded")


def main(store: str) -> None:
    """Three exports with little patience: one is approved, one after escalation, and one has nobody who answers."""
    events: dict[str, dict[str, Any]] = {
        "monday": {"approval": Approval("ann", True)},
        "tuesday": {"boss-approval": Approval("the boss", True)},
        "wednesday": {},
    }
    with duro.Runtime(store, registry) as runtime:
        client = runtime.client
        for name, answers in events.items():
            export = Export(name, poll_every_s=0.1, patience_s=0.5)
            client.start_orchestration(publish_export, export, instance_id=f"export-{name}", if_exists="return")
            for event, answer in answers.items():
                # Whoever approves needs no more than the instance's id: duroctl raise export-monday approval ...
                client.raise_event(f"export-{name}", event, answer, request_id=f"{name}-{event}")
        for name in events:
            decision = client.wait_for_orchestration(f"export-{name}", timeout=60).result()
            print(f"{name}: {decision}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Poll, ask for approval, escalate.")
    parser.add_argument("--store", type=Path, default=Path("approval_poller.db"), help="the store [%(default)s]")
    main(f"sqlite:///{parser.parse_args().store}")
