"""Queues between the reader thread and one caller: order, waiting, the end, the limit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from objstore.core.connection import Connection
from objstore.core.link import Link
from objstore.core.options import ServerURL, make_options
from objstore.core.protocol import Message, Parser
from objstore.core.subscription import Inbox, MessageQueue
from objstore.core.transport import TCPTransport
from objstore.errors import ConnectionLostError, ObjStoreError, ProtocolError, SlowConsumerError

#: Seconds to wait for what must happen.
TIMEOUT = 10.0


def message(payload: bytes, subject: str = "a") -> Message:
    return Message(subject, 1, "", memoryview(payload))


def take(queue: MessageQueue) -> bytes | None:
    """Take the next payload, without waiting."""
    taken = queue.next(0)
    return None if taken is None else bytes(taken.payload)


def test_messages_come_in_order() -> None:
    """Within a batch and across batches; then there are none."""
    queue = MessageQueue()
    queue.deliver([message(b"1"), message(b"2")])
    queue.deliver([message(b"3")])
    assert [take(queue) for _ in range(4)] == [b"1", b"2", b"3", None]
    queue.deliver([message(b"4")])
    assert take(queue) == b"4"


@pytest.mark.parametrize("timeout", [0, 0.0, 0.01])
def test_nothing_in_time_is_none(timeout: float) -> None:
    """It is no error, and nothing is lost by it."""
    queue = MessageQueue()
    assert queue.next(timeout) is None
    queue.deliver([message(b"1")])
    assert take(queue) == b"1"


def test_delivery_wakes_who_waits(background: ThreadPoolExecutor) -> None:
    """A wait without an end ends with a message."""
    queue = MessageQueue()
    waiting = background.submit(queue.next, None)
    queue.deliver([message(b"1")])
    woken = waiting.result(TIMEOUT)
    assert woken is not None and bytes(woken.payload) == b"1"


def test_end_wakes_who_waits(background: ThreadPoolExecutor) -> None:
    """A wait without an end ends with the failure."""
    queue = MessageQueue()
    waiting = background.submit(queue.next, None)
    queue.end(ConnectionLostError("cut"))
    with pytest.raises(ConnectionLostError, match="cut"):
        waiting.result(TIMEOUT)


def test_what_came_before_the_end_can_be_taken() -> None:
    """Then the failure comes, as often as one asks, each time a new exception."""
    queue = MessageQueue()
    queue.deliver([message(b"1"), message(b"2")])
    assert not queue.ended
    queue.end(ConnectionLostError("cut"))
    assert queue.ended
    assert [take(queue), take(queue)] == [b"1", b"2"]
    raised = []
    for timeout in (None, 0, 1):
        with pytest.raises(ConnectionLostError, match="cut") as caught:
            queue.next(timeout)
        raised.append(caught.value)
    assert len({id(error) for error in raised}) == 3


def test_first_failure_counts() -> None:
    """What fails afterwards fails because of it."""
    queue = MessageQueue()
    queue.end(ConnectionLostError("first"))
    queue.end(ProtocolError("second"))
    queue.deliver([message(b"late")])
    for _ in range(2):
        with pytest.raises(ConnectionLostError, match="first"):
            queue.next(0)


def test_limit_ends_the_queue() -> None:
    """Up to it everything waits; more ends the queue, but loses nothing before."""
    queue = MessageQueue(limit=2000)
    queue.deliver([message(bytes(700))])
    queue.deliver([message(bytes(700))])
    assert not queue.ended
    queue.deliver([message(bytes(700))])
    assert queue.ended
    assert [take(queue), take(queue)] == [bytes(700), bytes(700)]
    with pytest.raises(SlowConsumerError, match="2000 bytes"):
        queue.next(0)


def test_empty_messages_count_as_well() -> None:
    """A message takes memory beside its payload."""
    queue = MessageQueue(limit=100_000)
    for _ in range(1000):
        queue.deliver([message(b"")])
    assert queue.ended


def test_what_was_taken_makes_room() -> None:
    """The limit is for what waits, not for all that ever came."""
    queue = MessageQueue(limit=1000)
    for _ in range(10):
        queue.deliver([message(b"12345"), message(b"67890")])
        assert [take(queue), take(queue)] == [b"12345", b"67890"]
    assert not queue.ended


def test_delivery_is_announced() -> None:
    """Once for each batch, and once for the end."""
    queue = MessageQueue()
    announced: list[bool] = []
    queue.on_delivery = lambda: announced.append(queue.ended)
    queue.deliver([message(b"1"), message(b"2")])
    queue.deliver([message(b"3")])
    queue.end(ConnectionLostError("cut"))
    queue.end(ConnectionLostError("again"))
    queue.deliver([message(b"late")])
    assert announced == [False, False, True]


def test_end_by_the_limit_is_announced() -> None:
    """Who was told of messages is told that there will be no more."""
    queue = MessageQueue(limit=1)
    announced: list[bool] = []
    queue.on_delivery = lambda: announced.append(queue.ended)
    queue.deliver([message(b"12")])
    assert announced == [True]


def test_one_thread_delivers_while_another_takes(background: ThreadPoolExecutor) -> None:
    """Nothing is lost, doubled or reordered, and the limit counts right."""
    queue = MessageQueue(limit=1 << 24)
    total = 20_000

    def deliver() -> None:
        for start in range(0, total, 10):
            queue.deliver([message(b"%d" % number) for number in range(start, start + 10)])
        queue.end(ObjStoreError("done"))

    delivering = background.submit(deliver)
    for number in range(total):
        taken = queue.next(TIMEOUT)
        assert taken is not None and bytes(taken.payload) == b"%d" % number
    delivering.result(TIMEOUT)
    with pytest.raises(ObjStoreError, match="done"):
        queue.next(0)


# Inboxes


@pytest.fixture
def inbox() -> Inbox:
    """An inbox of a connection that was never opened."""
    connection = Connection(make_options("localhost"))
    link = Link(ServerURL("localhost"), TCPTransport.__new__(TCPTransport), Parser())
    return Inbox(connection, link, "_INBOX.me.7", "7")


def test_inbox_numbers_its_requests(inbox: Inbox) -> None:
    """The number at the end of a subject tells which request a message answers."""
    assert inbox.subject() == "_INBOX.me.7.0"
    for number in (0, 1, 17, 10**12):
        assert inbox.number(message(b"", inbox.subject(number))) == number


@pytest.mark.parametrize(
    "tail", ["", "x", "1.2", "-1", "+1", "1_0", " 1", "\uff11", "\xb2", "9" * 5000]
)
def test_message_that_answers_no_request_has_no_number(inbox: Inbox, tail: str) -> None:
    """A server may send any subject."""
    assert inbox.number(message(b"", f"_INBOX.me.7.{tail}")) == -1
    assert inbox.number(message(b"", tail)) == -1
