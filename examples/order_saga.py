"""An order as a saga: reserve, charge, ship; when a step fails for good, the steps before it are undone in reverse.

    python order_saga.py

There is no transaction over a warehouse, a bank and a carrier. A saga has an undo for every step instead, and the
undo must happen, whatever crashes in between. That is what the durable history is for: it knows how far the order got.
"""

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duro

registry = duro.Registry()

STEP = duro.RetryPolicy(max_attempts=3, delay_s=0.1, non_retryable_errors=("RefusedError",))
UNDO = duro.RetryPolicy(max_attempts=1_000, delay_s=0.1, delay_max_s=60.0)  # an undo that gives up leaves a mess


class RefusedError(Exception):
    """The other side said no, and will say no again."""


@dataclass(frozen=True)
class Order:
    number: str
    item: str
    cents: int
    card: str
    address: str


@dataclass(frozen=True)
class Outcome:
    """``log`` is what was done, in order. ``refused`` is why the order was given up, None if it was delivered."""

    log: list[str]
    refused: str | None = None


@registry.orchestration(version="1.0.0")
async def order_saga(ctx: duro.OrchestrationContext, order: Order) -> Outcome:
    """Each step is awaited, so its result is in the history before the next one begins. After a crash the finished
    steps are not run again: their results are replayed."""
    log: list[str] = []
    undos: list[Callable[[Any, Order], Coroutine[Any, Any, str]]] = []
    try:
        # Each undo is noted before its step: a step that failed may have happened all the same (its answer was lost).
        undos.append(release)
        log.append(await ctx.schedule_activity(reserve, order, retry=STEP, timeout=30))
        undos.append(refund)
        log.append(await ctx.schedule_activity(charge, order, retry=STEP, timeout=30))
        log.append(await ctx.schedule_activity(ship, order, retry=STEP, timeout=30))
    except duro.ActivityFailedError as error:
        log += [await ctx.schedule_activity(undo, order, retry=UNDO, timeout=30) for undo in reversed(undos)]
        return Outcome(log, refused=f"{error.failure.type}: {error.failure.message}")
    return Outcome(log)


# The activities stand in for three services. Activities run at least once (a crash may come after the work and before
# its record), so real ones pass the order's number, or ctx.idempotency_key, and the service takes each key once.


@registry.activity
async def reserve(ctx: duro.ActivityContext, order: Order) -> str:
    return f"reserved {order.item}"


@registry.activity
async def charge(ctx: duro.ActivityContext, order: Order) -> str:
    if order.card == "expired":
        raise RefusedError("the card has expired")
    return f"charged {order.cents / 100:.2f}"


@registry.activity
async def ship(ctx: duro.ActivityContext, order: Order) -> str:
    """This carrier is never reached at the first attempt, and never delivers to the moon."""
    if ctx.attempt == 1 or order.address == "the moon":
        raise ConnectionError(f"the carrier does not answer (attempt {ctx.attempt})")
    return f"shipped to {order.address} at attempt {ctx.attempt}"


@registry.activity
async def refund(ctx: duro.ActivityContext, order: Order) -> str:
    """Refunds what was charged for this order number, which may be nothing."""
    return "refunded 0.00" if order.card == "expired" else f"refunded {order.cents / 100:.2f}"


@registry.activity
async def release(ctx: duro.ActivityContext, order: Order) -> str:
    return f"released {order.item}"


async def main(store: str) -> None:
    orders = [
        Order("A-1", "lamp", 4_900, "4242", "Main Street 1"),
        Order("A-2", "chair", 12_900, "expired", "Main Street 1"),
        Order("A-3", "table", 39_900, "4242", "the moon"),
    ]
    async with duro.Runtime(store, registry) as runtime:
        client = runtime.async_client
        for order in orders:
            await client.start_orchestration(order_saga, order, instance_id=f"order-{order.number}", if_exists="return")
        for order in orders:
            outcome = (await client.wait_for_orchestration(f"order-{order.number}", timeout=60)).result()
            print(f"{order.number}  {'given up, ' + outcome.refused if outcome.refused else 'delivered'}")
            for line in outcome.log:
                print(f"     {line}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Three orders: one is delivered, two are undone.")
    parser.add_argument("--store", type=Path, default=Path("order_saga.db"), help="the store [%(default)s]")
    asyncio.run(main(f"sqlite:///{parser.parse_args().store}"))
