"""The disk of the guest: an NBD server that keeps every write and every flush, in their order, and what the guest said.

A recording is a file of records: a letter, an offset, a length, and that many bytes.

    W  the guest wrote these bytes at the offset; they may still be in the disk's cache
    F  the guest flushed: every write before it is on the medium
    L  a line of the guest's console, where it came among the writes
"""

import os
import socket
import struct
import threading

RECORD = struct.Struct("<cQI")

# The protocol, https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md.
OPTION_MAGIC = 0x49484156454F5054  # IHAVEOPT
REPLY_MAGIC = 0x3E889045565A9
REQUEST_MAGIC, ANSWER_MAGIC = 0x25609513, 0x67446698
ABORT, INFO, GO = 2, 6, 7
ACK, EXPORT, UNSUPPORTED = 1, 3, 0x80000001
HAS_FLAGS, SEND_FLUSH, SEND_FUA = 1, 4, 8
READ, WRITE, DISCONNECT, FLUSH = 0, 1, 2, 3
FUA = 1
INVALID = 22


class Recorder:
    """Writes a recording. Its methods may be called by several threads."""

    def __init__(self, path):
        self.file = open(path, "wb", buffering=1 << 20)
        self.lock = threading.Lock()
        self.closed = False

    def put(self, kind, offset=0, data=b""):
        with self.lock:
            if not self.closed:
                self.file.write(RECORD.pack(kind, offset, len(data)))
                self.file.write(data)

    def close(self):
        """From here on nothing counts any more: the power is off."""
        with self.lock:
            if not self.closed:
                self.closed = True
                self.file.close()


def read(path):
    """All records of a recording, as (letter, offset, bytes)."""
    with open(path, "rb") as file:
        while head := file.read(RECORD.size):
            kind, offset, length = RECORD.unpack(head)
            yield kind.decode(), offset, file.read(length)


class Disk:
    """Serves one disk image over a unix socket, to one client, in a thread of its own."""

    def __init__(self, image, path, recorder):
        self.image = os.open(image, os.O_RDWR)
        self.size = os.fstat(self.image).st_size
        self.recorder = recorder
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        self.error = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def close(self):
        """Once the client is gone."""
        self.listener.close()
        self.thread.join()
        os.close(self.image)
        if self.error:
            raise self.error

    def run(self):
        try:
            client, _ = self.listener.accept()
            with client:
                if self.negotiate(client):
                    self.serve(client)
        except (ConnectionError, EOFError):
            pass  # The guest's machine was killed, which is what it is here for.
        except OSError as error:
            if self.listener.fileno() != -1:
                self.error = error

    def negotiate(self, client):
        client.sendall(b"NBDMAGIC" + struct.pack(">QH", OPTION_MAGIC, 3))
        exactly(client, 4)
        while True:
            magic, option, length = struct.unpack(">QII", exactly(client, 16))
            if magic != OPTION_MAGIC or length > 1 << 16:
                raise OSError("the NBD client does not speak the protocol")
            exactly(client, length)

            def reply(kind, data=b"", option=option):
                client.sendall(struct.pack(">QIII", REPLY_MAGIC, option, kind, len(data)) + data)

            if option in (GO, INFO):
                flags = HAS_FLAGS | SEND_FLUSH | SEND_FUA
                reply(EXPORT, struct.pack(">HQH", 0, self.size, flags))
                reply(ACK)
                if option == GO:
                    return True
            elif option == ABORT:
                reply(ACK)
                return False
            else:
                reply(UNSUPPORTED)

    def serve(self, client):
        request = struct.Struct(">IHHQQI")
        while True:
            magic, flags, kind, handle, offset, length = request.unpack(exactly(client, 28))
            if magic != REQUEST_MAGIC:
                raise OSError("the NBD client does not speak the protocol")
            answer, error = b"", 0
            if kind == READ:
                answer = os.pread(self.image, length, offset)
            elif kind == WRITE:
                data = exactly(client, length)
                self.recorder.put(b"W", offset, data)
                os.pwrite(self.image, data, offset)
                if flags & FUA:
                    # Stricter towards nobody: what else is in the cache is taken as flushed with it, and the guest
                    # never sends this to a virtio disk.
                    self.recorder.put(b"F")
            elif kind == FLUSH:
                self.recorder.put(b"F")
            elif kind == DISCONNECT:
                return
            else:
                error = INVALID
            client.sendall(struct.pack(">IIQ", ANSWER_MAGIC, error, handle) + answer)


def exactly(client, length):
    data = bytearray(length)
    view, got = memoryview(data), 0
    while got < length:
        more = client.recv_into(view[got:])
        if more == 0:
            raise EOFError
        got += more
    return bytes(data)
