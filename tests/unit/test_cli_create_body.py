"""What `create` asks for, held against what the real docker client asks for.

The client sends its ContainerCreate body to a server of ours, which keeps it. Of the two bodies:

- each field that minidock sends is in Docker's, with the same value;
- a field that only Docker sends is empty: nothing that was asked for got lost.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_docker_api import DOCKER, FakeDockerApi

from minidock.cli.flags.run_flags import container_create_body, run_flags
from minidock.cli.frame.command import command
from minidock.errors import MinidockError

pytestmark = pytest.mark.skipif(DOCKER is None, reason="no docker client to compare with")

SAME_BODY = """
busybox
busybox ls -l /
busybox -- ls
-- busybox ls -l
--rm -- busybox
--name web busybox
-it busybox
-ti --rm busybox sh
-i busybox
-t busybox
-it=false busybox
--interactive=true --tty=0 busybox
-a stdin busybox
-a stdin -a STDOUT -i busybox
-a stderr busybox
-ti -a stdout busybox
-e A=1 -e FOO -e UNSET busybox
-eA=1 --env B=2 --env=C=3 busybox
-e "A=b c" -e EMPTY= busybox
--env-file ENVFILE -e Z=1 busybox
-e A=1 --env-file ENVFILE -e A=2 busybox
-l a=b -l c -l d=e=f busybox
--label-file LABELFILE -l a=override busybox
--entrypoint /bin/sh busybox -c x
--entrypoint= busybox ls
--entrypoint "" busybox ls
-h host --domainname dom -w /w -u 1:2 busybox
--hostname h.example.com --workdir=/x --user nobody busybox
-u "" -w "" busybox
--init busybox
--init=false busybox
--stop-signal SIGINT --stop-timeout 5 busybox
--stop-timeout 0 busybox
--stop-timeout -1 busybox
-m 100m --memory-swap 200m --memory-reservation 50m --memory-swappiness 3 busybox
-m 1.5g --shm-size 64k busybox
-m "10 MiB" busybox
-m 6291456 busybox
-m0 busybox
--memory-swap -1 -m 10m busybox
--memory-swappiness 0 busybox
--memory-swappiness -1 busybox
--oom-kill-disable --oom-score-adj -5 busybox
--oom-kill-disable=false busybox
--cpus 1.5 -c 5 --cpuset-cpus 0 --cpuset-mems 0 busybox
--cpus .5 busybox
--cpus 1e-1 busybox
--cpus=0 busybox
--cpu-period 1000 --cpu-quota 2000 busybox
--pids-limit 7 busybox
--pids-limit -1 busybox
--cgroup-parent /x --blkio-weight 10 --blkio-weight-device /dev/a:0 busybox
--blkio-weight 0 --blkio-weight-device /dev/a:10 --blkio-weight-device /dev/b:1000 busybox
--ulimit nofile=1:2 --ulimit nproc=5 busybox
--ulimit core=-1 --ulimit nofile=5:-1 busybox
--ulimit nofile=5 --ulimit nofile=6 busybox
--cap-add sys_admin --cap-add=CAP_NET_RAW --cap-drop all busybox
--privileged --read-only busybox
--privileged=false busybox
--security-opt no-new-privileges --security-opt seccomp=unconfined busybox
--security-opt no-new-privileges:false --security-opt no-new-privileges=true busybox
--security-opt apparmor=unconfined --security-opt label=disable busybox
--security-opt label:disable --security-opt seccomp:unconfined busybox
--security-opt seccomp=SECCOMP busybox
--security-opt seccomp=builtin busybox
--security-opt systempaths=unconfined --security-opt no-new-privileges busybox
--device-cgroup-rule "c 1:3 mr" --device-cgroup-rule "a *:* rwm" busybox
--device /dev/null --device /dev/zero:/dev/z:r busybox
--device /dev/a:rw --device /dev/a:/dev/b busybox
--group-add 5 --group-add audio busybox
--pid host --ipc host --uts host --cgroupns host busybox
--pid container:x --ipc container:y --cgroupns private busybox
--ipc shareable busybox
--ipc none busybox
--userns host busybox
--sysctl net.core.somaxconn=5 --sysctl kernel.shmmax=5 --sysctl fs.mqueue.foo=2 busybox
-v /a:/b:ro -v /anon busybox
-v vol:/x -v ./rel:/y -v .:/z busybox
-v /a:/c:rw,z -v rel:/y:ro busybox
-v ~/x:/y -v /a:/b:/c busybox
-v /a:/b -v /a:/b busybox
--volumes-from q:ro --volumes-from p busybox
--tmpfs /x:size=1m,mode=700 --tmpfs /y busybox
--tmpfs /a:rw,noexec,size=5 --tmpfs /a:ro busybox
--mount type=bind,src=/a,dst=/b,readonly busybox
--mount type=bind,source=./a,destination=/b busybox
--mount TYPE=BIND,SRC=/a,DST=/b busybox
--mount 'type=bind,"src=/a,b",dst=/b' busybox
--mount type=bind,src=/a,dst=/b,bind-propagation=rslave,ro=false busybox
--mount type=bind,src=/a,dst=/b,consistency=cached busybox
--mount type=volume,dst=/b,ro=true busybox
--mount dst=/b busybox
--mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770 --mount src=v,dst=/w busybox
-p 8080:80 busybox
-p8080:80 -p 80 busybox
-p 127.0.0.1:81:81/udp -p 127.0.0.1::80 busybox
-p 8000-8002:80-82 -p 90-91 busybox
-p 8000-8010:99 busybox
-p 127.0.0.1:8000-8001:80-81/udp busybox
-p [::1]:6:6 -p [::]::80/sctp busybox
-p :80 -p 0:81 -p 82/ -p 83/UDP busybox
-p 8080:80 -p 8081:80 -p 8080:80/udp busybox
-p published=5,target=6,protocol=udp busybox
-p target=5-7,published=7-9,mode=host busybox
--expose 7 --expose 8-9/udp -P busybox
-p 8080:80 --network none --expose 80 busybox
--network bridge busybox
--network none busybox
--network host busybox
--net container:foo busybox
--network default busybox
--network mynet busybox
--network a --network b busybox
--network mynet --ip 1.2.3.4 --network-alias x --net-alias y busybox
--network name=mynet,alias=x,alias=y,ip=1.2.3.4 --network other busybox
--network mynet --mac-address 02:42:ac:11:00:02 busybox
--network bridge --mac-address 02-42-AC-11-00-02 busybox
--mac-address 02:42:ac:11:00:02 busybox
--network name=bridge,mac-address=02:42:ac:11:00:02 busybox
--add-host a:1.2.3.4 --add-host b=::1 --add-host c:host-gateway --add-host d=[::1] busybox
--dns 1.1.1.1 --dns ::2 --dns-option a --dns-opt b --dns-search b.c --dns-search . busybox
--restart no busybox
--restart "" busybox
--restart always busybox
--restart always: busybox
--restart unless-stopped --name web busybox
--restart on-failure busybox
--restart on-failure:3 busybox
--restart on-failure:+3 busybox
--restart on-failure:-3 busybox
--restart bogus busybox
--restart no --rm busybox
--log-driver none busybox
--log-driver json-file --quiet --pull missing busybox
--mount type=bind,src=/a,dst=/b,bind-recursive=enabled busybox
--mount type=bind,src=/a,dst=/b,bind-recursive=disabled busybox
--mount type=bind,src=/a,dst=/b,bind-nonrecursive busybox
--mount type=volume,dst=/v,volume-nocopy busybox
--mount type=volume,src=v,dst=/v,volume-label=a=b,volume-label=c busybox
--mount type=volume,dst=/v,volume-driver=nfs,volume-opt=type=nfs,volume-opt=o=a,volume-opt=x busybox
--mount type=volume,src=v,dst=/v,volume-subpath=a/b busybox
--storage-opt size=1G --storage-opt size=2g busybox
--annotation a=b --annotation a=c --annotation d= busybox
--mount type=bind,src=/a,dst=/b,bind-recursive=disabled busybox
--mount type=bind,src=/a,dst=/b,readonly,bind-recursive=writable busybox
--mount type=bind,src=/a,dst=/b,readonly,bind-recursive=readonly,bind-propagation=rprivate busybox
--log-opt max-size=1m --log-opt max-file=3 busybox
--no-healthcheck=false busybox
--no-healthcheck busybox
--health-cmd "curl -f x" --health-interval 1m30s --health-retries 2 busybox
--health-start-period 2s --health-start-interval 500ms --health-timeout 1h busybox
""".strip().splitlines()

SAME_ERROR = """
--foo busybox
-Z busybox
-itZ busybox
--name
-u
-m
-itm
--=x busybox
--rm=maybe busybox
-d busybox
-m 5x busybox
-m -5 busybox
-m 10mbb busybox
-m m busybox
--memory-swappiness 200 busybox
--cpus abc busybox
--cpus 1/3 busybox
--cpus 1.2345678901234 busybox
--pids-limit x busybox
--cpu-shares x busybox
--stop-timeout x busybox
--blkio-weight -5 busybox
--blkio-weight 65536 busybox
--blkio-weight x busybox
--blkio-weight-device a busybox
--blkio-weight-device a:5 busybox
--blkio-weight-device /dev/a:5 busybox
--blkio-weight-device /dev/a:1001 busybox
--blkio-weight-device /dev/a:x busybox
--device-read-bps a:1 busybox
--device-read-bps /dev/a busybox
--device-read-bps /dev/a:x busybox
--device-write-bps /dev/a:-1 busybox
--device-read-iops /dev/a:1mb busybox
--device-write-iops :5 busybox
--ulimit nofile busybox
--ulimit foo=1 busybox
--ulimit nofile=x busybox
--ulimit nofile=5:1 busybox
--ulimit nofile=1:2:3 busybox
--ulimit nofile=-1:5 busybox
-e "" busybox
-e =x busybox
--env-file /none busybox
--label-file /none busybox
--label =x busybox
-a foo busybox
--security-opt foo busybox
--security-opt apparmor busybox
--security-opt seccomp=/none busybox
--device-cgroup-rule x busybox
--device-cgroup-rule "c 1:3 rx" busybox
--device-cgroup-rule "c 1 r" busybox
--device foo busybox
--device "" busybox
--device /dev/null:/x:zz busybox
--device /dev/null:/x:r:w busybox
--device /dev/null:rwmx busybox
--sysctl foo busybox
--sysctl kernel.pid_max=5 busybox
--sysctl net.a busybox
--pid foo busybox
--pid container: busybox
--uts foo busybox
--cgroupns foo busybox
-v "" busybox
-v :/x busybox
-v /a:/b:ro:rw busybox
--mount foo busybox
--mount "" busybox
--mount type=bind, busybox
--mount type=bind,src=/a busybox
--mount type=bind,src=/a,dst=/b,ro=maybe busybox
--mount type=bind,src=/a,dst=/b,volume-nocopy=false busybox
--mount type=volume,src=/a,dst=/b,bind-propagation=rslave busybox
--mount type=tmpfs,dst=/b,tmpfs-size=x busybox
--mount type=tmpfs,dst=/b,tmpfs-mode=9 busybox
--mount type=tmpfs,dst=/b,foo=9 busybox
-p 8080: busybox
-p "" busybox
-p /tcp busybox
-p 127.0.0.1:: busybox
-p 99999:80 busybox
-p 70000 busybox
-p a:80 busybox
-p 1:a busybox
-p " 80" busybox
-p +80 busybox
-p 80/foo busybox
-p 8002-8000:80-82 busybox
-p 8000:80-82 busybox
-p 8000-8005:80-82 busybox
-p localhost:80:80 busybox
-p 1.2.3:80:80 busybox
--restart on-failure:x busybox
--restart on-failure:2:3 busybox
--restart :3 busybox
--restart always --rm busybox
--restart on-failure:0 --rm busybox
--expose 10:11 busybox
--expose foo busybox
--expose 8- busybox
--add-host foo busybox
--add-host a: busybox
--add-host a:foo busybox
--add-host :1.2.3.4 busybox
--dns foo busybox
--dns 1.2.3 busybox
--dns-search "" busybox
--dns-search "a b" busybox
--mac-address foo busybox
--network-alias x busybox
--network bridge --network a busybox
--network a --network a busybox
--network name=a,foo=b busybox
--network a --network host busybox
""".strip().splitlines()

REFUSED_BY_NAME = {
    "--gpus all busybox": "--gpus all",
    "--link a:b busybox": "--link a:b",
    "--ip6 ::1 busybox": "--ip6 ::1",
    "--network name=n,ip6=::1 busybox": "--network ip6=",
    "--network a --network name=b,mac-address=02:42:ac:11:00:02 busybox": "--network b",
    "--volume-driver nfs busybox": "--volume-driver nfs",
    "--storage-opt size busybox": "invalid storage option",
    "--log-driver syslog busybox": "--log-driver syslog",
    "--userns private busybox": "--userns private",
    "--device vendor.com/class=name busybox": "--device vendor.com/class=name",
    "--security-opt apparmor=profile busybox": "apparmor=profile",
    "--security-opt label=type:x busybox": "label=type:x",
    "--kernel-memory 5m busybox": "--kernel-memory",
    "--platform windows/amd64 busybox": "--platform",
    "--runtime runc busybox": "--runtime runc",
    "--annotation minidock.x=y busybox": "minidock.x",
}
REFUSED_BY_THE_DAEMON = {
    "-m 5m busybox": "Minimum memory limit allowed is 6MB",
    "--blkio-weight 5 busybox": "Range of blkio weight is from 10 to 1000",
    "-m 10m --memory-swap 9m busybox": "Minimum memoryswap limit should be larger",
    "--memory-swap 9m busybox": "always set the Memory limit when using Memoryswap",
    "--memory-reservation 1m busybox": "Minimum memory reservation allowed is 6MB",
    "-m 10m --memory-reservation 20m busybox": "less than memory reservation limit",
    "--cpus 99999 busybox": "Range of CPUs is from 0.01 to",
    "--cpus -1 busybox": "Range of CPUs is from 0.01 to",
    "--cpus 1 --cpu-period 1000 busybox": "Nano CPUs and CPU Period cannot both be set",
    "--cpus 1 --cpu-quota 1000 busybox": "Nano CPUs and CPU Quota cannot both be set",
    "--cpu-period 10 busybox": "CPU cfs period can not be less than 1ms",
    "--cpu-quota 10 busybox": "CPU cfs quota can not be less than 1ms",
    "--cpuset-cpus 4096 busybox": "Requested CPUs are not available - requested 4096",
    "--cpuset-cpus a busybox": "Invalid value a for cpuset cpus: invalid format: a",
    "--cpuset-mems 4096 busybox": "Requested memory nodes are not available",
    "--ipc foo busybox": "invalid IPC mode",
    "--oom-score-adj 2000 busybox": "range for oom score adj is [-1000, 1000]",
}


_bodies: list[dict[str, Any]] = []


@command("IMAGE [COMMAND] [ARG...]", at_least=1, flags_first=True, needs_root=False, failure=None)
@run_flags
def _keep(arguments: tuple[str, ...], **flags: Any) -> None:
    _bodies.append(container_create_body(flags, arguments))


def minidock_body(argv: list[str]) -> dict[str, Any]:
    _keep.run("create", argv)
    return _bodies.pop()


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDockerApi]:
    with FakeDockerApi(tmp_path_factory.mktemp("docker")) as api:
        yield api


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOO", "from here")
    monkeypatch.delenv("UNSET", raising=False)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Files that command lines name in capitals."""
    contents = {
        "ENVFILE": "A=1\n# comment\nFOO\nUNSET\n\n B=2 \nC=x y\n",
        "LABELFILE": "a=b\n# comment\n\nlonely\n",
        "SECCOMP": '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}',
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    return {name: str(tmp_path / name) for name in contents}


def arguments_of(line: str, files: dict[str, str]) -> list[str]:
    for name, path in files.items():
        line = line.replace(name, path)
    return shlex.split(line)


def flat(body: dict[str, Any]) -> dict[str, Any]:
    """HostConfig's and the endpoints' fields beside the others, in one dict."""
    fields = {name: value for name, value in body.items() if not isinstance(value, dict)}
    for outer in ("HostConfig", "Labels", "Volumes", "ExposedPorts"):
        fields |= {f"{outer}.{name}": value for name, value in body.get(outer, {}).items()}
    for name, endpoint in body["NetworkingConfig"]["EndpointsConfig"].items():
        fields |= {f"Endpoint.{name}.{field}": value for field, value in endpoint.items()}
    for name in ("HostConfig.Binds", "Env"):  # the client collects them in hash maps: any order
        fields[name] = sorted(set(fields[name] or ()))
    # null and [] mean the same here, and the client sends now this, now that.
    fields["HostConfig.SecurityOpt"] = fields["HostConfig.SecurityOpt"] or []
    fields.pop("HostConfig.UsernsMode", None)  # "host" is what minidock always does
    fields.pop("MacAddress", None)  # the field's place before API 1.44, which minidock fills too
    return fields


@pytest.mark.parametrize("line", SAME_BODY)
def test_create_asks_for_what_docker_asks_for(
    line: str, docker: FakeDockerApi, files: dict[str, str]
) -> None:
    argv = arguments_of(line, files)
    docker.requests.clear()
    answer = docker.run("create", *argv, FOO="from here")
    bodies = [body for method, path, _, body in docker.requests if path == "/containers/create"]
    assert bodies, answer.stderr
    expected, got = flat(bodies[0]), flat(minidock_body(argv))
    assert got == {name: expected.get(name, "Docker has no such field") for name in got}
    lost = {name for name, value in expected.items() if value and name not in got}
    assert lost == set()


@pytest.mark.parametrize("line", SAME_ERROR)
def test_create_refuses_in_dockers_words(
    line: str, docker: FakeDockerApi, files: dict[str, str]
) -> None:
    argv = arguments_of(line, files)
    answer = docker.run("create", *argv)
    said = answer.stderr.partition("\nSee ")[0].removeprefix("docker: ")
    with pytest.raises(MinidockError) as caught:
        minidock_body(argv)
    assert str(caught.value) == said.removesuffix(".")
    assert caught.value.exit_code == answer.returncode == 125


@pytest.mark.parametrize("line", REFUSED_BY_NAME)
def test_what_is_not_there_is_refused_by_name(line: str) -> None:
    with pytest.raises(MinidockError) as caught:
        minidock_body(shlex.split(line))
    assert REFUSED_BY_NAME[line] in str(caught.value)
    assert caught.value.exit_code == 125


@pytest.mark.parametrize("line", REFUSED_BY_THE_DAEMON)
def test_limits_that_cannot_work_are_refused_in_the_daemons_words(line: str) -> None:
    with pytest.raises(MinidockError) as caught:
        minidock_body(shlex.split(line))
    assert REFUSED_BY_THE_DAEMON[line] in str(caught.value)


def test_every_flag_of_docker_create_is_known(docker: FakeDockerApi) -> None:
    import re

    theirs = set(
        re.findall(r"(?<=\s)(--[a-z][a-z0-9-]+)(?=\s)", docker.run("create", "--help").stdout)
    )
    ours = {name for flag in _keep.flags for name in flag.names} | {"--help"}
    # Shown in other flags' descriptions, or by docker on Windows only.
    assert theirs - ours == set()


def test_an_image_is_needed(docker: FakeDockerApi) -> None:
    with pytest.raises(MinidockError) as caught:
        minidock_body([])
    answer = docker.run("create")
    assert f"{caught.value}.".replace("create", "docker create") in answer.stderr
    assert caught.value.exit_code == answer.returncode == 1


def test_rates_of_devices_are_asked_for() -> None:
    """Of these the client 26.1 reads every word, and sends an empty list."""
    line = "--device-read-bps /dev/a:1mb --device-write-bps /dev/a:1 --device-write-bps /dev/b:2g "
    line += "--device-read-iops /dev/a:1 --device-write-iops /dev/b:0 busybox"
    asked = minidock_body(shlex.split(line))["HostConfig"]
    assert {name: asked[name] for name in asked if name.startswith("BlkioDevice")} == {
        "BlkioDeviceReadBps": [{"Path": "/dev/a", "Rate": 1 << 20}],
        "BlkioDeviceWriteBps": [
            {"Path": "/dev/a", "Rate": 1},
            {"Path": "/dev/b", "Rate": 2 << 30},
        ],
        "BlkioDeviceReadIOps": [{"Path": "/dev/a", "Rate": 1}],
        "BlkioDeviceWriteIOps": [{"Path": "/dev/b", "Rate": 0}],
    }
