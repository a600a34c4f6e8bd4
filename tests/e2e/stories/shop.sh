# An application of three containers on a network of its own: a web server, a cache, a database.
# Its orders outlive the database's container. $PORT is a free port of this machine; the working
# directory has shop/.
set -eu
visit() {
    for _ in $(seq 150); do
        curl -sf "http://127.0.0.1:$PORT$1" && return
        sleep 0.2
    done
    return 1
}

docker build -q -t shop shop > id
docker network create shop > id
docker volume create orders

database() {
    docker run -d --name db --network shop -e POSTGRES_PASSWORD=secret \
        -v orders:/var/lib/postgresql/data postgres > id
}
database
docker run -d --name cache --network shop redis > id
docker run -d --name web --network shop -e POSTGRES_PASSWORD=secret -p "127.0.0.1:$PORT:80" shop > id

visit / > /dev/null
visit /order/tea
visit /order/bread
docker exec cache redis-cli GET 'orders since the cache began'
docker exec db psql -U postgres -Atc 'SELECT thing FROM orders ORDER BY number'
docker ps --format '{{.Names}} {{.Image}} {{.State}}' | sort
docker logs web 2> /dev/null
docker run --rm --network shop busybox nslookup db | grep -c "$(docker inspect \
    -f '{{.NetworkSettings.Networks.shop.IPAddress}}' db)"

docker rm -f db cache
docker volume ls -q --filter name=orders
database
docker run -d --name cache --network shop redis > id
visit /order/milk

docker network rm shop || echo 'it is in use'
docker rm -fv web cache db
docker network rm shop
docker volume rm orders
docker rmi shop > id
