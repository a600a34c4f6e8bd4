"""Apply instructions that change only an image's run config.

    ENV A=1 B="two words"      LABEL team=web            CMD ["httpd", "-f"]    ENTRYPOINT /run.sh
    EXPOSE 80 53/udp           USER 1000:1000            WORKDIR /srv           VOLUME /data
    STOPSIGNAL SIGINT          SHELL ["/bin/bash", "-c"] ONBUILD RUN make       MAINTAINER me
    HEALTHCHECK --interval=5s CMD curl -f :80

ENV, LABEL, EXPOSE, USER, WORKDIR, VOLUME and STOPSIGNAL expand variables, with the values before
the instruction. The others leave "$" to the shell that runs the command.

Each handler returns the text of the history entry, or "" for none. As in Docker, values such as
"/a//b/" are not normalised.

Sources: docs.docker.com/reference/dockerfile; BuildKit's dockerfile2llb, with whose results the
tests compare; OCI image-spec config.md.
"""

from __future__ import annotations

import posixpath

from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.duration import format_go_duration
from minidock.engine.dockerfile.exposed_ports import exposed_ports
from minidock.engine.dockerfile.glob import GROWTH_MAX
from minidock.engine.dockerfile.health import HEALTH_DURATIONS, parse_healthcheck
from minidock.engine.dockerfile.pairs import name_values, quoted_words
from minidock.engine.dockerfile.word_expansion import (
    SPACES,
    expand,
    expand_words,
    go_quote,
    go_quote_rune,
)
from minidock.errors import UsageError
from minidock.numerals import is_decimal
from minidock.signals import signal_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from minidock.document_types.container import ContainerConfig
    from minidock.engine.dockerfile.instruction import Instruction

    Apply = Callable[[ContainerConfig, Instruction, Mapping[str, str]], str]

DEFAULT_SHELL = ["/bin/sh", "-c"]


def apply(
    config: ContainerConfig,
    instruction: Instruction,
    variables: Mapping[str, str],
    *,
    cmd_is_set: bool = False,
) -> str:
    """Apply one instruction to a run config; returns the text of its history entry.

    variables: ENV and ARG so far. cmd_is_set: this stage has its own CMD, which ENTRYPOINT keeps;
    ENTRYPOINT resets an inherited CMD.
    Raises DockerfileError with the instruction's lines; KeyError for RUN, COPY, ADD, FROM and ARG.
    """
    handler = _INSTRUCTIONS[instruction.keyword]
    try:
        history = handler(config, instruction, variables)
    except DockerfileError as error:
        raise error.at(instruction.first_line, instruction.last_line) from None
    if instruction.keyword == "ENTRYPOINT" and not cmd_is_set:
        config["Cmd"] = None
    return history


def applies_to(keyword: str) -> bool:
    """Whether `apply` handles a keyword."""
    return keyword in _INSTRUCTIONS


def pairs(instruction: Instruction, variables: Mapping[str, str]) -> list[tuple[str, str]]:
    """The names and values of an ENV or LABEL, variables expanded."""
    escape = instruction.escape
    return [
        (expand(name, variables, escape=escape), expand(value, variables, escape=escape))
        for name, value in name_values(instruction.text, escape=escape)
    ]


def arg_pairs(
    instruction: Instruction, variables: Mapping[str, str]
) -> list[tuple[str, str | None]]:
    """The names and defaults of an ARG, variables expanded; None for no default."""
    escape = instruction.escape
    found: list[tuple[str, str | None]] = []
    for word in quoted_words(instruction.text, escape=escape):
        name, equals, text = word.partition("=")
        default = expand(text, variables, escape=escape) if equals else None
        found.append((expand(name, variables, escape=escape), default))
    return found


def with_shell(config: ContainerConfig, command: str) -> list[str]:
    """The argv of a command in shell form: SHELL, then the command as one argument."""
    return [*(config.get("Shell") or DEFAULT_SHELL), command]


def environment(config: ContainerConfig) -> dict[str, str]:
    """The environment variables of a run config."""
    return dict(entry.partition("=")[::2] for entry in config.get("Env") or [])


def _command(config: ContainerConfig, instruction: Instruction) -> list[str]:
    if instruction.json is not None:
        return list(instruction.json)
    return with_shell(config, instruction.text)


def _cmd(config: ContainerConfig, instruction: Instruction, _: Mapping[str, str]) -> str:
    command = _command(config, instruction)
    config["Cmd"] = command
    config["ArgsEscaped"] = True  # for Windows only; Docker sets it for every CMD
    return f"CMD {_quote_list(command)}"


def _entrypoint(config: ContainerConfig, instruction: Instruction, _: Mapping[str, str]) -> str:
    command = _command(config, instruction)
    config["Entrypoint"] = command or None
    return f"ENTRYPOINT {_quote_list(command)}"


def _env(config: ContainerConfig, instruction: Instruction, variables: Mapping[str, str]) -> str:
    entries = list(config.get("Env") or [])
    added = pairs(instruction, variables)
    for name, value in added:
        entry = f"{name}={value}"
        position = [i for i, e in enumerate(entries) if e.partition("=")[0] == name]
        if position:
            entries[position[0]] = entry
        else:
            entries.append(entry)
    if sum(map(len, entries)) > GROWTH_MAX:
        raise DockerfileError(f"the environment is larger than {GROWTH_MAX >> 20} MiB")
    config["Env"] = entries
    return _join_pairs("ENV", added)


def _label(config: ContainerConfig, instruction: Instruction, variables: Mapping[str, str]) -> str:
    added = pairs(instruction, variables)
    labels = {**(config.get("Labels") or {}), **dict(added)}
    if sum(len(name) + len(value) for name, value in labels.items()) > GROWTH_MAX:
        raise DockerfileError(f"the labels are larger than {GROWTH_MAX >> 20} MiB")
    config["Labels"] = labels
    return _join_pairs("LABEL", added)


def _expose(config: ContainerConfig, instruction: Instruction, variables: Mapping[str, str]) -> str:
    ports: dict[str, dict[str, object]] = {}
    for word in sorted(instruction.words()):  # Docker reports errors in sorted order
        for port in expand_words(word, variables, escape=instruction.escape):
            ports.update(dict.fromkeys(exposed_ports(port), {}))
    known = {**(config.get("ExposedPorts") or {}), **ports}
    config["ExposedPorts"] = dict(sorted(known.items()))
    return f"EXPOSE map[{' '.join(f'{port}:{{}}' for port in sorted(ports))}]"


def _volume(config: ContainerConfig, instruction: Instruction, variables: Mapping[str, str]) -> str:
    words = (word.strip(SPACES) for word in instruction.words())
    paths = [expand(word, variables, escape=instruction.escape) for word in words]
    if not all(paths):
        raise DockerfileError("VOLUME specified can not be an empty string")
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}
    return f"VOLUME [{' '.join(paths)}]"


def _workdir(
    config: ContainerConfig, instruction: Instruction, variables: Mapping[str, str]
) -> str:
    path = expand(instruction.text, variables, escape=instruction.escape)
    if not path.startswith("/"):
        path = posixpath.normpath(posixpath.join("/", config.get("WorkingDir") or "/", path))
        path = "/" + path.lstrip("/")
    config["WorkingDir"] = path
    return f"WORKDIR {path}"


def _user(config: ContainerConfig, instruction: Instruction, variables: Mapping[str, str]) -> str:
    config["User"] = expand(instruction.text, variables, escape=instruction.escape)
    return f"USER {config['User']}"


def _stopsignal(
    config: ContainerConfig, instruction: Instruction, variables: Mapping[str, str]
) -> str:
    name = expand(instruction.text, variables, escape=instruction.escape)
    if not _is_signal(name):
        raise DockerfileError(f"invalid signal: {name}")
    config["StopSignal"] = name
    return f"STOPSIGNAL {name}"


def _shell(config: ContainerConfig, instruction: Instruction, _: Mapping[str, str]) -> str:
    shell = list(instruction.json or [])
    config["Shell"] = shell
    return f"SHELL [{' '.join(shell)}]"


def _healthcheck(config: ContainerConfig, instruction: Instruction, _: Mapping[str, str]) -> str:
    check = parse_healthcheck(instruction)
    config["Healthcheck"] = check
    durations = " ".join(
        f'"{format_go_duration(check.get(field, 0))}"' for field in HEALTH_DURATIONS.values()
    )
    retries = go_quote_rune(check.get("Retries", 0))  # Docker prints the number as a character
    return f"HEALTHCHECK &{{{_quote_list(check['Test'])} {durations} {retries}}}"


def _onbuild(config: ContainerConfig, instruction: Instruction, _: Mapping[str, str]) -> str:
    trigger = instruction.line.lstrip(SPACES)[len(instruction.written_keyword) :].lstrip(SPACES)
    for document in instruction.heredocs:
        trigger += f"\n{document.content}{document.name}"
    config["OnBuild"] = [*(config.get("OnBuild") or []), trigger]
    return ""


def _maintainer(_: ContainerConfig, instruction: Instruction, __: Mapping[str, str]) -> str:
    """The author is not in the run config: the caller sets it from `instruction.text`."""
    return f"MAINTAINER {instruction.text}"


def _is_signal(name: str) -> bool:
    """Whether Docker accepts a signal: a nonzero number, or a name with or without SIG."""
    digits = name[1:] if name[:1] in ("-", "+") else name
    if is_decimal(digits):
        return int(name) != 0
    try:
        signal_number(name)
    except UsageError:
        return False
    return True


def _join_pairs(keyword: str, values: list[tuple[str, str]]) -> str:
    return " ".join([keyword, *(f"{name}={value}" for name, value in values)])


def _quote_list(strings: list[str]) -> str:
    return f"[{' '.join(map(go_quote, strings))}]"


_INSTRUCTIONS: dict[str, Apply] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
