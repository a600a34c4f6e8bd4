"""`build`: build an image from a Dockerfile, with Docker's flags.

Progress goes to stderr (build_output.py); stdout gets only the image's ID, with -q.
"""

from __future__ import annotations

import os
import sys

from minidock.cli.flags.network_flags import parse_extra_host
from minidock.cli.flags.ulimit import parse_ulimit
from minidock.cli.flags.units import size_bytes
from minidock.cli.frame.command import command
from minidock.cli.frame.pflag import FlagType, in_section, switch, unsupported, value, values
from minidock.comma_separated import read_record
from minidock.errors import UsageError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Unpack

    from minidock.cli.flags.flag_values import BuildFlags
    from minidock.engine.build.options import Options, Secret

_ONE_MACHINE = "minidock builds for this machine, and stores the image in its own store"


def _choice(*allowed: str) -> FlagType:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"it must be one of {', '.join(allowed)}")
        return text

    return FlagType("string", parse)


def _platform(text: str) -> str:
    from minidock.engine.build.stage_plan import check_platform

    for one in text.split(","):
        try:
            check_platform(one, "the platform")
        except UsageError as error:
            raise ValueError(str(error)) from None
    return text


build_flags = in_section(
    "Options",
    values("--add-host", type=FlagType("list", parse_extra_host),
           help="Add a custom host-to-IP mapping (format: host:ip)"),
    values("--allow",
           help="Allow extra privileged entitlement: network.host, for RUN --network=host"),
    values("--build-arg", help="Set build-time variables"),
    value("--cgroup-parent", default="", help="Parent cgroup of RUN instructions"),
    value("-f", "--file", default="", help="Name of the Dockerfile (default: PATH/Dockerfile)"),
    value("--iidfile", default="", help="Write the image ID to this file"),
    values("--label", help="Set a label of the image (NAME=VALUE)"),
    value("--network", default="default", type=_choice("default", "bridge", "none", "host"),
          help="Network mode of RUN instructions (default|none|host)"),
    switch("--no-cache", help="Do not use the build cache"),
    values("--no-cache-filter", help="Do not use the build cache for this stage"),
    value("--platform", default="", type=FlagType("string", _platform),
          help="Target platform; only that of this machine is available"),
    value("--progress", default="auto", type=_choice("auto", "plain", "tty", "quiet"),
          help="Set type of progress output (auto, plain, tty)"),
    switch("--pull", help="Pull base images even if they exist locally"),
    switch("-q", "--quiet", help="Print only the image ID"),
    values("--secret", help="Secret to expose to the build (format: id=mysecret[,src=FILE])"),
    value("--shm-size", type=FlagType("bytes", size_bytes), default=0,
          help="Size of /dev/shm for RUN instructions"),
    values("-t", "--tag", help="Name and optionally a tag (format: name:tag)"),
    value("--target", default="", help="Build up to this stage"),
    values("--ulimit", type=FlagType("ulimit", parse_ulimit), help="Ulimit options"),
    values("-v", "--volume", help="Bind mount a host directory into RUN instructions (HOST:PATH)"),
    # Docker's other flags; some values ask for what minidock does anyway.
    unsupported("--rm", because="a step's container is always removed", bare="true",
            unless=("true", "1")),
    unsupported("--force-rm", because="a step's container is always removed", bare="true",
            unless=("true", "1")),
    unsupported("--load", because=_ONE_MACHINE, bare="true", unless=("true", "1")),
    unsupported("-o", "--output", because=_ONE_MACHINE, unless=("type=docker", "type=image")),
    unsupported("--push", because="`minidock push` does that", bare="true", unless=("false", "0")),
    unsupported("--provenance", because="attestations are not supported", unless=("false",)),
    unsupported("--sbom", because="attestations are not supported", unless=("false",)),
    unsupported("--attest", because="attestations are not supported"),
    unsupported("--annotation", because="manifest annotations are not stored; use --label"),
    unsupported("--builder", because="there is only one builder", unless=("default",)),
    unsupported("--build-context", because="additional build contexts are not supported"),
    unsupported("--cache-from", because="the build cache is local to the store"),
    unsupported("--cache-to", because="the build cache is local to the store"),
    unsupported("--metadata-file", because="use --iidfile for the image ID"),
    unsupported("--ssh", because="use --secret and RUN --mount=type=secret"),
    unsupported("--squash", because="`minidock export` and `import` produce a single layer",
            bare="true", unless=("false", "0")),
    unsupported("--compress", because="the context is not sent to a daemon", bare="true",
            unless=("false", "0")),
    unsupported("-m", "--memory", because="set limits on the cgroup of --cgroup-parent"),
    unsupported("--isolation", because="Windows only", unless=("", "default")),
)  # fmt: skip


@command("PATH | URL | -", at_least=1, at_most=1)
@build_flags
def build(arguments: tuple[str, ...], **flags: Unpack[BuildFlags]) -> int:
    """Build an image by the instructions of a Dockerfile"""
    from minidock.cli.output.build_output import screen, show_failure
    from minidock.engine.build.build import build as build_image
    from minidock.engine.build.failure import BuildFailed

    options = _options(arguments[0], flags)
    quiet = flags["quiet"] or flags["progress"] == "quiet"
    progress = screen("quiet" if quiet else flags["progress"])
    try:
        with progress:
            result = build_image(Store(), options, progress)
    except BuildFailed as error:
        show_failure(error)
        raise
    if flags["iidfile"]:
        _write_id(flags["iidfile"], result.image_id)
    for warning in result.warnings:
        print(f"[Warning] {warning}", file=sys.stderr)
    if quiet:
        print(result.image_id)
    return 0


def _options(context: str, flags: BuildFlags) -> Options:
    """Convert the flags to the engine's options. Raises UsageError with Docker's messages."""
    from minidock.engine.build.entitlements import read_entitlements
    from minidock.engine.build.options import Options

    options = Options(context)
    options.stdin = sys.stdin.buffer
    options.file = flags["file"]
    if context == "-" and options.file == "-":
        raise UsageError("invalid argument: can't use stdin for both build context and dockerfile")
    options.tags = [_tag(text) for text in dict.fromkeys(flags["tag"])]
    options.build_args = dict(_build_args(flags["build_arg"]))
    options.labels = dict(text.partition("=")[::2] for text in flags["label"])
    options.target = flags["target"]
    options.no_cache = flags["no_cache"]
    options.no_cache_stages = [
        name for text in flags["no_cache_filter"] for name in text.split(",")
    ]
    options.pull = flags["pull"]
    options.network = "default" if flags["network"] == "bridge" else flags["network"]
    options.allowed = read_entitlements(list(flags["allow"]))
    options.extra_hosts = list(flags["add_host"])
    options.secrets = {secret.name: secret for secret in map(_secret, flags["secret"])}
    options.binds = [_bind(text) for text in flags["volume"]]
    options.shm_size_bytes = flags["shm_size"]
    options.ulimits = list(flags["ulimit"])
    options.cgroup_parent = flags["cgroup_parent"]
    return options


def _tag(text: str) -> str:
    from minidock.oci import reference

    try:
        return reference.parse_tagged(text).familiar
    except UsageError as error:
        raise UsageError(f'invalid tag "{text}": {error}', hint=error.hint) from None


def _build_args(texts: tuple[str, ...]) -> list[tuple[str, str]]:
    """Parse NAME=VALUE; NAME alone takes its value from the environment, if set."""
    pairs = []
    for text in texts:
        name, equals, given = text.partition("=")
        if equals:
            pairs.append((name, given))
        elif name in os.environ:
            pairs.append((name, os.environ[name]))
    return pairs


def _secret(text: str) -> Secret:
    """Parse a --secret: id=NAME[,src=FILE][,env=VARIABLE][,type=file|env]."""
    from minidock.engine.build.options import Secret

    fields: dict[str, str] = {}
    try:
        found = read_record(text)
    except ValueError as error:
        raise UsageError(f"failed to parse csv secret: {error}") from None
    for field in found:
        key, equals, given = field.partition("=")
        if not equals:
            raise UsageError(f"invalid field '{field}' must be a key=value pair")
        key = {"source": "src"}.get(key.lower(), key.lower())
        if key not in ("id", "src", "env", "type"):
            raise UsageError(f"unexpected key '{key}' in '{field}'")
        fields[key] = given
    kind = fields.get("type", "")
    if kind not in ("", "file", "env"):
        raise UsageError(f'unsupported secret type "{kind}"')
    name = fields.get("id", "")
    if not name:
        raise UsageError("secret is missing an id", hint="--secret id=NAME,src=FILE")
    variable = fields.get("env", "")
    if kind == "env" and not variable:
        variable = fields.pop("src", name)
    path = fields.get("src", "")
    if not variable and not path:  # as Docker: a variable of that name, else a file
        variable, path = (name, "") if name in os.environ else ("", name)
    if path and not os.path.isfile(path):
        raise UsageError(f"failed to stat {path}: no such file or directory")
    return Secret(name, path=os.path.abspath(path) if path else "", variable=variable)


def _bind(text: str) -> str:
    """Parse a -v: a host path, absolute or relative, and its target in RUN instructions."""
    source, colon, rest = text.partition(":")
    if not colon or not source or not rest:
        raise UsageError(
            f"invalid volume specification: '{text}'", hint="write -v /HOST/DIR:/TARGET[:ro]"
        )
    source = os.path.abspath(source)
    if not os.path.exists(source):
        raise UsageError(f"{source}: no such file or directory")
    return f"{source}:{rest}"


def _write_id(path: str, image_id: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(image_id)
    except OSError as error:
        raise UsageError(f"cannot write the image's id: {path}: {error.strerror}") from None
