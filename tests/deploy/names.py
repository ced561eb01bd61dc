"""A name server, as the one of Docker that nginx asks for the addresses of containers."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

HEADER = struct.Struct(">6H")  # RFC 1035, 4.1.1
ANSWER = struct.Struct(">3HIH4s")  # 4.1.3: the name of the question, an IPv4 address
POINTER_TO_QUESTION, TYPE_A, CLASS_IN, TTL_SECONDS = 0xC00C, 1, 1, 600
FOUND, NO_SUCH_NAME = 0x8180, 0x8183


@dataclass
class NameServer:
    """Every name has these addresses; without any, there is no such name."""

    door: socket.socket
    addresses: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Its own, as host:port."""
        host, port = self.door.getsockname()
        return f"{host}:{port}"

    def serve(self) -> None:
        """Until the door is shut."""
        with suppress(OSError):
            while True:
                query, client = self.door.recvfrom(512)
                if not query:
                    return
                self.door.sendto(self._answer(query), client)

    def _answer(self, query: bytes) -> bytes:
        number, *_counts = HEADER.unpack_from(query)
        flags = FOUND if self.addresses else NO_SUCH_NAME
        parts = [HEADER.pack(number, flags, 1, len(self.addresses), 0, 0), query[HEADER.size :]]
        for address in self.addresses:
            data = socket.inet_aton(address)
            parts.append(ANSWER.pack(POINTER_TO_QUESTION, TYPE_A, CLASS_IN, TTL_SECONDS, len(data), data))
        return b"".join(parts)


@contextmanager
def name_server(*addresses: str) -> Iterator[NameServer]:
    """Run one on a free port of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(("127.0.0.1", 0))
        server = NameServer(door, list(addresses))
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            door.sendto(b"", door.getsockname())
            thread.join(timeout=10)
