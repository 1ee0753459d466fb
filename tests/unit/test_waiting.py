"""How a waiting client learns of ends, and when it asks whom about them."""

from collections.abc import Callable, Sequence

from duro.model.records import InstanceEnd
from duro.model.status import InstanceStatus
from duro.waiting import FinishNotifier, Waiting


def end(instance_id: str, status: InstanceStatus = InstanceStatus.COMPLETED, incarnation: int = 1) -> InstanceEnd:
    return InstanceEnd(
        instance_id=instance_id,
        incarnation=incarnation,
        name="demo",
        version="1.0.0",
        status=status,
        execution_id=1,
        last_event="{}" if status is InstanceStatus.COMPLETED else None,
    )


def ends(*instance_ids: str) -> list[InstanceEnd]:
    return [end(each) for each in instance_ids]


def answer(*instance_ids: str, ended: Sequence[str] = (), incarnation: int = 1) -> dict[str, InstanceEnd]:
    """What the store says of those: that ``ended`` have, and the others not."""
    done, goes_on = InstanceStatus.COMPLETED, InstanceStatus.RUNNING
    return {each: end(each, done if each in ended else goes_on, incarnation) for each in instance_ids}


def ids(told: Sequence[InstanceEnd]) -> list[str]:
    return [each.instance_id for each in told]


def test_all_are_asked_about_at_first() -> None:
    assert Waiting(["a", "b", "a"]).to_ask((1,), 0.0) == ["a", "b"]


def test_nothing_is_asked_while_nothing_was_committed() -> None:
    waiting = Waiting(["a"])
    waiting.to_ask((1,), 0.0)
    waiting.answered(answer("a"), took_s=0.0, now_s=0.0)
    assert waiting.to_ask((1,), 100.0) == []
    assert waiting.to_ask((2,), 100.0) == ["a"]


def test_how_those_ended_that_did_here_is_known_at_once_and_the_others_are_asked_about_when_it_is_worth_it() -> None:
    waiting = Waiting(["a", "b", "c"])
    waiting.to_ask((1,), 0.0)
    waiting.answered(answer("a", "b", "c"), took_s=0.5, now_s=1.0)
    waiting.tell(ends("c", "nobody waits for this"))
    assert waiting.take_told() == ends("c")
    assert waiting.pending == ["a", "b"]
    assert waiting.to_ask((2,), 10.9) == []
    assert waiting.to_ask((2,), 11.0) == ["a", "b"]


def test_what_has_ended_is_not_asked_about_again() -> None:
    waiting = Waiting(["a", "b", "c"])
    waiting.to_ask((1,), 0.0)
    waiting.answered(answer("a", "b", "c", ended=["a"]), took_s=0.0, now_s=0.0)
    waiting.tell(ends("a", "c", "c"))
    assert waiting.take_told() == ends("c"), "the end of a was the answer already"
    assert waiting.to_ask((2,), 0.0) == ["b"]


def test_nobody_is_asked_when_all_have_ended() -> None:
    waiting = Waiting(["a"])
    waiting.to_ask((1,), 0.0)
    waiting.answered(answer("a"), took_s=0.0, now_s=0.0)
    waiting.tell(ends("a"))
    assert waiting.take_told() == ends("a")
    assert waiting.to_ask((1,), 0.0) == []


def test_the_end_of_a_life_before_is_not_that_of_the_one_waited_for() -> None:
    waiting = Waiting(["a"])
    waiting.tell([end("a", incarnation=1)])  # it is told late, when the id is in use again
    waiting.to_ask((1,), 0.0)
    waiting.answered(answer("a", incarnation=2), took_s=0.0, now_s=0.0)
    waiting.tell([end("a", incarnation=1)])
    assert waiting.take_told() == []
    assert waiting.pending == ["a"]
    waiting.tell([end("a", incarnation=2)])
    assert waiting.take_told() == [end("a", incarnation=2)]
    assert waiting.pending == []


def test_what_is_told_before_the_store_has_answered_counts_once_it_has() -> None:
    waiting = Waiting(["a", "b"])
    waiting.to_ask((1,), 0.0)
    waiting.tell(ends("a", "b"))
    waiting.answered(answer("a", "b", ended=["b"]), took_s=0.0, now_s=0.0)
    assert waiting.take_told() == ends("a"), "the end of b was the answer already"


def test_a_watcher_is_told_once_of_all_its_instances_that_ended() -> None:
    notifier, heard = FinishNotifier(), list[tuple[str, ...]]()
    with notifier.watch(["a", "b", "a"], lambda ended: heard.append(("first", *ids(ended)))):
        with notifier.watch(["b"], lambda ended: heard.append(("second", *ids(ended)))):
            notifier.ended(ends("a", "b", "c"))
        notifier.ended(ends("b"))
    notifier.ended(ends("a"))
    assert heard == [("first", "a", "b"), ("second", "b"), ("first", "b")]


def test_of_several_watchers_of_an_instance_each_is_told_until_it_waits_no_more() -> None:
    told: list[tuple[str, list[str]]] = []

    def watcher(name: str) -> Callable[[Sequence[InstanceEnd]], None]:
        return lambda ended: told.append((name, ids(ended)))

    notifier = FinishNotifier()
    with notifier.watch(["a", "b"], watcher("first")):
        with notifier.watch(["a"], watcher("second")):
            with notifier.watch(["a"], watcher("third")):
                notifier.ended(ends("a", "b"))
                assert sorted(told) == [("first", ["a", "b"]), ("second", ["a"]), ("third", ["a"])]
                told.clear()
            notifier.ended(ends("a"))
            assert sorted(told) == [("first", ["a"]), ("second", ["a"])]
            told.clear()
        notifier.ended(ends("b", "a"))
        assert told == [("first", ["b", "a"])]
        told.clear()
    notifier.ended(ends("a", "b"))
    assert told == []
