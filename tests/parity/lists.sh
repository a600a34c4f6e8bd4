# Lists of containers, images, volumes and networks, and their formats.
# one world
S=10.21$((P % 2 + 8)).4
c() { sed -E "s/$N/c/g; s/10\.21[89]/10.x/g"; }
ps() { D ps "$@" 2> /dev/null | c; echo "${PIPESTATUS[0]}"; }
im() { D images "$@" 2> /dev/null | c; echo "${PIPESTATUS[0]}"; }
vl() { D volume ls "$@" 2> /dev/null | c; echo "${PIPESTATUS[0]}"; }
nl() { D network ls "$@" 2> /dev/null | c; echo "${PIPESTATUS[0]}"; }
names() { D ps -a --format '{{.Names}}' "$@" 2> /dev/null | c | tr '\n' ' '; echo "${PIPESTATUS[0]}"; }
tags() { D images --format '{{.Repository}}:{{.Tag}}' "$@" 2> /dev/null | grep "$N" | c | sort |
    tr '\n' ' '; echo "${PIPESTATUS[0]}"; }
vols() { D volume ls --format '{{.Name}}' "$@" 2> /dev/null | grep "$N" | c | tr '\n' ' '; echo "${PIPESTATUS[0]}"; }
nets() { D network ls --format '{{.Name}}' "$@" 2> /dev/null | grep -e "$N" -e '^host$' -e '^none$' | c |
    tr '\n' ' '; echo "${PIPESTATUS[0]}"; }
{
D volume create --label keep=1 --label com.example.some-kind=data ${N}v1; D volume create ${N}v2; D volume create -o type=tmpfs -o device=tmpfs -o o=size=1m ${N}v3
D network create --subnet $S.0/24 --label net=yes --label k=v ${N}n; D network create --internal --subnet 10.21$((P % 2 + 8)).5.0/24 ${N}i
D create --net none --name ${N}made -l tier=front -l k=v -l com.example.some-kind=x --expose 99 -v ${N}v1:/data busybox sh -c 'exit 0'
D run --net none --name ${N}good -l tier=back busybox sh -c 'echo "a long command whose end nobody sees"'
D run --net none --name ${N}bad -l k=w -v /tmp:/host/tmp busybox sh -c 'head -c 5000 /dev/zero > /f; exit 3'
D commit -a 'An Author <a@b>' -c 'LABEL stage=one' -c 'CMD ["cat"]' -c 'ENV A=b' -c 'EXPOSE 80' ${N}bad $N/one:1
D commit -m 'a message' ${N}good $N/said; D tag $N/one:1 $N/one:2; D tag $N/one:1 $N/two; sleep 1.1; D commit -c 'LABEL stage=two' ${N}good $N/three:3; D tag $N/three:3 localhost:5000/$N/four:x
D commit ${N}good $N/gone; sleep 1.1; D commit -c 'LABEL stage=three' ${N}bad $N/gone
D run -d --network ${N}n --name ${N}on -l tier=front busybox sleep 1000
D run -d --net none --name ${N}sick --health-cmd false --health-interval 200ms --health-retries 1 -m 64m busybox sleep 1000
D run -d --net none --name ${N}held $N/one:1 sleep 1000; D pause ${N}held
for i in $(seq 100); do [ "$(D inspect -f '{{.State.Health.Status}}' ${N}sick)" = unhealthy ] && break; sleep 0.1; done
} > /dev/null

## ps: the table
ps; ps -a
## ps -q
ps -q; D container ls -aq | wc -l
## ps --no-trunc
ps -a --no-trunc --format '{{.ID}} {{.Command}} {{.Mounts}}' | sed 's/ *$//'
## ps -n and -l
ps -n 2 --format '{{.Names}}'; ps -l --format '{{.Names}}'; ps --last=0 --format '{{.Names}}'
## ps -s
ps -as --format '{{.Names}} {{.Size}}' | sed 's/virtual.*/virtual/'
## ps --format table
ps -a --format 'table {{.Names}}\t{{.Image}}\t{{.State}}'
## ps --format with headings of labels
ps -a --format 'table {{.Names}}\t{{.Label "tier"}}\t{{.Label "com.example.some-kind"}}'
## ps --format json
ps -f name=made -a --format json | sed -E 's/"(CreatedAt|RunningFor|ID|Size|Labels)":"[^"]*",?//g'
## ps --format of every field
ps -a -f name=made --format '{{.Names}}|{{.Image}}|{{.Command}}|{{.State}}|{{.Status}}|{{.Ports}}|{{.Networks}}|{{.Mounts}}|{{.LocalVolumes}}|{{.RunningFor}}'
## ps --format of labels
ps -a -f name=made --format '{{.Labels}}' | tr ',' '\n' | sort; ps -a -f name=bad --format '{{.Label "k"}}{{.Label "nosuch"}}'
## ps --format with functions
ps -a -f name=good --format '{{upper .Names}} {{truncate .Image 3}} {{json .State}} {{split .Status " "}} {{join (split .Image "s") "_"}} {{title .State}} {{pad .State 1 2}}|'
## ps --format with conditions
ps -a --format '{{if eq .State "running"}}{{.Names}} runs{{else}}{{printf "%-20s" .Names}}|{{end}}'
## ps --format with an unknown field
ps --format '{{.Nope}}'; ps --format '{{'; ps --format 'table {{.Nope}}'
## ps --format raw text
ps -f name=on --format 'plain\ttext\n{{.Names}}'
## ps -f status
for s in created running paused exited nosuch; do names -f status=$s; done; names -f status=dead -f status=removing
## ps -f exited
names -f exited=3; names -f exited=0 -f exited=3; names -f exited=x
## ps -f name
names -f name=^/${N}o; names -f "name=(good|bad)$"; names -f name=nosuch
## ps -f label
names -f label=tier; names -f label=tier=front; names -f label=tier -f label=k=v
## ps -f ancestor
names -f ancestor=busybox; names -f ancestor=$N/one:1; names -f ancestor=nosuch
## ps -f ancestor by id
names -f ancestor=$(D images -q --no-trunc $N/one:2)
## ps -f before and since
names -f before=${N}bad; names -f since=${N}bad; names -f before=nosuch; names -f since=${N}good -f before=${N}held
## ps -f volume
names -f volume=${N}v1; names -f volume=/host/tmp; names -f volume=/tmp; names -f volume=nosuch
## ps -f network
names -f network=${N}n; names -f network=none; names -f network=$(D network ls -q -f name=${N}n)
## ps -f health
for h in healthy unhealthy none nosuch; do names -f health=$h; done
## ps -f publish and expose
names -f expose=90-100/tcp; names -f expose=99/udp; names -f publish=99
## ps -f id
names -f id=$(D ps -aqf name=${N}good); names -f id=nosuch
## ps -f is-task
names -f is-task=false | wc -w; names -f is-task=x
## ps -f several
names -f status=exited -f label=tier; names -f name=good -f name=bad -f exited=3
## ps -f wrong
names -f nosuch=x; names -f x; names -f ''
## ps: both spellings
for w in 'container list' 'container ps'; do D $w -a --format '{{.Names}}' | c | tr '\n' ' '; done
## ps: mistakes
ps x; ps --nosuch; ps -n x; ps -qx; ps --all=maybe
## ps: status in words
ps -a --format '{{.Names}} {{.Status}}' | sed -E 's/(Up|ago\)?|\)) .*(\()/\1 \2/'
## images: the table
im $N/one; im "$N/*" | sort
## images -q and --no-trunc
im -q --no-trunc $N/one; im $N/two --no-trunc
## images -a and names
im $N/one:2; im -a $N/one:nosuch; im $N/one $N/two
## images --digests
im --digests $N/one
## images --format table
im --format 'table {{.Repository}}\t{{.Tag}}\t{{.Size}}' $N/one
## images --format json
im --format json $N/two | sed -E 's/"(CreatedAt|CreatedSince|ID)":"[^"]*",?//g'
## images --format of every field
im --format '{{.Repository}}|{{.Tag}}|{{.ID}}|{{.Digest}}|{{.CreatedSince}}|{{.Size}}|{{.Containers}}|{{.VirtualSize}}|{{.SharedSize}}|{{.UniqueSize}}' $N/two
## images --format: wrong
im --format '{{.Nope}}' $N/two; im --format '{{' $N/two
## images -f dangling
tags -f dangling=false; tags -f dangling=x; D images -q -f dangling=true -f label=stage | wc -l
## images -f label
tags -f label=stage=one; tags -f label=stage=two -f label=stage
## images -f reference
tags -f "reference=$N/*:[12]"; tags -f "reference=localhost:5000/*/*"
## images -f reference: several
tags -f "reference=$N/one" -f "reference=$N/three:*"; tags -f 'reference=['
## images -f before and since
tags -f before=$N/three:3; tags -f since=$N/one:1; tags -f since=nosuch
## images -f until
tags -f until=1h; tags -f until=0s | wc -w; tags -f until=bad
## images -f wrong
tags -f nosuch=x; tags -f x; im --nosuch
## images: both spellings
D image list --format '{{.Tag}}' $N/one; D image images; echo $?
## history
D history $N/one:1 | head -2 | sed -E 's/  +/|/g'; D history -q $N/one:1 | head -1; D history nosuch; echo $?
## history --format
D history --format '{{.Comment}}|{{.CreatedBy}}|{{.Size}}' $N/said | head -1; D history --no-trunc --format json $N/one:1 |
    head -1 | sed -E 's/"(CreatedAt|CreatedSince|ID)":"[^"]*",?//g'; D history -H=false --format '{{.Size}}' $N/one:1 | head -1
## history: wrong
D history; echo $?; D history a b; echo $?; D history --format '{{.Nope}}' $N/one:1; echo $?; D image history -q $N/three:3 | wc -l
## volume ls: the table
vl -f name=$N
## volume ls --format
vl -f name=$N --format 'table {{.Name}}\t{{.Driver}}\t{{.Scope}}'; vl -f name=v2 --format json | sed 's/"Mountpoint":"[^"]*",//'
## volume ls --format of every field
vl -f name=${N}v1 --format '{{.Name}}|{{.Driver}}|{{.Scope}}|{{.Label "keep"}}|{{.Links}}|{{.Size}}|{{.Status}}|{{.Group}}|{{.Availability}}'
## volume ls --format of labels
vl -f name=${N}v1 --format '{{.Labels}}' | tr ',' '\n' | sort; vl -f name=${N}v1 --format 'table {{.Label "com.example.some-kind"}}'
## volume ls -f label
vols -f label=keep=1; vols -f label=keep=2
## volume ls -f dangling
vols -f dangling=true; vols -f dangling=false; vols -f dangling=x
## volume ls -f name and driver
vols -f "name=v[12]"; vols -f driver=nosuch
## volume ls: wrong
vols -f nosuch=x; vl x; vl --format '{{.Nope}}' -f name=$N; vl --format '{{'
## volume inspect
D volume inspect ${N}v1 | sed -E 's/"Mountpoint.*//' | c; D volume inspect ${N}v1 nosuch | wc -l; echo $?
## volume inspect -f
D volume inspect -f '{{.Name}} {{.Driver}} {{json .Labels}} {{json .Options}} {{.Scope}}' ${N}v3 ${N}v2 | c
## volume inspect: wrong
D volume inspect -f '{{.Nope}}' ${N}v1; echo $?; D volume inspect nosuch; echo $?; D volume nosuch > /dev/null; echo $?
## network ls: the table
nl -f name=$N; nl -q --no-trunc -f name=${N}i
## network ls --format
nl -f name=$N --format 'table {{.Name}}\t{{.Driver}}\t{{.Internal}}\t{{.IPv6}}'; nl -f name=^none$ --format '{{.Name}} {{.Driver}} {{.Scope}}'
## network ls --format json
nl -f name=${N}i --format json | sed -E 's/"(CreatedAt|ID)":"[^"]*",?//g'; nl -f name=${N}n --format '{{.Labels}}' | tr ',' '\n' | sort; nl -f label=net --format '{{.Label "net"}}'
## network ls -f driver and type
nets -f driver=null -f driver=host; nets -f type=custom; nets -f type=x
## network ls -f label and scope
nets -f label=k=v; nets -f scope=swarm
## network ls -f dangling
# differs: docker lists a network with a running container as dangling, against its own documentation
nets -f dangling=true; nets -f dangling=x
## network ls -f id and name
nets -f id=$(D network ls -qf name=${N}n); nets -f name=n$; nets -f id=nosuch
## network ls: wrong
nets -f nosuch=x; nl x; nl --format '{{.Nope}}'; nl --format '{{'
## network inspect
D network inspect -f '{{.Name}} {{.Driver}} {{.Scope}} {{.Internal}} {{.EnableIPv6}} {{json .Labels}} {{json .Options}} {{json .IPAM}}' ${N}i ${N}n | c
## network inspect: its containers
D network inspect -f '{{range .Containers}}{{.Name}} {{.IPv4Address}} {{.IPv6Address}}|{{end}}{{len .Containers}}' ${N}n | c; D network inspect host -f '{{.Driver}}'
## network inspect: wrong
D network inspect nosuch; echo $?; D network inspect -f '{{.Nope}}' ${N}n; echo $?; D network nosuch > /dev/null; echo $?
## inspect -f: state
D inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Running}} {{.State.Paused}} {{.State.OOMKilled}} {{json .State.Error}}' ${N}bad ${N}held ${N}made
## inspect -f: paths and arguments
D inspect -f '{{.Path}} {{.Args}} {{json .Args}} {{len .Args}} {{index .Args 1}} {{.Name}}' ${N}bad | c
## inspect -f: config
D inspect -f '{{json .Config.Cmd}} {{json .Config.Entrypoint}} {{json .Config.Env}} {{.Config.Image}} {{json .Config.ExposedPorts}} {{json .Config.Volumes}}' ${N}made
## inspect -f: host config
D inspect -f '{{.HostConfig.Memory}} {{.HostConfig.NetworkMode}} {{json .HostConfig.Binds}} {{.HostConfig.RestartPolicy.Name}} {{json .HostConfig.PortBindings}} {{.HostConfig.ShmSize}}' ${N}sick ${N}bad
## inspect -f: mounts
D inspect -f '{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}} {{.Propagation}} {{.Mode}}{{println}}{{end}}' ${N}made ${N}bad
## inspect -f: maps and loops
D inspect -f '{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}} {{index .Config.Labels "tier"}}' ${N}made
## inspect -f: conditions
D inspect -f '{{if and .State.Running (not .State.Paused)}}up{{else if .State.Paused}}held{{else}}down{{end}} {{eq .State.ExitCode 3}} {{or .Config.Domainname "none"}}' ${N}on ${N}held ${N}bad
## inspect -f: variables, with, printf
D inspect -f '{{$n := .Name}}{{with .State}}{{printf "%s %d %q %v" $n .ExitCode .Status .Running}}{{end}}' ${N}bad | c
## inspect -f: functions
D inspect -f '{{upper .Name}} {{lower "AbC"}} {{title "abc"}} {{join .Args "+"}} {{split "a:b" ":"}} {{slice "abcdef" 1 3}} {{len .Name}}' ${N}bad | tr '[:upper:]' '[:lower:]' | c
## inspect -f: a whole part
D inspect -f '{{json .HostConfig.LogConfig}} {{json .HostConfig.RestartPolicy}} {{.HostConfig.LogConfig}} {{.State.Health}}' ${N}good
## inspect -f: an unknown field
D inspect -f '{{.Nope}}' ${N}bad; echo $?; D inspect -f '{{.State.Nope}}' ${N}bad; echo $?; D inspect -f '{{' ${N}bad; echo $?; D inspect -f '{{nosuch .Name}}' ${N}bad; echo $?
## inspect -f: JSON's names
D inspect -f '{{.Id}}{{.ID}}' ${N}bad | c; D inspect -f '{{.HostConfig.Dns}}|{{.HostConfig.DNS}}' ${N}bad
## inspect: several kinds
D inspect -f '{{.Name}}' ${N}v1 ${N}n ${N}bad | c; D inspect --type volume -f '{{.Name}}' ${N}v1 | c; D inspect --type nosuch x; echo $?
## inspect: an unknown name
D inspect nosuch; echo $?; D inspect ${N}bad nosuch -f '{{.Name}}' | c; D inspect --type image ${N}bad; echo $?
## inspect -s
D inspect -s -f '{{.SizeRw}} {{.SizeRootFs}}' ${N}bad; D inspect -f '{{.SizeRw}}' ${N}bad; D container inspect --size -f '{{.SizeRw}}' ${N}made
## inspect -f json
D inspect -f json ${N}made | head -c 8 | sed 's/"I.*//'; D volume inspect -f json ${N}v2 | grep -o '"Driver":"local"'
## container inspect and image inspect
D container inspect ${N}v1; echo $?; D image inspect ${N}bad; echo $?; D container inspect -f '{{.Name}}' ${N}bad | c
## image inspect -f
D image inspect -f '{{.Comment}}|{{.Author}}|{{json .Config.Cmd}}|{{json .Config.Labels}}|{{.Config.Env}}|{{.Os}}|{{.Architecture}}|{{json .Config.ExposedPorts}}' $N/one:1 $N/said
## image inspect -f: names and layers
D image inspect -f '{{json .RepoTags}} {{len .RepoDigests}} {{.RootFS.Type}} {{len .RootFS.Layers}}' $N/one:1 | c; D image inspect -f '{{.Nope}}' busybox; echo $?
## container of an ambiguous name
D inspect -f '{{.Name}}' $(D ps -aqf name=${N}bad | cut -c1-10) | c; D inspect ''; echo $?; D ps -f name=; echo $?
## port without published ports
D port ${N}on; echo $?; D port ${N}bad 80; echo $?; D port nosuch; echo $?
## top
D top ${N}on | awk '{ print $1, $2 != "", $NF }'; D top ${N}on -o pid,args | awk '{ print $2 }'; D top ${N}bad; echo $?
## diff
D diff ${N}bad | sort; D diff ${N}made; echo $?; D diff nosuch; echo $?
## logs
D logs ${N}good; D logs --tail 0 ${N}good; D logs -t ${N}good; D container logs ${N}bad; D logs nosuch; echo $?
## export
D export ${N}bad | tar tf - | grep -e '^f$' -e '^bin/sh$'; D export -o /nosuch/x ${N}bad; echo $?; D export nosuch; echo $?
## wait for a stopped container
D wait ${N}bad ${N}good; D wait nosuch; echo $?
## save and load of names
D save $N/one:1 $N/two -o i.tar; D save nosuch; echo $?; D load -qi i.tar | c | sort; D load -i /nosuch; echo $?
## stats of one container
D stats --no-stream --format '{{.Name}} {{.PIDs}}' ${N}on | c; D stats --no-stream nosuch; echo $?
## exec in states that refuse it
D exec ${N}bad true; echo $?; D exec ${N}held true; echo $?; D exec nosuch true; echo $?; D exec ${N}on nosuch > /dev/null; echo $?
## exec
D exec ${N}on sh -c 'exit 5'; echo $?; D exec -e A=1 -w /tmp -u 1 ${N}on sh -c 'echo $A; pwd; id -u'; D exec -it ${N}on true; echo $?; D container exec ${N}on hostname | wc -c
## attach in wrong states
D attach ${N}bad; echo $?; D attach ${N}held; echo $?; D attach nosuch; echo $?
## pause and unpause in wrong states
D pause ${N}held; echo $?; D pause ${N}bad; echo $?; D unpause ${N}on; echo $?; D container unpause nosuch; echo $?
## kill in wrong states
D kill ${N}bad; echo $?; D kill nosuch; echo $?; D kill -s NOSUCH ${N}on; echo $?
## start in wrong states
D start ${N}on | c; D start ${N}held; echo $?; D start nosuch; echo $?; D start -a ${N}on ${N}bad; echo $?
## stop in wrong states
D stop ${N}bad | c; D stop nosuch ${N}made | c; echo $?; D stop -t x ${N}on; echo $?
## rename: wrong
D rename ${N}on ${N}bad; echo $?; D rename nosuch x; echo $?; D rename ${N}on 'a b'; echo $?
## rm in wrong states
D rm ${N}on; echo $?; D rm ${N}held; echo $?; D rm nosuch; echo $?; D container rm -f nosuch; echo $?
## rmi in wrong states
D rmi busybox; echo $?; D rmi nosuch; echo $?; D image rm $N/one:2 | c; D image remove nosuch -f; echo $?
## tag
D tag $N/one:1 $N/one:5; D tag nosuch x; echo $?; D tag $N/one:1 BAD; echo $?; D tag $N/one:1 a:b:c; echo $?; D image tag $N/two $N/one:6; tags -f "reference=$N/one"
## commit: wrong
D commit nosuch; echo $?; D commit ${N}bad BAD; echo $?; D commit -c 'NOSUCH x' ${N}bad; echo $?; D commit -c 'RUN x' ${N}bad; echo $?
## create: wrong
D create; echo $?; D create nosuch true; echo $?; D create --name ${N}on busybox; echo $?; D create --nosuch busybox; echo $?; D container create -m x busybox; echo $?
## run: wrong
D run --name ${N}on busybox; echo $?; D run -d --rm --restart always busybox; echo $?; D run --net nosuch busybox; echo $?
## cp: wrong
D cp nosuch:/x .; echo $?; D cp ${N}bad:/nosuch .; echo $?; D container cp /nosuch ${N}bad:/; echo $?; D cp ${N}bad:/f - | tar tf -
## update: wrong
D update nosuch; echo $?; D update -m x ${N}on; echo $?; D update --restart nosuch ${N}on; echo $?; D update -m 4m ${N}on; echo $?
## volume create: wrong
D volume create ''; echo $?; D volume create a/b; echo $?; D volume create -d nosuch x; echo $?; D volume create -o nosuch=1 ${N}x; echo $?
## volume rm: wrong
D volume rm ${N}v1; echo $?; D volume rm nosuch; echo $?; D volume rm -f nosuch; echo $?; D volume remove ${N}v2 | c
## network create: wrong
D network create ${N}n; echo $?; D network create --subnet x ${N}x; echo $?; D network create -d nosuch ${N}x; echo $?; D network create --subnet $S.0/24 ${N}x; echo $?
## network rm: wrong
D network rm ${N}n; echo $?; D network rm nosuch; echo $?; D network rm host; echo $?; D network remove ${N}i | c
## network connect and disconnect: wrong
D network connect nosuch ${N}on; echo $?; D network connect ${N}n nosuch; echo $?; D network disconnect ${N}n ${N}bad; echo $?; D network connect ${N}n ${N}on; echo $?
## search, login, pull and push: wrong
D pull; echo $?; D push; echo $?; D pull BAD; echo $?; D push nosuch/nosuch; echo $?
## groups without a command
for g in container image network volume system; do D $g nosuch > /dev/null; echo $?; done
## unknown commands
D nosuch; echo $?; D --nosuch > /dev/null; echo $?; D -v > /dev/null; echo $?
## help
for w in '' ps image 'network create'; do D help $w > /dev/null; echo $?; done; D container run --help > /dev/null; echo $?
## help by -h
D ps -h 2> /dev/null | grep -c Usage:; D inspect -h > /dev/null; echo $?; D create --net none --rm -h hh busybox hostname | wc -c
## version
D version --format '{{.Server.Os}} {{.Client.Os}} {{.Server.Arch}}'; D version --format '{{.Nope}}'; echo $?; D version x; echo $?; D version --format '{{'; echo $?
## info
D info --format '{{.OSType}} {{.Architecture}} {{.NCPU}} {{.Containers}} {{.ContainersPaused}} {{.ContainersRunning}} {{.ContainersStopped}}'; D info --format '{{.Nope}}'; echo $?; D system info x; echo $?
## container prune, volume prune, network prune: wrong
for g in container volume network image; do D $g prune -f --filter nosuch=x; echo $?; done
## a group's unknown command
D image nosuch; echo $?
## exec: a missing program
# differs: docker says so on standard output, where a script takes it for the program's
D exec ${N}on nosuch; echo $?
## run -v with a relative path
D run --rm --net none -v x busybox ls -d /x; echo $?
## too few arguments
for w in attach commit cp create diff exec inspect kill 'network create' rename rmi tag 'volume rm'; do D $w; echo $?; done
## too many arguments
for w in attach diff export 'history' 'image pull' 'network create' rename 'volume create'; do D $w a b c; echo $?; done
