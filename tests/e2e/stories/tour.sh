# A first hour with containers, as tutorials tell it. $PORT is a free port of this machine.
set -eu

docker run --rm busybox echo hello from a container
docker run --rm busybox sh -c 'exit 3' || echo "it ended with $?"

docker run -d --name web -p "127.0.0.1:$PORT:80" -e GREETING=welcome busybox \
    sh -c 'mkdir /www; echo "$GREETING" > /www/index.html; echo serving; exec httpd -f -p 80 -h /www' > id
docker ps --filter name=web --format '{{.Names}} {{.Image}} {{.State}}'
until curl -s "http://127.0.0.1:$PORT"; do sleep 0.1; done
docker port web | sed "s/$PORT/PORT/"

docker exec web sh -c 'echo changed > /www/index.html'
curl -s "http://127.0.0.1:$PORT"
docker exec -e WHO=you web sh -c 'echo "$WHO"; ps | grep -c "[h]ttpd"'
docker logs web
docker top web -o args | tail -1

echo 'from outside' > page.html
docker cp page.html web:/www/page.html
curl -s "http://127.0.0.1:$PORT/page.html"
docker cp web:/www/index.html copied.html
cat copied.html
docker diff web | sort

docker commit -m 'with pages' -a 'a learner' web pages:1 > made
docker image inspect -f '{{.Comment}} by {{.Author}}, {{len .RootFS.Layers}} layers' pages:1
docker run --rm pages:1 cat /www/index.html /www/page.html
docker history --format '{{.Comment}}' pages:1 | head -1

docker stop -t 1 web
docker ps -a --filter name=web --format '{{.Names}} {{.State}}'
docker start web
until curl -s "http://127.0.0.1:$PORT"; do sleep 0.1; done
docker restart -t 0 web
docker inspect -f '{{.State.Running}} {{.RestartCount}} {{.Config.Env}}' web | sed 's/ PATH=[^]]*//'

docker create --name job busybox sh -c 'echo working; cat; echo done' > id
docker start -a job
docker run -i --name pipe busybox tr a-z A-Z < copied.html
echo again | docker start -ai pipe || true
docker wait job pipe
docker rm job pipe

docker rm web || echo 'it still runs'
docker rm -f web
docker rmi pages:1 > removed
docker ps -aq --filter name=web
