"""A receiver of the webhook: a real HTTP server that answers as a test says, and keeps what it was sent."""

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver:
    """`answers` are the statuses that it gives, the last one for ever; `hangs` is what it does before or instead."""

    def __init__(self):
        self.answers, self.hangs, self.location = [200], "", ""
        self.taken, self.ended = [], threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}/alerts?room=1"

    def close(self):
        self.ended.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def _handler(receiver):  # noqa: N805  the handler has a self of its own
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.taken.append((self.path, dict(self.headers), body))
                if receiver.hangs == "silent":
                    receiver.ended.wait()
                    return
                if receiver.hangs == "dripping":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                    with suppress(OSError):  # the sender has gone
                        while not receiver.ended.wait(0.05):
                            self.wfile.write(b"x")
                    return
                status = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                self.send_response(status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args):
                pass

        return Handler
