"""How a call is written down as data, and how it is sent."""

import http.client
import json
import re
import socket
from dataclasses import dataclass, field
from urllib.parse import urlencode

API = "/api/2.0/mlflow/"
_PLACE = re.compile(r"<(\w+)>")


@dataclass
class Call:
    """One HTTP call.

    `<name>` in its path, query or body stands for what an earlier call captured as `name`; alone in a value it keeps
    its type. A path without a leading slash is below `/api/2.0/mlflow/`.
    """

    method: str
    path: str
    query: object = None
    body: object = None
    raw: bytes | None = None
    headers: dict = field(default_factory=dict)
    captures: dict = field(default_factory=dict)

    def label(self) -> str:
        """Names the call in reports and in the table of expected differences."""
        shown = [self.method, self.path]
        if self.query:
            pairs = self.query.items() if isinstance(self.query, dict) else self.query
            shown.append("?" + "&".join(f"{k}={v}" for k, v in pairs)[:160])
        if self.raw is not None:
            shown.append(repr(self.raw)[:80])
        elif self.body is not None:
            text = json.dumps(self.body)
            shown.append(text if len(text) <= 160 else f"{text[:120]}… ({len(text)} characters)")
        shown += [f"{k}: {v}" for k, v in self.headers.items()]
        return " ".join(shown)


def post(path, body=None, **captures):
    return Call("POST", path, body={} if body is None else body, captures=captures)


def patch(path, body=None, **captures):
    return Call("PATCH", path, body={} if body is None else body, captures=captures)


def delete(path, body=None, **captures):
    return Call("DELETE", path, body=body, captures=captures)


def get(path, query=None, **captures):
    return Call("GET", path, query=query, captures=captures)


def put(path, raw=b"", **headers):
    return Call("PUT", path, raw=raw, headers=headers)


def raw(method, path, data, kind="application/json", query=None, **captures):
    """A body as it stands, with a content type or (`kind` None) without."""
    headers = {"Content-Type": kind} if kind else {}
    return Call(method, path, query=query, raw=data, headers=headers, captures=captures)


@dataclass
class Reply:
    status: int
    kind: str
    body: object
    headers: dict


class Server:
    """One side of a comparison: an address, and what a script captured from it."""

    def __init__(self, url: str):
        self.host = url.removeprefix("http://")
        self.seen: dict[str, object] = {}
        self.connection = None

    def fill(self, value):
        """Puts captured values in place of `<name>`."""
        if isinstance(value, str):
            alone = _PLACE.fullmatch(value)
            if alone and alone[1] in self.seen:
                return self.seen[alone[1]]
            return _PLACE.sub(lambda m: str(self.seen.get(m[1], m[0])), value)
        if isinstance(value, dict):
            return {self.fill(k): self.fill(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.fill(v) for v in value]
        return value

    def send(self, call: Call) -> Reply:
        path = self.fill(call.path)
        path = path if path.startswith("/") else API + path
        if call.query:
            pairs = call.query.items() if isinstance(call.query, dict) else call.query
            path += "?" + urlencode([(k, self.fill(v)) for k, v in pairs], doseq=True)
        headers = dict(call.headers)
        data = call.raw
        if data is None and call.body is not None:
            data = json.dumps(self.fill(call.body)).encode()
            headers.setdefault("Content-Type", "application/json")
        elif data is not None:
            data = self.fill(data.decode("latin-1")).encode("latin-1")
        status, kind, text, got = self._exchange(call.method, path, data, headers)
        body = text.decode("latin-1")
        if "json" in kind and text:
            body = json.loads(text)
        reply = Reply(status, kind, body, got)
        for name, at in call.captures.items():
            self.seen[name] = _at(body, at)
        return reply

    def _exchange(self, method, path, data, headers):
        for last in (False, True):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.host, timeout=30)
                self.connection.connect()
                self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self.connection.request(method, path, data, headers)
                reply = self.connection.getresponse()
                text = reply.read()
                got = {k.lower(): v for k, v in reply.getheaders()}
                return reply.status, got.get("content-type", ""), text, got
            except (http.client.HTTPException, ConnectionError):
                # A server may close a connection that it kept; a new one must work.
                self.connection.close()
                self.connection = None
                if last:
                    raise
        raise AssertionError("unreachable")


def _at(body, path: str):
    for part in path.split("."):
        if isinstance(body, list):
            body = body[int(part)] if int(part) < len(body) else None
        elif isinstance(body, dict):
            body = body.get(part)
        else:
            return None
    return body
