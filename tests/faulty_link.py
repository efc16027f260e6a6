"""A TCP proxy on loopback that does to connections what networks do: cuts, delays, damages, answers for others."""

from __future__ import annotations

import socket
import struct
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"

_BEGINNINGS = (b"HTTP/1.", b"PUT /", b"POST /", b"GET /", b"HEAD /", b"DELETE /")


@dataclass
class Fault:
    """What happens to the next `times` connections.

    cut: reset after `after_bytes` bytes in `direction`. lose: the request goes through, its answer ("down") does not.
    busy: 503, the server never sees the request. damage: one bit of a body changes, of `times` bodies in `direction`.
    """

    kind: Literal["cut", "lose", "busy", "damage"]
    times: int
    after_bytes: int = 0
    direction: Literal["up", "down"] = "up"


class FaultyLink:
    """Listens on a free port of loopback and passes everything on to `endpoint`, until it is told otherwise."""

    def __init__(self, endpoint: str) -> None:
        host, port = endpoint.partition("://")[2].split(":")
        self._target = (host, int(port))
        self._listener = socket.socket()
        # Loopback's segments of 64 KiB make buffers of megabytes, which no slow link has.
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(128)
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.bytes_per_s = 0.0  # 0: as fast as it goes
        self.suffered = 0  # connections that a fault has happened to
        self.passed = 0  # bytes that have gone through, both ways
        self._faults: list[Fault] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.drop_all()

    def add(self, fault: Fault) -> None:
        """Do this to the next connections; those that are open are dropped, as they would go on unharmed."""
        with self._lock:
            self._faults.append(fault)
        self.drop_all()

    def drop_all(self) -> None:
        """Reset every connection."""
        with self._lock:
            dropped, self._open = self._open, set()
        for one in dropped:
            reset(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            while self._faults and self._faults[0].times == 0:
                self._faults.pop(0)
            fault = self._faults[0] if self._faults else None
            if fault is not None and fault.kind != "damage":
                fault.times -= 1
            self._open.add(client)
        try:
            if fault is not None and fault.kind == "busy":
                self.suffered += 1
                _answer_busy(client)
                return
            server = socket.create_connection(self._target)
        except OSError:
            reset(client)
            return
        with self._lock:
            self._open.add(server)
        up = threading.Thread(target=self._pump, args=(client, server, "up", fault), daemon=True)
        up.start()
        self._pump(server, client, "down", fault)
        up.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _pump(self, source: socket.socket, target: socket.socket, direction: str, fault: Fault | None) -> None:
        kind = fault.kind if fault is not None and fault.direction == direction else ""
        passed, head = 0, b""
        try:
            while data := source.recv(16384):
                if kind == "lose":
                    return self._harm(source, target)
                if kind == "cut":
                    data = data[: max(0, fault.after_bytes - passed)]
                if kind == "damage" and fault.times:
                    if data.startswith(_BEGINNINGS):
                        head = b""
                    head, data = _damage(head, data)
                    fault.times -= head is None
                    self.suffered += head is None
                if self.bytes_per_s:
                    time.sleep(len(data) / self.bytes_per_s)
                target.sendall(data)
                passed += len(data)
                self.passed += len(data)
                if kind == "cut" and passed >= fault.after_bytes:
                    return self._harm(source, target)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            reset(source)
            reset(target)

    def _harm(self, *ends: socket.socket) -> None:
        self.suffered += 1
        for end in ends:
            reset(end)


def reset(one: socket.socket) -> None:
    """Close with a RST, as a crashed host or an impatient load balancer does."""
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    one.close()


def _damage(head: bytes | None, data: bytes) -> tuple[bytes | None, bytes]:
    """Change one bit of the first byte of a body; `head` is what came before, None once it is done."""
    if head is None:
        return b"", data
    end = (head + data).find(b"\r\n\r\n")
    at = end + 4 - len(head)
    if end < 0 or at >= len(data):
        return head + data, data
    return None, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _answer_busy(client: socket.socket) -> None:
    with client, client.makefile("rb") as lines:
        length = 0
        while (line := lines.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        lines.read(length)
        client.sendall(BUSY % (len(SLOW_DOWN), SLOW_DOWN))
