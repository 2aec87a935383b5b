"""The grammar: values, where options may stand, and that every one is documented."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from objstore.cli import commands
from objstore.cli.options import (
    COMMANDS,
    make_parser,
    parse_arguments,
    parse_duration,
    parse_size,
)

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def parse(line: str) -> argparse.Namespace:
    return parse_arguments(line.split())


# Values


@pytest.mark.parametrize(
    ("text", "seconds"),
    {
        **{"0": 0, "90": 90, "1.5": 1.5},
        **{"500ms": 0.5, "90s": 90, "1.5s": 1.5, "2m": 120, "7d": 604800, "2w": 1209600},
        **{"1h30m": 5400, "1d1h1m1s1ms": 90061.001},
    }.items(),
)
def test_durations(text: str, seconds: float) -> None:
    """Seconds, or numbers with units."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "h", "-1", "1x", "1h ", "1 h", "1h30", "1e3", "nan", "1.h", "ten", "1H"]
)
def test_bad_durations(text: str) -> None:
    """The error says what a duration looks like."""
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no duration like 90, 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    {
        **{"0": 0, "4096": 4096, "9007199254740993": 9007199254740993, "17B": 17, "17 B": 17},
        **{"1KB": 1000, "10MB": 10**7, "1.5GB": 15 * 10**8, "2TB": 2 * 10**12},
        **{"1KiB": 1024, "0.5KiB": 512, "1GiB": 1 << 30, "3 PiB": 3 << 50},
        **{"1K": 1024, "1k": 1024, "10M": 10 << 20},
    }.items(),
)
def test_sizes(text: str, size: int) -> None:
    """Bytes, or a number with a unit: of 1000 with B, of 1024 without, or with iB."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "B", "-1", "1XB", "1iB", "1KI", "1e3", "ten", "1K1K", "1."])
def test_bad_sizes(text: str) -> None:
    """The error says what a size looks like."""
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no size like 4096, 10MB or 1GiB"):
        parse_size(text)


def test_headers_and_metadata_are_split_at_the_first_sign() -> None:
    """A value may hold the sign, and be empty; blanks around a header are cut."""
    args = parse("put b f -H a:b:c -H k: --metadata k=v=w --metadata e=")
    assert args.header == [("a", "b:c"), ("k", "")]
    assert args.metadata == [("k", "v=w"), ("e", "")]
    assert parse_arguments(["put", "b", "f", "-H", "Type: a b "]).header == [("Type", "a b")]


# Where options may stand


@pytest.mark.parametrize(
    "line",
    [
        *("--json info b n", "info --json b n", "info b --json n", "info b n --json"),
        *("info --json -- b n", "info b --json -- n"),
    ],
)
def test_options_stand_anywhere(line: str) -> None:
    """Before the command, before, between and after the names."""
    args = parse(line)
    assert (args.json, args.bucket, args.name) == (True, "b", "n")


def test_the_later_of_two_options_counts() -> None:
    """One before the command is the default of the one after it."""
    args = parse("--server a --timeout 5 ls --server b")
    assert (args.server, args.timeout, args.connect_timeout) == ("b", 5, 5)


def test_default_timeouts() -> None:
    """To connect, the environment or the client decides."""
    args = parse("ls")
    assert (args.connect_timeout, args.timeout) == (None, 30.0)


@pytest.mark.parametrize("line", ["rm b -f x y", "rm b x -f y", "rm -f b x y", "del b x y -f"])
def test_any_number_of_names(line: str) -> None:
    """Options between them separate nothing."""
    args = parse(line)
    assert (args.command, args.force, args.names) == ("rm", True, ["x", "y"])


def test_everything_is_a_name_after_two_dashes() -> None:
    """So that an object may be called -f."""
    args = parse("rm b -- -f --json")
    assert (args.force, args.names) == (False, ["-f", "--json"])


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "the following arguments are required: COMMAND; objstore --help shows the usage"),
        ("get", "the following arguments are required: BUCKET; objstore get --help"),
        ("get b", "NAME is missing; -r writes all objects"),
        ("get b -r -O -", "-r writes files: -O names a directory"),
        ("put b -r d --name n", "--name is for one FILE; -r takes --prefix"),
        ("put b f --prefix p", "--prefix needs -r"),
        ("cp b n", "the following arguments are required: NEW_NAME"),
        ("edit b", "nothing to change"),
        ("completion fish", "invalid choice: 'fish'"),
        ("get b n more", "unrecognized arguments: more"),
        ("ls --nam", "unrecognized arguments: --nam"),
        ("frobnicate", "invalid choice: 'frobnicate'"),
        ("add b --ttl 5x", "'5x' is no duration"),
        ("add b --max-bucket-size 5x", "'5x' is no size"),
        ("add b --replicas 0", "'0' is no number above 0"),
        ("add b --metadata k", "'k' is no metadata like KEY=VALUE"),
        ("put b f -H k", "'k' is no header like KEY:VALUE"),
        ("put b -", "standard input needs --name"),
        ("put b f g --name n", "--name is for one FILE"),
        ("rm b n --prefix p", "NAME and --prefix exclude each other"),
        ("rm b --prefix=", "an empty --prefix means every object"),
        ("serve --port 65536", "'65536' is no port"),
        ("watch b --updates-only --include-history", "not allowed with argument"),
        ("--server a ls --local b", "--local and --server exclude each other"),
    ],
)
def test_wrong_usage(line: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says what is wrong, and where to read what would be right."""
    with pytest.raises(SystemExit) as caught:
        parse(line)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("objstore: ")
    assert complaint in err


# Completeness


def subparsers() -> dict[str, argparse.ArgumentParser]:
    (action,) = (action for action in make_parser()._actions if isinstance(action.choices, dict))
    assert isinstance(action.choices, dict)
    return action.choices


def test_every_command_does_something() -> None:
    """The grammar and the functions know the same commands."""
    assert [*COMMANDS] == sorted(
        [*commands._COMMANDS, *commands._OFFLINE_COMMANDS], key=[*COMMANDS].index
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_in_the_reference(name: str) -> None:
    """It has a section there, with all its aliases and options."""
    text = REFERENCE.read_text(encoding="utf-8")
    common, _, _ = text.partition("\n### ")
    match = re.search(rf"^### `{name}\b.*?(?=^##|\Z)", text, re.DOTALL | re.MULTILINE)
    assert match, f"there is no section on {name}"
    for alias in COMMANDS[name].aliases:
        assert f"`{alias}`" in match[0]
    documented = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", common + match[0]))
    options = {option for a in subparsers()[name]._actions for option in a.option_strings}
    assert options <= documented
