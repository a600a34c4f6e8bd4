"""The commands about images, typed to docker and to minidock: stdout, errors, exit codes.

Each scenario begins with busybox alone, in a daemon of this test's own. What differs by nature is
made equal first: ids, times, how long ago something was. An id that was named by a name before is
written ID:name; "sha256:" and short forms are known too.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import docker_daemon
from support.command import REPOSITORY, Minidock
from support.docker_daemon import Docker

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("images beside docker")]

SCENARIOS = {
    "history": """
        commit -m "a message" -c "CMD x" box made:1
        commit -a "me <m@e>" -m again -c "LABEL a=b" box2 made:2
        history made:1
        history --no-trunc made:1
        history -q made:1
        history -H=false made:2
        history --human=false --no-trunc made:2
        history --format "{{.ID}}|{{.CreatedBy}}|{{.Size}}|{{.Comment}}" made:1
        history -q --format "{{.Size}}" made:1
        history --format table made:1
        history --format "table {{.Size}}\\t{{.Comment}}" made:1
        history --format {{.Foo}} made:1
        history nosuch
        history UPPER
        history
        history a b
        image history -q made:1
    """,
    "ls": """
        tag busybox other:v1
        tag busybox localhost:5000/team/app:v1.2
        commit -m one -c "LABEL a=1" -c "LABEL b=2" box made:1
        commit -m two -c "LABEL a=2" box made:2
        commit box
        images
        images -q
        images -a
        images --digests
        images busybox
        images busybox:latest
        images other:nosuch
        images nosuch
        images made
        images *ade
        images localhost:5000/team/app
        images */app
        images */*/app
        images *
        images [
        images --filter dangling=true
        images --filter dangling=false
        images --filter dangling=maybe
        images --filter label=a
        images --filter label=a=1
        images --filter label=a --filter label=b
        images --filter label=nosuch
        images --filter reference=made --filter reference=other
        images --filter reference=made:1
        images --filter before=made:2
        images --filter since=made:1
        images --filter before=nosuch
        images --filter since=BAD
        images --filter until=1h
        images --filter until=nonsense
        images --filter foo=bar
        images --filter foo
        images --format "{{.Repository}}:{{.Tag}} {{.Size}} {{.Digest}} {{.SharedSize}}"
        images --format "table {{.Repository}}\\t{{.Tag}}"
        images -q --filter label=a
        images a b
        image ls -q made
        image list made:1
    """,
    "tag": """
        tag busybox other
        tag busybox other:v1
        tag busybox other:v1
        tag other:v1 registry.example:5000/a/b
        tag nosuch x
        tag busybox BAD
        tag busybox a:b:c
        tag busybox x@sha256:0000000000000000000000000000000000000000000000000000000000000000
        tag busybox ""
        tag busybox
        image tag busybox third
        images --format "{{.Repository}}:{{.Tag}}"
        commit box other:v1
        images --format "{{.Repository}}:{{.Tag}}"
        tag other:v1 other
        image inspect -f "{{.RepoTags}} {{.RepoDigests}} {{.Config.Cmd}}" busybox
    """,
    "rm": """
        tag busybox other:v1
        tag busybox other:v2
        rmi other:v1 nosuch other:v2
        commit -m 1 box parent
        run --name child --net none parent touch /y
        commit -m 2 child kid
        rmi -f parent
        images
        rmi kid
        rm child
        rmi --no-prune kid
        images -a
        image prune -f
        images -a
        rmi
        rmi -f nosuch
        rmi BAD
        image rm nosuch
        image remove nosuch
        rmi busybox
        rmi -f busybox
        images
    """,
    "prune": """
        image prune -f
        commit -m 1 box parent
        commit -c "LABEL keep=yes" box2 parent
        commit box2
        images
        image prune -f --filter label=nosuch
        image prune -f --filter label!=keep
        images
        image prune -f --filter until=1h
        image prune -f --filter until=nonsense
        image prune -f --filter dangling=true
        image prune -f --filter dangling=false
        image prune -f --filter reference=x
        image prune -f --filter foo=bar
        image prune x
        image prune
        images -a
        tag busybox busybox:2
        tag busybox busybox:3
        image prune -a
        image prune -af
        images -a
        rm box box2
        image prune -af
        images -a
    """,
    "commit": """
        commit box
        commit box made:1
        commit box BAD
        commit nobody made:1
        commit -c "RUN x" box made:1
        commit -c "NOSUCH x" box made:1
        commit -c "ENV A=1" -c "ENV B=$A" -c "WORKDIR /srv" box made:2
        commit --pause=false -m why -a who box made:3
        commit -p box made:3
        commit
        commit a b c
        image inspect -f "{{.Comment}}|{{.Author}}|{{.Config.Env}}|{{.Config.WorkingDir}}" made:2
        image inspect -f "{{.Comment}}|{{.Author}}|{{.Os}}/{{.Architecture}}" made:3
        image inspect -f "{{len .RootFS.Layers}} {{.RootFS.Type}} {{.RepoTags}}" made:2
        image inspect -f "{{json .Config}}" made:2
        image inspect -f "{{.Nosuch}}" made:2
        image inspect nosuch
        image inspect BAD
        image inspect
        inspect --type image nosuch
    """,
    "files": """
        save nosuch
        save busybox nosuch
        save -o /nosuch/x busybox
        save -o /dev/null busybox
        save
        save BAD
        load -i /nosuchfile
        load -i /etc/passwd
        load x
        import /nosuchfile
        import /etc/passwd
        import - BAD
        import --platform nosuch/x /etc/passwd
        import http://127.0.0.1:1/x.tar
        export nobody
        export -o /nosuch/x box
        export -o /dev/null box
        export
        export box a
        container export nobody
    """,
}
# `docker` numbers what it lists by name and tag in no order of its own; and some of its errors are
# Go's own words for what a system call said.
ONLY_THE_EXIT_CODE = (
    "load -i /etc/passwd",
    "import /etc/passwd",
    "import --platform nosuch/x /etc/passwd",
    "import http://127.0.0.1:1/x.tar",
    "save -o /nosuch/x busybox",
)


class Comparable:
    """Makes answers of both comparable: ids become names, times and ages become words."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def __call__(self, text: str) -> list[str]:
        for identity in re.findall(r"\b[0-9a-f]{64}\b", text):
            self._names.setdefault(identity[:12], f"ID{len(self._names)}")
        text = re.sub(r"\b([0-9a-f]{12})([0-9a-f]{52})?\b", self._named, text)
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)", "<time>", text)
        age = r"Less than a second|(?:\d+|About an?) (?:second|minute|hour)s?"
        text = re.sub(age, "<age>", text)
        return re.sub(r"[ \t]+", " ", text).splitlines()

    def _named(self, found: re.Match[str]) -> str:
        return self._names.setdefault(found[1], f"ID{len(self._names)}")


@pytest.fixture
def beside(require: object, busybox_tar: Path) -> Iterator[Docker]:
    """A docker whose only image is busybox; no other test uses its daemon."""
    from conftest import session_directory

    try:
        docker = docker_daemon.ensure(session_directory(), "images")
    except docker_daemon.NoDaemon as error:
        pytest.skip(f"no dockerd can be started here: {error}")
    changes = (REPOSITORY / "images/busybox/changes").read_text().splitlines()
    options = [word for change in changes for word in ("-c", change)]
    comment = "made by the recipe busybox"
    docker.ok("import", "-m", comment, *options, str(busybox_tar), "busybox")
    yield docker
    docker.remove_all_containers()
    docker("image", "prune", "-af")
    if ids := docker.ok("images", "-aq").split():
        docker("rmi", "-f", *ids)


def complaint(text: str) -> str:
    """The first sentence of an error, without who says it."""
    line = re.sub(r"\b[0-9a-f]{12}\b", "<id>", (text.splitlines() or [""])[0].rstrip("."))
    line = line.replace("[true false]", "[false true]")  # docker shuffles them
    for start in ("minidock: ", "Error response from daemon: ", "Error parsing reference: "):
        line = line.removeprefix(start)
    return line.replace('"minidock ', '"docker ')


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_docker_answers_about_images_minidock_answers(
    scenario: str, minidock: Minidock, busybox_image: str, beside: Docker
) -> None:
    for run in (beside.ok, minidock.ok):
        run("run", "--name", "box", "--net", "none", "busybox", "sh", "-c", "echo new >/x")
        run("run", "--name", "box2", "--net", "none", busybox_image, "sh", "-c", "echo 2 >/x2")
    shown = Comparable(), Comparable()
    differences = []
    for line in (line.strip() for line in SCENARIOS[scenario].strip().splitlines()):
        words = shlex.split(line)
        theirs, ours = beside(*words), minidock(*words)
        want, got = shown[0](theirs.stdout.decode()), shown[1](ours.stdout)
        if ours.code == theirs.returncode:
            error = complaint(theirs.stderr.decode()), complaint(ours.stderr)
            if line in ONLY_THE_EXIT_CODE or (sorted(want) == sorted(got) and error[0] == error[1]):
                continue
        differences.append(f"{line}: {theirs.returncode} {want} {theirs.stderr!r}\n  {ours}")
    assert not differences, "\n".join(differences)
