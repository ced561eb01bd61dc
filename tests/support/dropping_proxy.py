"""A proxy that loses the first answers on their way back, as a network does."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def losing(url: str, count: int, *, when: str = "whole") -> Iterator[str]:
    """Yield the address of a proxy before `url` that loses the first `count` answers.

    `when`: once the "whole" answer came, or at its "head"; then the proxy closes both of its connections.
    """
    host, port = url.removeprefix("http://").split(":")
    door = socket.create_server(("127.0.0.1", 0))
    left = [count]

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)

    def lose(client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            server.sendall(client.recv(65_536))
            received = server.recv(65_536)
            server.settimeout(0.5)
            while when == "whole" and received:
                received = server.recv(65_536)

    def serve(client: socket.socket) -> None:
        with client, socket.create_connection((host, int(port))) as server:
            if left[0] > 0:
                left[0] -= 1
                lose(client, server)
                return
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            pump(client, server)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _address = door.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
    finally:
        door.close()
