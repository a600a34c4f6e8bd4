"""A shop's web server: orders are kept in the database `db`, and counted in the cache `cache`."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pg8000.native
import redis


def database():
    return pg8000.native.Connection(
        "postgres", host="db", password=os.environ["POSTGRES_PASSWORD"], timeout=10
    )


class Shop(BaseHTTPRequestHandler):
    def do_GET(self):
        """/ lists all orders; /order/THING makes one; /ready says whether all is there."""
        cache = redis.Redis("cache", socket_timeout=10)
        connection = database()
        connection.run("CREATE TABLE IF NOT EXISTS orders (number serial, thing text)")
        if self.path.startswith("/order/"):
            connection.run("INSERT INTO orders (thing) VALUES (:thing)", thing=self.path[7:])
            cache.incr("orders since the cache began")
        rows = connection.run("SELECT thing FROM orders ORDER BY number")
        connection.close()
        lines = [thing for (thing,) in rows]
        counted = int(cache.get("orders since the cache began") or 0)
        self.answer("\n".join([*lines, f"{counted} of them since the cache began", ""]))

    def answer(self, text):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


print("open")
ThreadingHTTPServer(("", 80), Shop).serve_forever()
