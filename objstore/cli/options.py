"""
The grammar of the command line: commands, options, and how their values are read.

It turns words into a namespace, or ends with a usage error. It knows of no server, and
what the commands do is in `commands`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from objstore.core.deadline import DEFAULT_TIMEOUT
from objstore.display import escape

__all__ = ["COMMANDS", "make_parser", "parse_arguments", "parse_duration", "parse_size"]

_DEFAULT_PORT = 4222

#: Seconds in each unit of a duration.
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")

#: As in GNU's tools: KB is 1000 bytes, KiB and K are 1024.
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([KMGTP])(i?B)?|B)?", re.IGNORECASE)
_POWERS = {unit: power for power, unit in enumerate("KMGTP", start=1)}


# Values


def parse_duration(text: str) -> float:
    """
    Read `90`, `1.5s`, `500ms` or `1h30m` as seconds.

    Raises:
        argparse.ArgumentTypeError: If it is no duration.
    """
    if _NUMBER.fullmatch(text):
        return float(text)
    if _DURATION.fullmatch(text):
        return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    raise argparse.ArgumentTypeError(f"{text!r} is no duration like 90, 1h30m or 500ms")


def parse_size(text: str) -> int:
    """
    Read `4096`, `10MB` (10,000,000), `1GiB` or `1G` (both 2 ** 30) as bytes.

    Raises:
        argparse.ArgumentTypeError: If it is no size.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size like 4096, 10MB or 1GiB")
    number, unit, suffix = match.groups()
    base = 1000 if suffix in ("B", "b") else 1024
    factor = base ** _POWERS[unit.upper()] if unit else 1
    return round(float(number) * factor) if "." in number else int(number) * factor


def _parse_count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _parse_fraction(text: str) -> float:
    number, percent = text.removesuffix("%"), text.endswith("%")
    fraction = float(number) / (100 if percent else 1) if _NUMBER.fullmatch(number) else 2.0
    if fraction > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no fraction like 0.1 or 10%")
    return fraction


def _parse_port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 0 to 65535")
    return int(text)


def _parse_header(text: str) -> tuple[str, str]:
    key, colon, value = text.partition(":")
    if not colon or not key.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no header like KEY:VALUE")
    return key.strip(), value.strip()


def _parse_metadata(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is no metadata like KEY=VALUE")
    return key, value


# Parsers


class _Parser(argparse.ArgumentParser):
    """Complains in one line, and takes no abbreviations: they would break with new options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"objstore: {escape(message)}; {self.prog} --help shows the usage\n")


class _CommandParser(_Parser):
    """
    Takes options before, after and between the names.

    argparse gives all names that may be missing their values at the first name it meets,
    so that in `info BUCKET --json NAME` it would have no use for NAME.
    """

    _inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._inside:
            return super().parse_known_args(args, namespace)
        self._inside = True  # the next line calls this method for each half of the work
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._inside = False


def _add_global_options(parser: argparse.ArgumentParser, *, defaults: bool) -> None:
    """Add what may stand before and after the command; only the first has defaults."""
    group = parser.add_argument_group("for every command")

    def add(*names: str, default: object = None, **options: Any) -> None:
        options["default"] = default if defaults else argparse.SUPPRESS
        group.add_argument(*names, **options)

    add("--server", metavar="URL", help="server; by default $NATS_URL, then localhost")
    add("--context", metavar="NAME", help="context of the nats tool; by default the selected one")
    add("--creds", metavar="FILE", help="a user's JWT and nkey seed, or a seed alone")
    add("--local", metavar="DIR", help="start a server of its own on the data in DIR")
    add("--timeout", metavar="S", type=parse_duration, help="seconds without progress to wait")
    add("--json", action="store_true", default=False, help="print JSON")
    add("-q", "--quiet", action="store_true", default=False, help="say nothing but errors")
    add("--no-progress", action="store_true", default=False, help="draw no progress")
    add("-v", "--verbose", action="store_true", default=False, help="log what happens")
    add("--tlsca", metavar="FILE", help="authorities to trust instead of the system's")
    add("--tlscert", metavar="FILE", help="client certificate")
    add("--tlskey", metavar="FILE", help="its private key")
    add("--tlsfirst", action="store_true", default=False, help="begin with TLS")


def _add_bucket(parser: argparse.ArgumentParser, **options: Any) -> None:
    parser.add_argument("bucket", metavar="BUCKET", **options)


def _add_force(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("-f", "--force", action="store_true", help=text)


def _add_metadata(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metadata",
        metavar="K=V",
        type=_parse_metadata,
        action="append",
        default=[],
        help="metadata, once for each key",
    )


# Commands


def _define_add(parser: argparse.ArgumentParser) -> None:
    _add_configuration(parser)
    parser.add_argument(
        "--storage", choices=("file", "memory"), default="file", help="where the data is kept"
    )
    parser.set_defaults(description="", replicas=1)


def _define_edit(parser: argparse.ArgumentParser) -> None:
    _add_configuration(parser)


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    """Add what may be said of a bucket when it is made, and later."""
    _add_bucket(parser)
    parser.add_argument("--ttl", type=parse_duration, help="age at which objects expire; 0: never")
    parser.add_argument("--replicas", type=_parse_count, help="copies, 1 to 5")
    parser.add_argument(
        "--max-bucket-size", metavar="SIZE", type=parse_size, help="most bytes in the bucket"
    )
    parser.add_argument("--description", help="for people")
    parser.add_argument("--compress", action="store_true", help="compress what is stored")
    _add_metadata(parser)


def _define_ls(parser: argparse.ArgumentParser) -> None:
    _add_bucket(parser, nargs="?", help="bucket whose objects to list; all buckets without")
    parser.add_argument(
        "prefix", metavar="PREFIX", nargs="?", default="", help="only names that begin so"
    )
    parser.add_argument("-n", "--names", action="store_true", help="names only")


def _define_info(parser: argparse.ArgumentParser) -> None:
    _add_bucket(parser)
    parser.add_argument("name", metavar="NAME", nargs="?", help="object; the bucket without")


def _define_put(parser: argparse.ArgumentParser) -> None:
    _add_bucket(parser)
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="file to store; - for standard input"
    )
    parser.add_argument("--name", help="name of the object; by default the file's base name")
    parser.add_argument(
        "-H",
        "--header",
        metavar="K:V",
        type=_parse_header,
        action="append",
        default=[],
        help="header, once for each value",
    )
    _add_metadata(parser)
    parser.add_argument("--description", help="for people")
    parser.add_argument("--chunk-size", metavar="SIZE", type=parse_size, help="by default 128KiB")
    parser.add_argument("--create", action="store_true", help="create the bucket if missing")
    parser.add_argument(
        "-r", "--recursive", action="store_true", help="store directories with all that is in them"
    )
    parser.add_argument(
        "--prefix", metavar="PREFIX", default="", help="put before the names, with -r"
    )
    _add_force(parser, "overwrite objects")


def _define_get(parser: argparse.ArgumentParser) -> None:
    _add_bucket(parser)
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="object")
    parser.add_argument(
        "-O", "--output", metavar="FILE", help="file to write; - for standard output"
    )
    parser.add_argument(
        "-r",
        "--recursive",
        action="store_true",
        help="write all objects whose names begin with NAME, or match it where it has * ? [",
    )
    _add_force(parser, "overwrite files")


def _define_cat(parser: argparse.ArgumentParser) -> None:
    _add_bucket(parser)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--offset", metavar="SIZE", type=parse_size, default=0, help="bytes to leave out"
    )
    parser.add_argument("--length", metavar="SIZE", type=parse_size, help="most bytes to write")


def _define_cp(parser: argparse.ArgumentParser) -> None:
    _add_bucket(parser)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("new_name", metavar="NEW_NAME")
    parser.add_argument("--to", metavar="BUCKET", help="bucket of the copy; by default the same")
    _add_force(parser, "overwrite an object")


def _define_mv(parser: argparse.ArgumentParser) -> None:
    _add_bucket(parser)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("new_name", metavar="NEW_NAME")


def _define_rm(parser: argparse.ArgumentParser) -> None:
    _add_bucket(parser)
    parser.add_argument("names", metavar="NAME", nargs="*", help="object; the bucket without")
    parser.add_argument("--prefix", help="delete all objects whose names begin so")
    _add_force(parser, "delete without asking, and mind nothing that is missing")


def _define_watch(parser: argparse.ArgumentParser) -> None:
    _add_bucket(parser)
    parser.add_argument("--count", metavar="N", type=_parse_count, help="end after N lines")
    parser.add_argument("--ignore-deletes", action="store_true", help="leave deletions out")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--updates-only", action="store_true", help="leave out what is there")
    group.add_argument("--include-history", action="store_true", help="show every version")


def _define_seal(parser: argparse.ArgumentParser) -> None:
    _add_bucket(parser)
    _add_force(parser, "seal without asking")


def _define_check(parser: argparse.ArgumentParser) -> None:
    _add_bucket(parser)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--read-data", action="store_true", help="read all objects")
    group.add_argument(
        "--read-fraction",
        metavar="F",
        type=_parse_fraction,
        help="read some objects, chosen at random: 0.1 or 10%%",
    )


def _define_sweep(parser: argparse.ArgumentParser) -> None:
    _add_bucket(parser)
    parser.add_argument(
        "--min-age",
        metavar="DURATION",
        type=parse_duration,
        default=86400.0,
        help="since the last chunk was stored; by default 1d",
    )
    _add_force(parser, "remove; without it, only show what would be removed")


def _define_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=_parse_port, default=_DEFAULT_PORT, help="by default 4222; 0 for any"
    )
    parser.add_argument("--dir", metavar="DIR", help="where to keep the data")


def _define_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh"))


def _define_version(parser: argparse.ArgumentParser) -> None:
    pass


class Command(NamedTuple):
    """What a command is for, and what may follow it."""

    summary: str
    define: Callable[[argparse.ArgumentParser], None]
    aliases: Sequence[str] = ()


#: Every command, in the order of the help.
COMMANDS = {
    "add": Command("create a bucket", _define_add, ["mb"]),
    "edit": Command("change the configuration of a bucket", _define_edit),
    "ls": Command("list buckets, or the objects of one", _define_ls),
    "info": Command("show a bucket or an object", _define_info),
    "put": Command("store files", _define_put),
    "get": Command("write an object to a file", _define_get),
    "cat": Command("write an object, or a part of it, to standard output", _define_cat),
    "cp": Command("copy an object", _define_cp),
    "mv": Command("rename an object", _define_mv),
    "rm": Command("delete objects, or a bucket", _define_rm, ["del"]),
    "watch": Command("show changes as they happen", _define_watch),
    "seal": Command("make a bucket read-only, for ever", _define_seal),
    "check": Command("look for what is broken in a bucket", _define_check),
    "sweep": Command("remove chunks that belong to no object", _define_sweep),
    "serve": Command("run a nats-server on this machine", _define_serve),
    "completion": Command("print what lets a shell complete commands", _define_completion),
    "version": Command("show the version", _define_version),
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = _Parser(
        prog="objstore",
        description="Files in, files out: the NATS JetStream Object Store.",
        epilog="objstore COMMAND --help shows the options of a command.",
    )
    _add_global_options(parser, defaults=True)
    commands = parser.add_subparsers(
        title="commands",
        dest="command",
        metavar="COMMAND",
        required=True,
        parser_class=_CommandParser,
    )
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(
            name,
            aliases=command.aliases,
            help=command.summary,
            description=f"{command.summary.capitalize()}.",
        )
        command.define(subparser)
        _add_global_options(subparser, defaults=False)
        subparser.set_defaults(command=name)  # whatever alias was used
    return parser


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """
    Read the command line.

    Returns:
        A namespace; `command` is never an alias, `timeout` and `connect_timeout` are
        seconds, the latter None if nobody said so.

    Raises:
        SystemExit: With 2 if it cannot be understood, with 0 if it asks for help.
    """
    parser = make_parser()
    args = parser.parse_args(argv)
    if complaint := _find_contradiction(args):
        parser.error(complaint)
    args.connect_timeout = args.timeout
    if args.timeout is None:
        args.timeout = DEFAULT_TIMEOUT
    return args


def _find_contradiction(args: argparse.Namespace) -> str:
    """Return what argparse cannot see; "" if all is well."""
    if args.local is not None and args.server is not None:
        return "--local and --server exclude each other"
    if args.local is not None and (args.context is not None or args.creds is not None):
        return "--local has its own server: nobody to show --context or --creds"
    if args.command == "put":
        if args.name is not None and len(args.files) > 1:
            return "--name is for one FILE"
        if args.recursive and args.name is not None:
            return "--name is for one FILE; -r takes --prefix"
        if args.prefix and not args.recursive:
            return "--prefix needs -r"
        if "-" in args.files and args.name is None:
            return "standard input needs --name"
    if args.command == "get":
        if args.recursive and args.output == "-":
            return "-r writes files: -O names a directory"
        if not args.recursive and not args.name:
            return "NAME is missing; -r writes all objects"
    if args.command == "edit" and not _is_change(args):
        return "nothing to change: name what is to be different"
    if args.command == "rm":
        if args.names and args.prefix is not None:
            return "NAME and --prefix exclude each other"
        if args.prefix == "" and not args.force:
            return "an empty --prefix means every object; -f if that is meant"
    return ""


def _is_change(args: argparse.Namespace) -> bool:
    given = (args.description, args.ttl, args.replicas, args.max_bucket_size)
    return args.compress or bool(args.metadata) or any(value is not None for value in given)
