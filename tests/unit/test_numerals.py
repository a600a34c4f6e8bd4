"""Numbers in texts: only ASCII digits, and whatever sign, base and unit Docker takes."""

from __future__ import annotations

import pytest

from minidock.cli.flags.storage import parse_mount
from minidock.cli.flags.ulimit import parse_ulimit
from minidock.cli.flags.units import duration_nanoseconds, nano_cpus, port_range, size_bytes
from minidock.cli.frame.pflag import parse_int
from minidock.comma_separated import read_record
from minidock.errors import UsageError
from minidock.numerals import atoi, decimal_fraction, is_decimal, octal
from minidock.signals import signal_number

FOREIGN = ["\u0660", "\u0663", "1\u0660", "\u00b2", "\uff15", "\u0967", "1_0", " 5", "5 ", "5\n",
           "", "9" * 5000, "nan", "inf", "1e5", "--5", "0x"]  # fmt: skip

BARE = 'bare " in non-quoted-field'
QUOTE = 'extraneous or missing " in quoted-field'


@pytest.mark.parametrize("text", FOREIGN)
@pytest.mark.parametrize(
    "read", [atoi, octal, size_bytes, duration_nanoseconds, port_range, signal_number]
)
def test_what_looks_like_a_number_is_none(read: object, text: str) -> None:
    if (text, read) in (("", port_range), ("5 ", size_bytes)):  # as docker: any port, 5 bytes
        return
    with pytest.raises((ValueError, UsageError)):
        read(text)  # type: ignore[operator]


@pytest.mark.parametrize("text", [text for text in FOREIGN if text not in ("", "1e5")])
def test_fractions_are_of_ascii_digits(text: str) -> None:
    for read in (decimal_fraction, nano_cpus):
        if (read, text) != (nano_cpus, "1_0"):
            with pytest.raises(ValueError):
                read(text)
    assert not is_decimal(text)


# What docker 26.1 makes of these.
@pytest.mark.parametrize(("text", "number"), [("+5", 5), ("0x10", 16), ("1_0", 10), ("010", 8)])
def test_numbers_of_flags_have_go_s_spellings(text: str, number: int) -> None:
    assert parse_int(text) == number


@pytest.mark.parametrize("text", ["\u0663", " 5", "_1", "1__0", "+-5", "0x", "9" * 5000, ""])
def test_numbers_of_flags_that_go_does_not_know(text: str) -> None:
    with pytest.raises(ValueError, match="strconv.ParseInt"):
        parse_int(text)


def test_cpus_are_a_fraction_and_a_large_exponent_is_none() -> None:
    assert nano_cpus("1/2") == 500_000_000
    assert nano_cpus("1e-1") == 100_000_000
    with pytest.raises(ValueError, match="failed to parse 1e9999999 as a rational number"):
        nano_cpus("1e9999999")


def test_ulimits_are_plain_numbers() -> None:
    for text in ("nofile=\u0663", "nofile=1_0", "nofile=0x10"):
        with pytest.raises(ValueError):
            parse_ulimit(text)


@pytest.mark.parametrize("mode", ["0o17", "1_7", "+17", "-17", " 17", "18", "\u0661"])
def test_modes_are_octal_digits(mode: str) -> None:
    with pytest.raises(ValueError, match="invalid value for tmpfs-mode"):
        parse_mount(f"type=tmpfs,dst=/x,tmpfs-mode={mode}")


# The answers of docker 26.1 to --mount.
@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("type=bind,src=/tmp,dst=/x\ny", ["type=bind", "src=/tmp", "dst=/x"]),
        ("\ntype=bind,src=/tmp,dst=/x", ["type=bind", "src=/tmp", "dst=/x"]),
        ("type=bind,src=/tmp,dst=/x\n", ["type=bind", "src=/tmp", "dst=/x"]),
        ("type=bind,src=/tmp,\ndst=/x", ["type=bind", "src=/tmp", ""]),
        ("a\rb,c\r\nd", ["a\rb", "c"]),
        ('"a,""b""\nc",d', ['a,"b"\nc', "d"]),
        ("a,", ["a", ""]),
    ],
)
def test_line_breaks_and_quotes_of_a_record(text: str, fields: list[str]) -> None:
    assert read_record(text) == fields


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "EOF"),
        ("\n", "EOF"),
        ('type=bind,src=/tmp,dst="/x\ny"', f"parse error on line 1, column 24: {BARE}"),
        ('type=bind,src=/tmp,dst=/"x', f"parse error on line 1, column 25: {BARE}"),
        ('type=bind,"src=/tmp,dst=/x', f"parse error on line 1, column 27: {QUOTE}"),
        ('type=bind,"src=/tmp"a,dst=/x', f"parse error on line 1, column 20: {QUOTE}"),
    ],
)  # fmt: skip
def test_wrong_quotes_of_a_record(text: str, told: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_record(text)
    assert str(caught.value) == told
