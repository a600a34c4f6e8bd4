"""DNS messages: what a question is, and that nothing else is taken for one."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minidock.engine.network.dns import message as dns

LABELS = st.from_regex(r"[a-zA-Z0-9_-]{1,63}", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(".".join)


def asked(name: str, kind: int = dns.A, *, number: int = 7, behind: bytes = b"") -> bytes:
    """A query as a resolver sends it. behind: an additional record."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    header = struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 1 if behind else 0)
    return header + labels + b"\0" + struct.pack("!HH", kind, dns.IN) + behind


@given(NAMES, st.integers(0, 65535), st.integers(0, 65535))
def test_question_is_read_in_lower_case(name: str, kind: int, number: int) -> None:
    query = dns.Query(asked(name, kind, number=number))
    assert (query.name, query.kind, query.id) == (name.lower(), kind, number)


def _patched(name: str, at: int, patch: bytes) -> bytes:
    whole = asked(name)
    return whole[:at] + patch + whole[at + len(patch) :]


@given(
    st.binary(max_size=300)
    | st.builds(_patched, NAMES, st.integers(0, 60), st.binary(min_size=1, max_size=4))
)
@example(asked("web"))
def test_garbage_is_no_question_unless_it_has_the_form_of_one(data: bytes) -> None:
    try:
        query = dns.Query(data)
    except ValueError:
        return
    assert data[4:6] == b"\0\1" and query.question == data[12 : 12 + len(query.question)]


@given(NAMES, st.integers(0, 400))
def test_cut_short_is_no_question(name: str, length: int) -> None:
    whole = asked(name)
    if length < len(whole):
        with pytest.raises(ValueError):
            dns.Query(whole[:length])


@pytest.mark.parametrize(
    "header",
    [(7, 0x8100, 1, 0, 0, 0), (7, 0x0100, 2, 0, 0, 0), (7, 0x0100, 0, 0, 0, 0),
     (7, 0x2000, 1, 0, 0, 0), (7, 0x0100, 1, 1, 0, 0)],
    ids=["response", "two questions", "none", "an update", "with an answer"],
)  # fmt: skip
def test_other_messages_are_no_questions(header: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        dns.Query(struct.pack("!HHHHHH", *header) + asked("a.b")[12:])


def test_pointer_in_a_question_is_refused() -> None:
    header = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0)
    with pytest.raises(ValueError):
        dns.Query(header + b"\xc0\x0c" + struct.pack("!HH", dns.A, dns.IN))


def test_answer_has_the_question_and_all_addresses() -> None:
    query = dns.Query(asked("web"))
    message = dns.response(query, dns.addresses(["10.0.0.2", "10.0.0.3"]))
    number, flags, questions, answers, *_ = struct.unpack_from("!HHHHHH", message)
    assert (number, questions, answers) == (7, 1, 2)
    assert flags == 0x8180  # a response, recursion desired and available, no error
    assert message[12:].startswith(asked("web")[12:])
    assert message.endswith(bytes([10, 0, 0, 3]))


def test_what_does_not_fit_is_left_out_and_said_to_be() -> None:
    query = dns.Query(asked("web"))
    many = dns.addresses([f"10.0.0.{number}" for number in range(1, 101)])
    message = dns.response(query, many, room=query.room)
    flags, answers = struct.unpack_from("!H2xH", message, 2)
    assert len(message) <= 512
    assert flags & 0x0200
    assert answers == (512 - len(asked("web"))) // 16
    assert len(dns.response(query, many)) == len(asked("web")) + 100 * 16


@pytest.mark.parametrize(("told", "room"), [(1232, 1232), (100, 512), (65535, 4096)])
def test_client_says_how_much_it_takes(told: int, room: int) -> None:
    record = b"\0" + struct.pack("!HHIH", dns.OPT, told, 0, 0)
    assert dns.Query(asked("web", behind=record)).room == room


def test_address_is_read_from_a_question_for_its_name() -> None:
    assert dns.Query(asked("2.0.19.172.in-addr.arpa", dns.PTR)).reverse_address() == "172.19.0.2"
    assert dns.Query(asked("2.0.19.172.in-addr.arpa")).reverse_address() == ""


@pytest.mark.parametrize("name", ["a" * 64 + ".net", "a..b", ""])
def test_name_that_dns_cannot_encode_has_no_pointer(name: str) -> None:
    assert dns.pointer(name) == []


def test_answer_belongs_to_its_question_only() -> None:
    query = dns.Query(asked("web.example"))
    answer = dns.with_id(dns.response(query), 99)
    assert dns.answers_to(answer, query, 99)
    assert not dns.answers_to(answer, query, 98)
    assert not dns.answers_to(answer, dns.Query(asked("other.example")), 99)
    assert not dns.answers_to(dns.with_id(asked("web.example"), 99), query, 99)
    assert not dns.answers_to(b"\0", query, 99)
