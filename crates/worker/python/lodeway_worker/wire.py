"""Frames between host and model: a preamble, a JSON header, and the bytes of its tensors.

The preamble is 16 bytes, little-endian: the letters LW, the version, a zero, the header's length (u32), the body's
length (u64). Each tensor starts at a multiple of 8 in the body, so that numpy reads it where it lies.
"""

import json
import select
import struct

VERSION = 1
MAX_HEADER_BYTES = 16 << 20
# below this, one write of a joined buffer is cheaper than several
_JOIN_BYTES = 1 << 16
_PREAMBLE = struct.Struct("<2sBBIQ")
_ZEROS = bytes(8)
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Wire:
    """One end of the socket to the host. Reads and writes block."""

    def __init__(self, sock, max_body_bytes):
        self._sock = sock
        self._max_body_bytes = max_body_bytes
        self._buffer = bytearray(_JOIN_BYTES)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0

    def receive(self):
        """The next frame as (header, body); None at the end of the stream.

        The body is a writable buffer of its own, so arrays made of it may be kept.
        """
        if not self._fill(_PREAMBLE.size):
            return None
        letters, version, _, header_len, body_len = _PREAMBLE.unpack_from(self._buffer, self._start)
        if letters != b"LW" or version != VERSION:
            raise ValueError(f"the host speaks another protocol ({letters!r}, version {version})")
        if header_len > MAX_HEADER_BYTES or body_len > self._max_body_bytes:
            raise ValueError("the host sent a frame beyond the agreed size")
        self._start += _PREAMBLE.size
        header = json.loads(bytes(self._take(header_len)))
        return header, self._take(body_len)

    def _fill(self, count):
        """Has at least `count` bytes in the buffer; False if the stream ended before the first."""
        while self._end - self._start < count:
            if self._start and self._start + count > len(self._buffer):
                rest = bytes(self._view[self._start : self._end])
                self._buffer[: len(rest)] = rest
                self._start, self._end = 0, len(rest)
            elif self._start == self._end:
                self._start = self._end = 0
            got = self._sock.recv_into(self._view[self._end :])
            if not got:
                if self._start == self._end:
                    return False
                raise EOFError("the host went away in the middle of a frame")
            self._end += got
        return True

    def _take(self, count):
        taken = bytearray(count)
        have = min(count, self._end - self._start)
        taken[:have] = self._view[self._start : self._start + have]
        self._start += have
        rest = memoryview(taken)[have:]
        while rest:
            got = self._sock.recv_into(rest)
            if not got:
                raise EOFError("the host went away in the middle of a frame")
            rest = rest[got:]
        return taken

    def waiting(self):
        """Whether the host has sent something that was not received yet."""
        if self._end > self._start:
            return True
        return bool(select.select([self._sock], [], [], 0)[0])

    def send(self, header, segments=()):
        """Sends one frame; each segment is bytes-like and contiguous."""
        text = _encode(header).encode()
        segments = [memoryview(segment).cast("B") if len(segment) else b"" for segment in segments]
        if len(text) > MAX_HEADER_BYTES:
            raise TooLarge("the answer has more names than a frame can carry")
        parts, body_len = [text], 0
        for segment in segments:
            pad = -len(segment) % 8
            parts.append(segment)
            if pad:
                parts.append(_ZEROS[:pad])
            body_len += len(segment) + pad
        if body_len > self._max_body_bytes:
            raise TooLarge(f"the answer takes {body_len} bytes; at most {self._max_body_bytes} may be sent")
        parts.insert(0, _PREAMBLE.pack(b"LW", VERSION, 0, len(text), body_len))
        if body_len < _JOIN_BYTES:
            self._sock.sendall(b"".join(parts))
        else:
            for part in parts:
                self._sock.sendall(part)


class TooLarge(ValueError):
    """An answer beyond what a frame may hold."""
