"""The same command lines, typed to docker and to minidock: exit codes and stdout are equal.

What differs by nature is made equal first: ids, times, and how long ago something was.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from support.command import Minidock
from support.docker_daemon import Docker

pytestmark = [pytest.mark.root, pytest.mark.alone]  # alone: `docker ps` shows all of a daemon

SCENARIOS = {
    "runs": """
        run --rm --net none busybox echo hi
        run --rm --net none busybox sh -c "echo out; exit 7"
        run --rm --net none busybox nope
        run --rm --net none busybox /etc
        run --rm --net none -u nobodyhere busybox true
        run --rm --net none nosuchimage true
        run --rm --net none -m 5m busybox true
        run --rm --net none --name a/b busybox true
        run --rm --net none -e A=1 -e NOT_SET busybox sh -c 'echo "$A $NOT_SET"'
        run --rm --net none -w /tmp/new -u 5:6 busybox sh -c "pwd; id -u; id -g"
        run --rm --net none --entrypoint echo busybox a b
        run --rm --net none -h myhost busybox hostname
        run --rm --net none -itx busybox true
        run --rm --net none -it busybox true
        run
        create nosuchimage true
        create -m 5x busybox true
    """,
    "volumes of one letter": r"""
        create --net none -v a:/v busybox
        run --rm --net none -v a:/v busybox sh -c "cut -d' ' -f5 /proc/self/mountinfo | grep a:"
        run --rm --net none -v a:v busybox sh -c "cut -d' ' -f5 /proc/self/mountinfo | grep a:"
        run --rm --net none -v é:/v/w busybox sh -c "cut -d' ' -f5 /proc/self/mountinfo | grep :/"
        run --rm --net none -v a:/v/../x busybox ls /a:
        run --rm --net none -v a: busybox sh -c "cut -d' ' -f5 /proc/self/mountinfo | grep a:"
        run --rm --net none -v c:\\x busybox sh -c "cut -d' ' -f5 /proc/self/mountinfo | grep c:"
        run --rm --net none -v x busybox sh -c "cut -d' ' -f5 /proc/self/mountinfo | grep x$"
        run --rm --net none -v xyz busybox sh -c "cut -d' ' -f5 /proc/self/mountinfo | grep xyz$"
        run --rm --net none -v ../xyz busybox sh -c "cut -d' ' -f5 /proc/self/mountinfo | grep xyz$"
        create --net none --name one -v a:/v busybox
        inspect -f "{{json .Config.Volumes}} {{json .HostConfig.Binds}}" one
        create --net none -v a:/v:ro busybox
        create --net none -v 1:/v busybox
        create --net none -v ab:v busybox
        create --net none -v /v:a busybox
        create --net none -v a:b:/v busybox
        create --net none -v a:/b:/v busybox
        create --net none -v a:/v:ro:x busybox
        create --net none -v ab:/v:ro:x busybox
        create --net none -v ab::/v busybox
        create --net none -v ab:/v: busybox
        create --net none -v :/v busybox
        run --rm --net none -v ab:/v busybox touch /v/f
        run --rm --net none -v ab:/v busybox ls /v
        volume create a
        volume create 1
        create --net none --mount type=volume,src=a,dst=/v busybox
        volume ls -q --filter name=^ab$
    """,
    "life": """
        run -d --net none --name c1 busybox sleep 1000
        run -d --net none --name c1 busybox sleep 1000
        ps
        ps -a --no-trunc --format "{{.Names}} {{.State}} {{.Image}} {{.Command}}"
        ps -q --filter name=c1
        ps --filter name=nobody
        ps --filter status=exited
        ps --filter foo=bar
        ps --filter status=foo
        ps --format {{.Foo}}
        exec c1 echo hi
        exec c1 sh -c "exit 4"
        exec -e X=5 c1 sh -c "echo $X"
        exec -it c1 true
        exec nobody true
        pause c1
        pause c1
        ps --format {{.Status}}
        exec c1 true
        unpause c1
        unpause c1
        rename c1 c2
        rename c2 c2
        rename c2 a/b
        rename nobody x1
        kill -s FOO c2
        kill -s 99 c2
        rm c2
        top nobody
        port c2
        port c2 80
        stop -t 0 c2
        stop c2
        wait c2
        ps
        top c2
        pause c2
        attach c2
        kill c2
        start c2
        restart -t 0 c2
        inspect -f "{{.State.Status}} {{.Path}} {{.Args}} {{.Name}} {{.HostConfig.NetworkMode}}" c2
        inspect -f "{{json .Config.Cmd}} {{.Config.Tty}} {{.Mounts}} {{.RestartCount}}" c2
        inspect -f {{.Foo}} c2
        inspect -f {{ c2
        inspect nobody
        inspect --type image nobody
        inspect --type foo c2
        start c2 nobody
        rm -f c2 nobody
        rm c2
        ps -a
        ps extra
        start
        start -a a b
        nosuchcommand
    """,
    "logs": """
        create --net none --name talker busybox sh -c "echo one; echo two; echo three"
        start -a talker
        logs talker
        logs --tail 1 talker
        logs -n 2 talker
        logs --tail 0 talker
        logs --tail nonsense talker
        logs --since 1h talker
        logs --until 1h talker
        logs --since nonsense talker
        logs -t talker
        logs nobody
        diff talker
        wait talker
        rm talker
    """,
    "images": """
        tag busybox other:v1
        tag busybox BAD
        tag nosuchimage x
        images --format "{{.Repository}}:{{.Tag}} {{.CreatedSince}}" other
        images nosuchimage
        images --filter dangling=maybe
        images --filter foo=bar
        run --net none --name changed busybox sh -c "echo x > /new; rm /bin/vi; mkdir /d"
        diff changed
        commit -m msg -a me -c "CMD cat /new" changed made:1
        commit changed BAD
        commit nobody
        run --rm --net none made:1
        image inspect -f "{{.Comment}} {{.Author}} {{.Config.Cmd}} {{.RepoTags}}" made:1
        rmi busybox other:v1
        rm changed
        rmi made:1 nosuchimage
        rmi -f nosuchimage
        load -i /nosuchfile
        import /nosuchfile
        save nosuchimage
        image nosuchverb
    """,
    "volumes": """
        volume create data
        volume create data
        volume create x
        volume create a/b
        volume create -d foo abc
        volume ls
        volume ls -q --filter dangling=true
        volume ls --filter dangling=maybe
        volume ls --filter foo=bar
        run --rm --net none -v data:/v busybox sh -c "echo x > /v/f"
        run --rm --net none -v data:/v:ro busybox sh -c "cat /v/f; echo y > /v/f"
        run -d --net none --name user -v data:/v busybox sleep 1000
        volume ls -q --filter dangling=true
        volume rm data
        rm -f user
        volume inspect -f "{{.Name}} {{.Driver}} {{.Scope}} {{.Labels}}" data
        volume inspect nosuchvolume
        volume rm data
        volume rm data
        volume rm -f data
        run --rm --net none -v /anonymous busybox touch /anonymous/f
        volume ls -q
        run --net none --name anon -v /anonymous busybox true
        rm -v anon
        volume ls -q
        volume prune -f
    """,
}
# `docker image nosuchverb` prints its help instead.
ONLY_THE_EXIT_CODE = ("image nosuchverb",)


def comparable(text: str) -> str:
    """An answer without what differs from one run to the next."""
    text = re.sub(r"[0-9a-f]{64}", "<id>", text)
    text = re.sub(r"\b[0-9a-f]{12}\b", "<short id>", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>", text)
    age = r"Less than a second|(?:\d+|About an?) (?:second|minute|hour)s?"
    text = re.sub(age, "<age>", text)
    return re.sub(r" +", " ", text)


def in_order(text: str) -> str:
    return "\n".join(sorted(text.splitlines()))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_docker_answers_minidock_answers(
    scenario: str, minidock: Minidock, busybox_image: str, docker: Docker, busybox_tar: Path
) -> None:
    docker.ok("import", "-c", 'CMD ["sh"]', str(busybox_tar), busybox_image)
    docker.remove_all_containers()
    lines = [line.strip() for line in SCENARIOS[scenario].strip().splitlines()]
    differences = []
    for line in lines:
        words = shlex.split(line)
        theirs, ours = docker(*words), minidock(*words)
        want, got = comparable(theirs.stdout.decode()), comparable(ours.stdout)
        if words[0] == "diff":  # docker lists changes in an order that differs between runs
            want, got = in_order(want), in_order(got)
        if ours.code != theirs.returncode or (want != got and line not in ONLY_THE_EXIT_CODE):
            differences.append(f"{line}: {theirs.returncode} {want!r} {theirs.stderr!r}\n  {ours}")
    docker.remove_all_containers()
    docker("volume", "prune", "-af")
    assert not differences, "\n".join(differences)
