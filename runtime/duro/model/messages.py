"""Messages: what travels to an instance through its queue and becomes an arrived event when a turn takes it.

Only these travel as rows of the message queue. Due timers, mailbox events and cancel requests are facts about the
instance itself and reach the turn beside them (see ``LeasedInstance``).

``execution_id`` addresses one execution: a message for an execution that has ended is ignored, and counted.
"""

from typing import TypeAlias

import msgspec

from duro.model.events import Json
from duro.model.failure import FailureDetails


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", gc=False):
    """What all messages have in common."""

    execution_id: int
    scheduled_event_id: int


class ActivitySucceeded(Message, frozen=True, kw_only=True, tag="ActivitySucceeded"):
    result: Json


class ActivityFailed(Message, frozen=True, kw_only=True, tag="ActivityFailed"):
    failure: FailureDetails


class ChildSucceeded(Message, frozen=True, kw_only=True, tag="ChildSucceeded"):
    result: Json


class ChildFailed(Message, frozen=True, kw_only=True, tag="ChildFailed"):
    failure: FailureDetails


class HistoryPruned(Message, frozen=True, kw_only=True, tag="HistoryPruned"):
    """Written by the store in the transaction that pruned; the fields are those of ``PruneResult``."""

    executions_deleted: int = 0
    events_deleted: int = 0
    bytes_deleted: int = 0
    remaining: int = 0
    error: str | None = None


AnyMessage: TypeAlias = ActivitySucceeded | ActivityFailed | ChildSucceeded | ChildFailed | HistoryPruned
