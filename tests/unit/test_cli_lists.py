"""ps, images, volume ls, network ls: held against the real docker client.

Docker's client gets lists from a server of ours, in the form of Docker's API; minidock's tables are
made of the same entries. What both print must be equal, to the last space.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_docker_api import DOCKER, FakeDockerApi

from minidock.cli.frame.error_output import FormatError, FormatSyntaxError
from minidock.cli.output import container_row, human
from minidock.cli.output.columns import Row
from minidock.cli.output.table import write_rows
from minidock.cli.verbs import history, image_list, network, volume
from minidock.cli.verbs.ps import _check_format
from minidock.engine.image.history import Step
from minidock.engine.image.image import Image
from minidock.paths import Store

pytestmark = pytest.mark.skipif(DOCKER is None, reason="no docker client to compare with")
NOW = int(time.time())
ID = "0123456789abcdef" * 4


def container(**fields: Any) -> dict[str, Any]:
    return {
        "Id": ID,
        "Names": ["/web"],
        "Image": "busybox",
        "ImageID": "sha256:" + "ab" * 32,
        "Command": "httpd -f",
        "Created": NOW - 7300,
        "Ports": [],
        "Labels": {},
        "State": "running",
        "Status": "Up 2 hours",
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {"bridge": {}}},
        "Mounts": [],
        **fields,
    }


def port(private: int, public: int = 0, ip: str = "", kind: str = "tcp") -> dict[str, Any]:
    published = {"IP": ip, "PublicPort": public} if ip else {}
    return {"PrivatePort": private, "Type": kind, **published}


CONTAINERS = [
    container(),
    container(
        Id="f" * 64,
        Names=["/a-rather-long-name-for-a-container"],
        Command="sh -c 'while true; do sleep 1; done'",
        Status="Exited (137) 2 days ago",
        State="exited",
        Labels={"b": "2"},
    ),
    container(Image="sha256:" + "ab" * 32, Ports=[port(80)], Command='say "hi"\t\\ ü'),
    container(
        Image="repo/name:tag@sha256:" + "cd" * 32,
        Created=NOW - 130,
        Ports=[port(80, 8080, "0.0.0.0"), port(80, 8080, "::")],
    ),
    container(
        Ports=[port(n, n, "0.0.0.0") for n in (80, 81, 82, 90)] + [port(53, 53, "127.0.0.1", "udp")]
    ),
    container(
        Ports=[port(n, n, "::") for n in (80, 81)] + [port(n, n + 8000, "0.0.0.0") for n in (1, 2)]
    ),
    container(
        Ports=[port(80), port(81), port(443, kind="udp")], Labels={"com.example.my-key": "v"}
    ),
    container(
        Mounts=[
            {"Type": "volume", "Name": "x" * 40, "Driver": "local"},
            {"Type": "bind", "Source": "/host/path"},
        ],
        Created=NOW - 400 * 86400,
    ),
    container(
        NetworkSettings={"Networks": {"none": {}}},
        Created=NOW - 40 * 86400,
        Names=["/a", "/b/a"],
    ),
    container(SizeRw=2024607, SizeRootFs=123456789, Created=NOW - 50 * 60 - 5),
    container(SizeRw=0, SizeRootFs=5, Created=NOW - 80),
]

FORMATS = [
    "",
    "table",
    "json",
    "table {{.ID}}\t{{.Names}}",
    r"table {{.ID}}\t{{.Image}}\t{{.Ports}}",
    "{{.ID}} {{.Names}} {{.Image}} {{.Command}} {{.State}} {{.Status}}",
    "{{.Ports}}|{{.RunningFor}}|{{.CreatedAt}}",
    "{{.Mounts}}|{{.LocalVolumes}}|{{.Networks}}|{{.Size}}",
    '{{.Label "b"}}|{{.Label "com.example.my-key"}}|{{.Labels}}',
    'table {{.Names}}\t{{.Label "com.example.my-key"}}\t{{.Size}}',
    "{{json .Names}} {{json .Ports}} {{json .Command}}",
    "{{json .}}",
    "table {{json .Names}}\t{{upper .Image}}\t{{lower .State}}\t{{truncate .Status 4}}",
    '{{upper .Names}} {{len .ID}} {{printf "%.5s" .Image}} {{pad .Names 1 2}}|',
    '{{if eq .State "running"}}up{{else}}down{{end}}',
    "table  {{.ID}}",
    '{{range split .Names "e"}}{{.}};{{end}}',
    "x",
    "table x",
    "table {{.ID}}\n{{.Names}}",
    r"table {{.ID}}\n{{.Names}}",
    "table {{.ID}}\t{{.Names}}\nx\t{{.Image}}",
    "table\n{{.ID}}",
    "table {{.ID}}\n",
    "table\n",
    "table{{.ID}}",
    "table\t{{.ID}}",
    "table ",
    "\ntable {{.ID}}",
    "{{.ID}}\nx",
    r"table {{.ID}}\r\n\v{{.Names}}",
    "{{.Foo}}",
    "{{.ID.Foo}}",
    "{{.Label}}",
    "{{.ID 1}}",
    "{{",
    "{{foo}}",
    "table {{.Foo}}",
]


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDockerApi]:
    with FakeDockerApi(tmp_path_factory.mktemp("docker")) as api:
        yield api


def printed(
    rows: Callable[[], list[Row]], format: str, columns: tuple[str, ...], headings: dict[str, str]
) -> tuple[int, str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            if headings is container_row.HEADINGS:
                _check_format(format)
            write_rows(rows(), format=format, columns=columns, headings=headings)
        except (FormatError, FormatSyntaxError) as error:
            return error.exit_code, f"{error}\n"
    return 0, out.getvalue()


def said(docker: FakeDockerApi, *argv: str) -> tuple[int, str]:
    answer = docker.run(*argv)
    return answer.returncode, answer.stderr if answer.returncode else answer.stdout


@pytest.mark.parametrize("no_trunc", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_ps_prints_what_docker_prints(format: str, no_trunc: bool, docker: FakeDockerApi) -> None:
    docker.answers["/containers/json"] = CONTAINERS
    flags = ["--no-trunc"] if no_trunc else []

    def ours() -> tuple[int, str]:
        rows = [container_row.row(entry, truncate=not no_trunc) for entry in CONTAINERS]
        return printed(lambda: rows, format, container_row.COLUMNS, container_row.HEADINGS)

    before, theirs = ours(), said(docker, "ps", *flags, "--format", format)
    assert theirs in (before, ours())  # one may grow a minute older while docker answers


def test_ps_with_sizes_prints_what_docker_prints(docker: FakeDockerApi) -> None:
    docker.answers["/containers/json"] = CONTAINERS
    columns = (*container_row.COLUMNS, "Size")

    def ours() -> tuple[int, str]:
        rows = [container_row.row(entry, truncate=True) for entry in CONTAINERS]
        return printed(lambda: rows, "", columns, container_row.HEADINGS)

    before, theirs, after = ours(), said(docker, "ps", "-s"), ours()
    assert theirs in (before, after)  # a container may grow a minute older while docker answers


def test_ps_without_containers_prints_the_heading(docker: FakeDockerApi) -> None:
    docker.answers["/containers/json"] = []
    for format in ("", "{{.ID}}", "json", 'table {{.ID}}\t{{.Label "a.b-c"}}'):
        ours = printed(list, format, container_row.COLUMNS, container_row.HEADINGS)
        assert ours == said(docker, "ps", "--format", format)


def an_image(references: list[str], *, age: int = 3600, size: int = 2025091) -> Image:
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - age))
    record = {"layers": [], "size": size, "created": created, "parent": "", "tagged": ""}
    return Image(Store("/nowhere"), "sha256:" + "ab" * 32, record, references)


IMAGES = [
    an_image(["busybox:latest", "busybox:1"]),
    an_image([], age=90 * 86400, size=180123456),
    an_image(["localhost:5000/team/app:v1.2"], size=999),
    an_image(["debian@sha256:" + "cd" * 32], age=150, size=10**10),
]


def image_rows(*, digests: bool, truncate: bool = True) -> list[Row]:
    return [
        image_list.row(image, *names, truncate=truncate)
        for image in IMAGES
        for names in image_list._names(image, [], with_digests=digests)
    ]


@pytest.mark.parametrize(
    "flags",
    [[], ["--digests"], ["--no-trunc"], ["--format", "json"],
     ["--format", "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}} {{.CreatedSince}} {{.CreatedAt}}"],
     ["--format", "table {{.Repository}}\t{{.Digest}}\t{{.Size}}"], ["--format", "{{.Foo}}"]],
    ids=" ".join,
)  # fmt: skip
def test_images_prints_what_docker_prints(flags: list[str], docker: FakeDockerApi) -> None:
    docker.answers["/images/json"] = [
        {
            "Id": image.id,
            "RepoTags": image.references,
            "RepoDigests": image.digests,
            "Created": int(human.moment_of(image.created)),
            "Size": image.size,
            "Containers": -1,
            "SharedSize": -1,
        }
        for image in IMAGES
    ]
    digests = "--digests" in flags
    format = flags[1] if flags[:1] == ["--format"] else ""
    columns = image_list._DIGEST_COLUMNS if "--digests" in flags else image_list._COLUMNS
    ours = printed(
        lambda: image_rows(digests=digests, truncate="--no-trunc" not in flags),
        format, columns, image_list.HEADINGS,
    )  # fmt: skip
    assert ours == said(docker, "images", *flags)


STEPS = [
    Step("sha256:" + "ab" * 32, "", "", "Imported from -", 2025091),
    Step("<missing>", "2024-05-06T07:08:09.123456789Z", "RUN a\tb " + "x" * 60, "", 0),
    Step("<missing>", "2026-01-02T03:04:05+02:00", 'CMD ["sh"]', "buildkit.dockerfile.v0", 999),
]


@pytest.mark.parametrize(
    "flags",
    [[], ["--no-trunc"], ["-H=false"], ["-H=false", "--no-trunc"], ["--format", "json"],
     ["--format", "{{.ID}} {{.CreatedSince}} {{.CreatedAt}} {{.CreatedBy}} {{.Size}}"],
     ["--format", "table {{.Size}}\t{{.Comment}}"], ["--format", "{{.Tags}}"]],
    ids=" ".join,
)  # fmt: skip
def test_history_prints_what_docker_prints(flags: list[str], docker: FakeDockerApi) -> None:
    docker.answers["/images/x/history"] = [
        {
            "Id": step.image_id,
            "Created": int(human.moment_of(step.created)),
            "CreatedBy": step.created_by,
            "Comment": step.comment,
            "Size": step.size,
        }
        for step in STEPS
    ]
    is_human, truncate = "-H=false" not in flags, "--no-trunc" not in flags
    format = flags[1] if flags[:1] == ["--format"] else ""
    ours = printed(
        lambda: [history.row(step, human=is_human, truncate=truncate) for step in STEPS],
        format, history.columns(human=is_human), history.HEADINGS,
    )  # fmt: skip
    assert ours == said(docker, "history", *flags, "x")


@pytest.mark.parametrize(
    "format", ["", "json", "{{.Name}} {{.Mountpoint}} {{.Links}} {{.Size}}", "table {{.Labels}}"]
)
def test_volume_ls_prints_what_docker_prints(format: str, docker: FakeDockerApi) -> None:
    volumes = [
        {"CreatedAt": "", "Driver": "local", "Labels": {"a": "1"}, "Mountpoint": "/v/one/_data",
         "Name": "one", "Options": None, "Scope": "local"},
        {"CreatedAt": "", "Driver": "local", "Labels": None, "Mountpoint": "/v/two/_data",
         "Name": "two", "Options": None, "Scope": "local"},
    ]  # fmt: skip
    docker.answers["/volumes"] = {"Volumes": volumes, "Warnings": None}
    ours = printed(
        lambda: [volume.row(v) for v in volumes],
        format, volume._COLUMNS, volume.HEADINGS,
    )  # fmt: skip
    assert ours == said(docker, "volume", "ls", "--format", format)


@pytest.mark.parametrize("format", ["", "json", "{{.IPv6}} {{.Internal}} {{.Labels}}"])
def test_network_ls_prints_what_docker_prints(format: str, docker: FakeDockerApi) -> None:
    networks = [
        {"Name": name, "Id": letter * 64, "Created": "2024-05-06T07:08:09.5Z", "Scope": "local",
         "Driver": driver, "EnableIPv6": False, "Internal": False, "Labels": {}, "IPAM": {}}
        for name, letter, driver in (("bridge", "a", "bridge"), ("none", "b", "null"))
    ]  # fmt: skip
    docker.answers["/networks"] = networks
    ours = printed(
        lambda: [network._row(n, truncate=True) for n in networks],
        format, network._COLUMNS, network._HEADINGS,
    )  # fmt: skip
    assert ours == said(docker, "network", "ls", "--format", format)
