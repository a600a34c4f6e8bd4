"""Print the first frame on a device that contains "password": python3 sniff.py DEVICE SECONDS.

Prints "listening" when the socket is ready, then "heard: …", and exits.
"""

import select
import socket
import struct
import sys
import time

device, seconds = sys.argv[1], float(sys.argv[2])
ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
ear.bind((device, 0))
# Promiscuous: also frames for other devices; on a bridge, those between its ports.
ear.setsockopt(263, 1, struct.pack("=iHH8x", socket.if_nametoindex(device), 1, 0))
print("listening", flush=True)
end = time.monotonic() + seconds
while (left := end - time.monotonic()) > 0:
    if not select.select([ear], [], [], left)[0]:
        break
    frame = ear.recv(65535)
    if (at := frame.find(b"password")) >= 0:
        print("heard:", frame[at : at + 40].split(b"\r")[0].decode(errors="replace"))
        sys.exit()
