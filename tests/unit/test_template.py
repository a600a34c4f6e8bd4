"""Go templates, held against the real docker client.

The client inspects a container that a server of ours describes; minidock applies the same template
to the same description. Output, and the words of errors, must be equal.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fake_docker_api import DOCKER, FakeDockerApi

from minidock.cli.frame.error_output import FormatError, FormatSyntaxError
from minidock.cli.output.inspect_output import parsed_template, render_object
from support.patience import patience

CONTAINER: dict[str, Any] = {
    "Id": "ab" * 32,
    "Created": "2024-05-06T07:08:09.123456789Z",
    "Path": "sh",
    "Args": ["-c", "echo <hi> & true"],
    "State": {
        "Status": "running", "Running": True, "Paused": False, "Restarting": False,
        "OOMKilled": False, "Dead": False, "Pid": 4711, "ExitCode": 0, "Error": "",
        "StartedAt": "2024-05-06T07:08:10Z", "FinishedAt": "0001-01-01T00:00:00Z",
    },
    "Image": "sha256:" + "cd" * 32,
    "Name": "/web",
    "RestartCount": 2,
    "Driver": "overlay",
    "Platform": "linux",
    "HostConfig": {
        "Binds": ["/a:/b:ro", "vol:/c"],
        "NetworkMode": "bridge",
        "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "LogConfig": {"Type": "json-file", "Config": {}},
        "Memory": 104857600,
        "CapAdd": ["NET_ADMIN"],
        "Ulimits": None,
    },
    "GraphDriver": {"Data": {"MergedDir": "/m", "UpperDir": "/u"}, "Name": "overlay"},
    "Mounts": [
        {"Type": "bind", "Source": "/a", "Destination": "/b", "Mode": "ro", "RW": False,
         "Propagation": "rprivate"},
        {"Type": "volume", "Name": "vol", "Source": "/v", "Destination": "/c", "Driver": "local",
         "Mode": "z", "RW": True, "Propagation": ""},
    ],
    "Config": {
        "Hostname": "abab", "Tty": False, "Env": ["PATH=/bin", "A=1", "QUOTE=\"'ü€"],
        "Cmd": ["-c", "echo"], "Image": "busybox", "Labels": {"b": "2", "a": "1", "x.y/z": "<&>"},
        "Entrypoint": ["sh"], "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}},
        "StopTimeout": 0,
    },
    "NetworkSettings": {
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"},
                             {"HostIp": "::", "HostPort": "8080"}], "81/udp": None},
        "IPAddress": "172.17.0.2",
        "Networks": {"bridge": {"IPAddress": "172.17.0.2", "Gateway": "172.17.0.1",
                                "IPPrefixLen": 16, "MacAddress": "02:42:ac:11:00:02"}},
    },
}  # fmt: skip

SAME_OUTPUT = r"""
{{.Name}}
{{.ID}}
{{.Id}}
{{.Id}} {{.State.Pid}}
{{.State.Pid}} {{.State.Running}} {{.State.Error}}|
{{.State}}
{{.State.Health}}
{{.Args}}
{{.Config.Env}}
{{.Config.Cmd}} {{.Config.Labels}}
{{.Config.Volumes}} {{.Config.ExposedPorts}}
{{.NetworkSettings.Ports}}
{{.NetworkSettings.IPAddress}}
{{.NetworkSettings.Networks.bridge.IPAddress}}
{{.NetworkSettings.NetworkSettingsBase.Bridge}}|
{{.Mounts}}
{{.GraphDriver}}
{{.GraphDriver.Data.MergedDir}} {{.GraphDriver.Data.Missing}}
{{.HostConfig.Binds}} {{.HostConfig.Dns}} {{.HostConfig.DNS}}
{{.HostConfig.RestartPolicy}} {{.HostConfig.RestartPolicy.Name}}
{{.HostConfig.LogConfig}} {{.HostConfig.Ulimits}} {{.HostConfig.Tmpfs}}
{{.HostConfig.Memory}} {{.HostConfig.Resources.Memory}} {{.HostConfig.PidsLimit}}
{{.Config.StopTimeout}}
{{json .}}
{{json .State}}
{{json .Config}}
{{json .HostConfig}}
{{json .NetworkSettings.Ports}}
{{json .Config.Labels}} {{json .Config.Env}} {{json .Config.OnBuild}}
{{json .Args}} {{json .Name}} {{json 1}} {{json nil}}
{{json .Mounts}}
{{range .Mounts}}{{.Source}} -> {{.Destination}}{{println}}{{end}}
{{range $i, $m := .Mounts}}{{$i}}:{{$m.Type}} {{end}}
{{range $m := .Mounts}}{{$m.Type}},{{end}}
{{range .Config.Env}}{{println .}}{{end}}
{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}
{{range $p, $conf := .NetworkSettings.Ports}}{{$p}} -> {{(index $conf 0).HostPort}} {{break}}{{end}}
{{range $p, $c := .NetworkSettings.Ports}}{{if not $c}}{{continue}}{{end}}{{$p}}{{end}}
{{range .HostConfig.Dns}}x{{else}}none{{end}}
{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}
{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{$v.Gateway}}/{{$v.IPPrefixLen}}{{end}}
{{range 3}}{{.}}{{end}}
{{range $i := 3}}{{$i}},{{end}}
{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}
{{index .NetworkSettings.Ports "80/tcp" 1}}
{{index .Config.Labels "x.y/z"}} {{index .Config.Labels "none"}}|
{{index .Args 1}} {{index .Name 1}}
{{index (index .Mounts 0).Source 1}}
{{len .Mounts}} {{len .Name}} {{len .Config.Labels}} {{len .HostConfig.Dns}}
{{len .Config.Env}} {{len "ü"}}
{{if .State.Running}}up{{else}}down{{end}}
{{if .State.Paused}}paused{{else if .State.Running}}up{{else}}down{{end}}
{{if eq .State.Status "running"}}yes{{end}}
{{if eq .State.Pid 1 2 4711}}yes{{end}}
{{if and .State.Running (gt .State.Pid 1)}}a{{end}}{{if or .State.Dead .State.Paused}}b{{end}}
{{if not .State.Dead}}alive{{end}}
{{if .Config.Labels}}l{{end}}{{if .HostConfig.Dns}}d{{end}}{{if .State.Health}}h{{end}}
{{with .State.Health}}{{.Status}}{{else}}no health{{end}}
{{with .Config.Labels}}{{.a}}{{.b}}{{.c}}{{end}}
{{with $x := .Name}}{{$x}}{{end}}
{{with .State}}{{.Pid}} {{$.Name}}{{end}}
{{with .State.Health}}h{{else with .State}}{{.Pid}}{{end}}
{{eq 1 1}} {{eq "a" "b"}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge 1 1}} {{lt "a" "b"}}
{{eq true true}} {{eq 1.5 1.5}} {{lt 1.5 2.5}}
{{and 1 0}} {{and 1 2}} {{or 0 "" "x"}} {{or 0 ""}}| {{not 0}} {{and true false}}
{{join .Config.Env ", "}}
{{join .Args "|"}} {{join .Config.Cmd " "}}
{{split .Name "e"}} {{index (split "a,b,c" ",") 1}} {{split "abc" ""}}
{{upper .Name}} {{lower "ABC"}} {{title "hello my-world"}}
{{.Name | upper}} {{.Name | printf "%s-%s" "x"}} {{"x" | len}}
{{truncate .Image 12}} {{truncate "ab" 5}} {{pad "x" 2 3}}| {{pad "" 2 3}}|
{{slice .Image 7 19}} {{slice .Name 1}} {{slice .Args 1}} {{slice .Args}}
{{print 1 2 "a" "b" 3 4}} {{print .State.Pid .Name}} {{print nil}}
{{println 1 "a" true}}
{{printf "%s %d %t %v %q" .Name .State.Pid .State.Running .Args .Name}}
{{printf "%5d|%-5d|%05d|%+d|%x|%X|%o|%b|%c|%U" 42 42 42 42 255 255 8 5 65 65}}
{{printf "%10s|%-10s|%.3s|%x|%X" "abc" "abc" "abcdef" "hi" "hi"}}
{{printf "%f %.2f %e %g %8.3f|" 1.5 1.5 1.5 1.5 3.14159}}
{{printf "%d %s %t" "x" 5 1}}
{{printf "%d" 1 2}} {{printf "%d"}} {{printf "%z" 1}} {{printf "%"}} {{printf "100%%"}}
{{printf "%v %v %v" nil .Config.OnBuild .Config.Labels}}
{{printf "%T %T %T %T %T" 1 "a" true 1.5 .Args}}
{{printf "%s" .Config.Env}} {{printf "%q" .Args}} {{printf "%d" .Args}}
{{printf "%*d|%-*d|" 5 42 5 42}} {{printf "%#x %#o" 255 8}} {{printf "% d" 5}}
{{printf "%6.2f%%" 12.345}} {{printf "%t" true}} {{printf "%v" 1e21}} {{printf "%v" 1e20}}
{{1}} {{1.5}} {{1e3}} {{0x1f}} {{'a'}} {{"q\"\n\t\x41ü"}} {{`raw\n`}} {{true}} {{-5}} {{1_000}}
{{1e21}} {{1e20}} {{0.00001}} {{123456789.5}} {{1.0}}
{{/* a comment */}}x{{- /* another */ -}}  y
a  {{- .Name -}}  b
a {{- 1}} {{2 -}} b
{{$x := .Name}}{{$x}}{{$x = "y"}}{{$x}}
{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}
{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}
{{$s := .State}}{{$s.Pid}} {{($s).Status}} {{(.State).Pid}}
{{$.Name}}x
{{.Name}}{{"{{"}}
{{  .Name  }}{{.Name|upper}}{{ .Name | upper | lower }}
{{if true}}{{if false}}a{{else}}b{{end}}c{{end}}
{{eq .Config.User ""}} {{eq .HostConfig.NetworkMode "bridge"}}
{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}}{{end}}{{end}}
{{range .Mounts}}{{.Type}}{{break}}{{end}}
{{json .NetworkSettings.Networks}}
{{range $i, $e := .Config.Env}}{{if $i}}, {{end}}{{$e}}{{end}}
{{.Foo}}
{{.State.Foo}}
{{.State.Status.Foo}}
{{.Config.Labels.a.b}}
{{index .Args 5}}
{{index .Args "x"}}
{{index .Name}}
{{index .Nope 1}}
{{index .State 1}}
{{len .State.Pid}}
{{len 5}}
{{len nil}}
{{eq .State.Pid "x"}}
{{eq .State .State}}
{{eq 1}}
{{lt 1 "a"}}
{{join .Name ","}}
{{upper .State.Pid}}
{{slice .Args 5}}
{{slice .Name 2 1}}
{{.Name 1}}
{{1 2}}
{{nil}}
{{upper}}
{{upper "a" "b"}}
{{range .Name}}x{{end}}
{{printf .State.Pid}}
{{.State.Health.Status}}
{{index .Config.Labels 1}}
{{range $k, $v := .Nope}}x{{end}}
{{truncate "a" "b"}}
{{.
{{
{{.Name
{{if}}x{{end}}
{{if .Name}}x
{{end}}
{{else}}
{{range .Mounts}}
{{$x := $x.Id}}
{{foo .Name}}
{{.Name | foo}}
{{$nope}}
{{"abc}}
{{`abc}}
{{'a}}
{{.Name @}}
{{(.Name}}
{{.Name)}}
{{.Name | }}
{{| .Name}}
{{}}
{{.Name | 1}}
{{1x}}
{{break}}
{{/* x}}
{{if .Name}}{{else}}{{else}}{{end}}
{{with}}{{end}}
{{.Name.}}
{{"a".b}}
{{$x}}
{{true.Foo}}
{{end .Name}}
{{if .Name}}x{{end .Name}}
{{99999999999999999999}}
{{9223372036854775807}}
{{9223372036854775808}}
{{18446744073709551615}}
{{-9223372036854775809}}
{{'ab'}}
{{'\n'}}
{{'\x41'}}
{{'\''}}
{{'"'}}
{{"\'"}}
{{'\"'}}
{{"\q"}}
{{"\ud800"}}
{{"\U00110000"}}
{{"\400"}}
{{"\101"}}
{{1e999}}
{{1e1000000}}
{{0x}}
{{1_0}}
{{1__0}}
{{_1}}
{{0b11}}
{{0o17}}
{{017}}
{{1e3 | printf "%d"}}
{{printf "%d" 1e3}}
{{1.}}
{{.5}}
{{printf "%.9999999999f" 1.0}}|
{{printf "%*d" 99999999 1}}|
{{printf "%*d" "x" 1}}|
{{printf "%*d" -5 1}}|
{{printf "%.*f" -5 1.0}}|
{{printf "%[1]d" 1}}|
{{printf "%[2]d %[1]d" 1 2}}|
{{printf "%[3]d" 1 2}}|
{{printf "%[x]d" 1 2}}|
{{printf "%[2]*[1]d" 1 5}}|
{{printf "%٣d" 5}}|
{{printf "%c" 1114112}}|
{{printf "%c" -1}}|
{{printf "%c" 55296}}|
{{printf "%U" -1}}|
{{printf "%q" 65}}|
{{printf "%q" -5}}|
{{printf "%q" 1114112}}|
{{printf "%p" 1}}|
{{printf "%w" 1}}|
{{printf "%s" nil}}|
{{printf "%f" .Args}}|
{{printf "%.3v" 1.23456}}|
{{printf "%5v|%-5v|%05v" 1.5 true "a"}}|
{{printf "%e %E %g %G" 1.5 1.5 1e30 1e-30}}|
{{printf "%.3g" 1234567.0}}|
{{printf "%#v" 5}}|
{{printf "%#v" 1.5}}|
{{printf "%#v" true}}|
{{printf "% x" "abc"}}|
{{printf "%#x" "abc"}}|
{{printf "% d" 5}}|
{{printf "%t" 5}}|
{{printf "%!"}}|
{{printf "%z" 5}}|
{{printf "a%"}}|
{{printf "%-"}}|
{{printf "%d %d" 1}}|
{{printf "%s" 1 2}}|
{{printf "%6.3d|%+.3d" 5 5}}|
{{printf "%08.3f|%-8.3f|" 3.14159 3.14159}}
{{printf "%5t|%-6t|" true false}}
{{printf "%5q" "a"}}
{{printf "%T %T %T" . .Name 5}}
{{printf "%T" nil}}
{{printf "%x %X %x" 1.5 2.25 3.0}}
{{printf "%X %x %x %x" -0.1 1e100 0.0 5e-324}}
{{printf "%.3x %.0x %.1x %.20x" 1.5 1.5 1.99 0.1}}
{{printf "%+x|% x|%20x|%-20x|" 1.5 1.5 1.5 1.5}}
{{printf "%#x %#X %#.3x %#.0x %#x" 1.5 1.5 1.5 2.0 2.0}}
{{printf "%b %b" 1.5 -0.1}}
{{printf "%O %O %#o %#o %#O %+O %8O|%-8O|" 8 -8 8 0 8 8 8 8}}
{{printf "%O %O" "a" 1.5}}
{{printf "%#v %#v %#v %#v" "a\nb\"" 3 -4 nil}}
{{printf "%#v %#v %#v" 1.5 1e6 1e21}}
{{printf "%#v" 'a'}}
{{printf "%#v" .Args}}
{{printf "%#v" .Config.Labels}}
{{printf "%#v" .Config.Env}}
{{printf "%#v" .HostConfig.Binds}}
{{printf "%#v" .Name}}
{{printf "%#v" .State.Pid}}
{{printf "%#v" .HostConfig.LogConfig}}
{{printf "%#v" .HostConfig.RestartPolicy}}
{{printf "%#v" .Config.Volumes}}
{{printf "%s" .State.Pid}}
{{pad "a" -1 2}}|
{{pad "a" 2 -1}}|
{{truncate "abc" -1}}
{{truncate "abc" 99}}
{{index .Args -1}}
{{slice .Args -1}}
{{slice .Args 0 1 1}}
{{slice .Args 0 1 5}}
{{slice .Args 1 0 1}}
{{slice .Args 0 2 1}}
{{slice .State}}
{{slice .Config.Labels 1}}
{{slice}}
{{index}}
{{index .Args}}
{{index .Args 0 0}}
{{index .Config.Labels "a" 0}}
{{index .Config.Labels .State}}
{{index .HostConfig.Ulimits 0}}
{{slice .HostConfig.Ulimits 1}}
{{index .Args 1.5}}
{{index .Args nil}}
{{slice .Args nil}}
{{slice .Args "a"}}
{{slice .Args 1.5}}
{{index .Args true}}
""".strip("\n").splitlines()


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDockerApi]:
    with FakeDockerApi(tmp_path_factory.mktemp("docker")) as api:
        api.answers["/containers/web/json"] = CONTAINER
        yield api


def applied(template: str) -> tuple[int, str]:
    """Exit code and what is said, as minidock's inspect has them."""
    try:
        return 0, render_object(parsed_template(template), "types.ContainerJSON", CONTAINER) + "\n"
    except (FormatError, FormatSyntaxError) as error:
        return error.exit_code, f"{error}\n"


@pytest.mark.skipif(DOCKER is None, reason="no docker client to compare with")
@pytest.mark.parametrize("template", SAME_OUTPUT)
def test_a_template_gives_what_docker_gives(template: str, docker: FakeDockerApi) -> None:
    answer = docker.run("inspect", "--type", "container", "--format", template, "web")
    said = answer.stdout if answer.returncode == 0 else answer.stderr
    assert applied(template) == (answer.returncode, said)


@pytest.mark.skipif(DOCKER is None, reason="no docker client to compare with")
@pytest.mark.parametrize("kind", ["container", "image", "volume", "network"])
def test_an_object_without_fields_looks_as_in_docker(kind: str, docker: FakeDockerApi) -> None:
    plurals = {"container": "/containers/%s/json", "image": "/images/%s/json"}
    docker.answers[plurals.get(kind, f"/{kind}s/%s") % "bare"] = {"Id": "bare"}
    types = {"container": "types.ContainerJSON", "image": "types.ImageInspect",
             "volume": "volume.Volume", "network": "types.NetworkResource"}  # fmt: skip
    answer = docker.run("inspect", "--type", kind, "--format", "{{json .}}", "bare")
    ours = json.loads(render_object(parsed_template("{{json .}}"), types[kind], {"Id": "bare"}))
    theirs = json.loads(answer.stdout)
    times = {"0001-01-01T00:00:00Z": ""}  # Go's empty time; minidock's documents always have theirs
    assert str(ours) == str(theirs).replace(*next(iter(times.items())))


@pytest.mark.parametrize("word", ["template", "define", "block"])
def test_templates_in_templates_are_refused_by_name(word: str) -> None:
    with pytest.raises(FormatSyntaxError, match=f"{{{{{word}}}}} is not available"):
        parsed_template(f'{{{{{word} "x"}}}}')


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{if 1}}" * 1000, "nested more than 100 levels deep"),
        ("{{if 1}}{{else if 2}}" * 1000, "nested more than 100 levels deep"),
        ("{{" + "(" * 10_000 + "1" + ")" * 10_000 + "}}", "nested more than 100 levels deep"),
        ("{{range 1000000000}}{{end}}", "more than 200000 steps"),
        ("{{range 99}}" * 99 + "{{end}}" * 99, "more than 200000 steps"),
        ('{{$x := "ab"}}{{range 99}}{{$x = print $x $x}}{{end}}', "the text is longer than 4 MiB"),
        ('{{pad "a" 99999999999 0}}', "the text is longer than 4 MiB"),
        ('{{range 999}}{{printf "%999999d" 1}}{{end}}', "more than 64 MiB of output"),
    ],
    ids=range(8),
)
def test_a_template_without_end_ends_in_an_error(template: str, told: str) -> None:
    begun = time.process_time()
    code, said = applied(template)
    assert code != 0
    assert told in said
    assert time.process_time() - begun < patience(3)
