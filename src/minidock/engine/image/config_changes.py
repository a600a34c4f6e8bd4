"""The lines of a Dockerfile that `commit --change` and `import --change` take.

    CMD ["httpd", "-f"]      ENV A=1 B="two words"      EXPOSE 80 53/udp      USER 1000:1000
    ENTRYPOINT /run.sh       LABEL team=web             VOLUME /data          WORKDIR /srv
    STOPSIGNAL SIGINT        ONBUILD RUN make           HEALTHCHECK --interval=5s CMD curl -f :80

Only these: they change an image's config and no file of it. A list in brackets is the *exec form*,
to be run as it is; anything else the *shell form*, run by /bin/sh -c.

Sources: docs.docker.com/reference/dockerfile; moby builder/dockerfile/dispatchers.go.
"""

from __future__ import annotations

import signal

from minidock import jsontext
from minidock.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_SHELL = ["/bin/sh", "-c"]
_PORT_MAX = 65535
_PROTOCOLS = ("tcp", "udp", "sctp")
_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}


def apply_changes(config: dict[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """A copy of an image's run config, with the instructions carried out in order.

    Raises UsageError in Docker's words for an instruction that is none, or not one of these.
    """
    changed: dict[str, Any] = jsontext.loads(jsontext.dumps(config))
    cmd_is_set = False
    for line in changes:
        keyword, arguments = _split_instruction(line)
        if keyword == "ENTRYPOINT" and not cmd_is_set:
            changed["Cmd"] = None  # the old command's arguments are not the new one's
        cmd_is_set = cmd_is_set or keyword == "CMD"
        _INSTRUCTIONS[keyword](changed, arguments)
    return changed


def _split_instruction(line: str) -> tuple[str, str]:
    """Keyword and arguments of one instruction, continued lines joined."""
    pieces = [piece for piece in line.split("\n") if not piece.lstrip().startswith("#")]
    text = "".join(
        piece.rstrip()[:-1] if piece.rstrip().endswith("\\") else piece + " " for piece in pieces
    ).strip()
    if not text:
        raise UsageError("file with no instructions", hint="--change takes one like 'ENV A=1'")
    keyword, _, arguments = text.partition(" ")
    if keyword.upper() not in _INSTRUCTIONS:
        raise UsageError(
            f"{keyword} is not a valid change command",
            hint=f"these are: {', '.join(sorted(_INSTRUCTIONS))}",
        )
    return keyword.upper(), arguments.strip()


def _exec_form(text: str) -> list[str] | None:
    """The strings of a JSON list, or None where the text is not one: then it is the shell form."""
    if not text.startswith("["):
        return None
    try:
        value = jsontext.loads(text)
    except ValueError:
        return None
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    return None


def _command(text: str) -> list[str]:
    listed = _exec_form(text)
    if listed is not None:
        return listed
    return [*_SHELL, text] if text else list(_SHELL)


def _cmd(config: dict[str, Any], text: str) -> None:
    config["Cmd"] = _command(text)


def _entrypoint(config: dict[str, Any], text: str) -> None:
    config["Entrypoint"] = _command(text) or None


def _env(config: dict[str, Any], text: str) -> None:
    environment = list(config.get("Env") or [])
    known = dict(entry.partition("=")[::2] for entry in environment)
    for name, value in _name_values("ENV", text):
        entry = f"{name}={_expanded(value, known)}"
        position = [i for i, e in enumerate(environment) if e.partition("=")[0] == name]
        if position:
            environment[position[0]] = entry
        else:
            environment.append(entry)
    config["Env"] = environment


def _label(config: dict[str, Any], text: str) -> None:
    known = dict(entry.partition("=")[::2] for entry in config.get("Env") or [])
    labels = dict(config.get("Labels") or {})
    for name, value in _name_values("LABEL", text):
        labels[_expanded(name, known)] = _expanded(value, known)
    config["Labels"] = labels


def _expose(config: dict[str, Any], text: str) -> None:
    known = dict(entry.partition("=")[::2] for entry in config.get("Env") or [])
    ports = dict(config.get("ExposedPorts") or {})
    words = _expanded_words("EXPOSE", text, known)
    for word in words:
        number, _, protocol = word.rpartition(":")[2].partition("/")
        protocol = protocol.lower() or "tcp"
        first, dash, last = number.partition("-")
        if protocol not in _PROTOCOLS:
            raise UsageError(f"Invalid proto: {protocol}")
        if not (_is_port(first) and (not dash or _is_port(last))):
            raise UsageError(f"Invalid containerPort: {number}")
        for port in range(int(first), int(last or first) + 1):
            ports[f"{port}/{protocol}"] = {}
    config["ExposedPorts"] = dict(sorted(ports.items()))


def _volume(config: dict[str, Any], text: str) -> None:
    known = dict(entry.partition("=")[::2] for entry in config.get("Env") or [])
    listed = _exec_form(text)
    paths = listed if listed is not None else _expanded_words("VOLUME", text, known)
    if not paths or not all(path.strip() for path in paths):
        raise UsageError("VOLUME specified can not be an empty string")
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path.strip(): {} for path in paths}}


def _workdir(config: dict[str, Any], text: str) -> None:
    import posixpath

    path = _one_argument(config, "WORKDIR", text)
    joined = posixpath.join("/", config.get("WorkingDir") or "/", path)
    config["WorkingDir"] = "/" + posixpath.normpath(joined).lstrip("/")


def _user(config: dict[str, Any], text: str) -> None:
    config["User"] = _one_argument(config, "USER", text)


def _stopsignal(config: dict[str, Any], text: str) -> None:
    name = _one_argument(config, "STOPSIGNAL", text)
    is_number = name.isascii() and name.isdigit() and 0 < int(name) <= signal.SIGRTMAX
    if not is_number and not hasattr(signal.Signals, "SIG" + name.upper().removeprefix("SIG")):
        raise UsageError(f"invalid signal: {name}")
    config["StopSignal"] = name


def _onbuild(config: dict[str, Any], text: str) -> None:
    trigger = text.partition(" ")[0].upper()
    if not trigger:
        raise UsageError("ONBUILD requires at least one argument")
    if trigger == "ONBUILD":
        raise UsageError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise UsageError(f"{trigger} isn't allowed as an ONBUILD trigger")
    config["OnBuild"] = [*(config.get("OnBuild") or []), text]


def _healthcheck(config: dict[str, Any], text: str) -> None:
    words = text.split(" ")
    options: dict[str, str] = {}
    while words and words[0].startswith("--"):
        name, _, value = words.pop(0)[2:].partition("=")
        if name not in _HEALTH_OPTIONS:
            raise UsageError(f"unknown flag: {name}")
        options[name] = value
    kind, rest = (words[0].upper() if words else ""), " ".join(words[1:]).strip()
    if kind == "NONE":
        if options or rest:
            raise UsageError("HEALTHCHECK NONE takes no arguments")
        config["Healthcheck"] = {"Test": ["NONE"]}
        return
    if kind != "CMD":
        raise UsageError(
            f"unknown type {kind!r} in HEALTHCHECK (try CMD)" if kind else
            "missing command type in HEALTHCHECK"
        )  # fmt: skip
    if not rest:
        raise UsageError("missing command after HEALTHCHECK CMD")
    listed = _exec_form(rest)
    check: dict[str, Any] = {"Test": ["CMD", *listed] if listed else ["CMD-SHELL", rest]}
    for name, value in options.items():
        field, parse = _HEALTH_OPTIONS[name]
        if number := parse(value):
            check[field] = number
    config["Healthcheck"] = check


def _duration(text: str) -> int:
    """A Go duration such as "1m30s" or "1.5h" in nanoseconds."""
    total = 0.0
    number = unit = ""
    for character in text + "\0":
        is_digit = character.isdigit() or character == "."
        if (is_digit and unit) or character == "\0":
            if unit not in _UNITS_NS or not number.replace(".", "", 1).isdigit():
                raise UsageError(f'time: invalid duration "{text}"')
            total += float(number) * _UNITS_NS[unit]
            number = unit = ""
        number, unit = (number + character, unit) if is_digit else (number, unit + character)
    if 0 < total < 1_000_000:
        raise UsageError("a duration of a health check cannot be less than 1ms")
    return int(total)


def _retries(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"--retries must be a number, not {text!r}")
    return int(text)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) <= _PORT_MAX


def _one_argument(config: dict[str, Any], keyword: str, text: str) -> str:
    known = dict(entry.partition("=")[::2] for entry in config.get("Env") or [])
    if not text:
        raise UsageError(f"{keyword} requires exactly one argument")
    return _expanded(text, known)


def _expanded_words(keyword: str, text: str, known: dict[str, str]) -> list[str]:
    if not text:
        raise UsageError(f"{keyword} requires at least one argument")
    return [word for raw in _words(text) if (word := _expanded(raw, known))]


def _name_values(keyword: str, text: str) -> list[tuple[str, str]]:
    """NAME=VALUE pairs, or the older form: one name, a blank, and all the rest as its value.

    The quotes are still on both; `_expanded` takes them off.
    """
    words = _words(text)
    if not words:
        raise UsageError(f"{keyword} requires at least one argument")
    if "=" not in words[0]:
        name, _, value = text.partition(" ")
        if not value.strip():
            raise UsageError(f"{keyword} must have two arguments")
        return [(name, value.strip())]
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(
                f"Syntax error - can't find = in {word!r}. Must be of the form: name=value"
            )
        if not name:
            raise UsageError(f"{keyword} names can not be blank")
        pairs.append((name, value))
    return pairs


def _words(text: str) -> list[str]:
    """Split at blanks that no quote and no backslash protects; the quotes stay."""
    words: list[str] = []
    word = quote = ""
    escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character.isspace():
            if word:
                words.append(word)
            word = ""
            continue
        word += character
    return [*words, word] if word else words


def _expanded(text: str, known: dict[str, str]) -> str:
    """A word without its quotes, with $NAME, ${NAME}, ${NAME:-default}, ${NAME:+value} put in."""
    result = quote = ""
    at = 0
    while at < len(text):
        character = text[at]
        at += 1
        if quote != "'" and character == "\\" and at < len(text):
            if quote and text[at] not in '"$\\':
                result += "\\"
            result += text[at]
            at += 1
        elif character in "'\"" and quote in ("", character):
            quote = "" if quote else character
        elif character == "$" and quote != "'":
            value, at = _variable(text, at, known)
            result += value
        else:
            result += character
    return result


def _variable(text: str, at: int, known: dict[str, str]) -> tuple[str, int]:
    """The value of the variable whose name begins at `at`, and where the text goes on."""
    if text[at : at + 1] != "{":
        end = at
        while end < len(text) and (text[end].isalnum() or text[end] == "_"):
            end += 1
        return (known.get(text[at:end], ""), end) if end > at else ("$", at)
    end = text.find("}", at)
    if end < 0:
        raise UsageError(f"syntax error: missing '}}' in {text!r}")
    name, modifier, word = text[at + 1 : end], "", ""
    for operator in (":-", ":+", ":?"):
        if operator in name:
            name, modifier, word = (*name.partition(operator),)
            break
    value = known.get(name, "")
    if not name.replace("_", "a").isalnum():
        raise UsageError(f"unsupported modifier in {text!r}")
    if modifier == ":?" and not value:
        raise UsageError(f"{name}: {word or 'not set'}")
    if modifier == ":+":
        return (_expanded(word, known) if value else ""), end + 1
    return value or (_expanded(word, known) if modifier == ":-" else ""), end + 1


_HEALTH_OPTIONS: dict[str, tuple[str, Callable[[str], int]]] = {
    "interval": ("Interval", _duration),
    "timeout": ("Timeout", _duration),
    "start-period": ("StartPeriod", _duration),
    "start-interval": ("StartInterval", _duration),
    "retries": ("Retries", _retries),
}
_INSTRUCTIONS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
