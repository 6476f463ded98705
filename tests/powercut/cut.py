"""What a power cut leaves of a recording: all that was flushed, and of the rest whatever a disk may have written."""

import os
import random
import subprocess

import device

SECTOR = 512
# The block with ext4's superblock, which is the one thing that ext4 overwrites in place without its journal, and cannot
# be mounted from when it is torn: that needs e2fsck, and is about the file system, not about what is in it.
SUPERBLOCK = 4096

# How the writes since the last flush are treated, and how often of 16.
MODES = {
    "none": 5,  # all are lost
    "all": 1,  # none is: the power went, the disk's cache did not
    "some": 4,  # each is kept or lost, whatever came before it
    "torn": 4,  # as `some`, by sectors of 512 bytes
    "late": 2,  # a run of the latest is kept, what came before it is lost
}


class Cut:
    """One cut of a recording: after its record number `position`, with a seed for what survives."""

    def __init__(self, number, position, mode, seed):
        self.number, self.position, self.mode, self.seed = number, position, mode, seed

    def as_json(self):
        return vars(self)


def choose(records, count, seed):
    """Cuts of a recording, spread over its writes; right after something was acknowledged; right before a flush."""
    rng = random.Random(f"{seed}/choose")
    of_kind = lambda kind: [at for at, (k, _, _) in enumerate(records) if k == kind]
    writes, flushes = of_kind("W"), of_kind("F")
    acknowledged = [at for at in of_kind("L") if records[at][2].startswith(b"ACK")]
    cuts = []
    # Without a write there is nothing to cut.
    for number in range(count if writes else 0):
        where = rng.random()
        if where < 0.35 and acknowledged:
            position = rng.choice(acknowledged)
        elif where < 0.55 and flushes:
            position = rng.choice(flushes) - 1
        else:
            position = rng.choice(writes)
        mode = rng.choices(list(MODES), list(MODES.values()))[0]
        cuts.append(Cut(number, max(position, 0), mode, f"{seed}/{number}"))
    return cuts


def survivors(pending, mode, seed):
    """Of the writes [(offset, bytes)] that were not flushed those that the disk has made all the same."""
    rng = random.Random(f"{seed}/{mode}")
    if mode == "none":
        return []
    if mode == "all":
        return pending
    if mode == "late":
        return pending[rng.randrange(len(pending) + 1) :]
    share = rng.choice((0.1, 0.5, 0.9))
    if mode == "some":
        return [write for write in pending if rng.random() < share]
    kept = []
    for offset, data in pending:
        if offset < SUPERBLOCK:
            kept += [(offset, data)] if rng.random() < share else []
            continue
        for at in range(0, len(data), SECTOR):
            if rng.random() < share:
                kept.append((offset + at, data[at : at + SECTOR]))
    return kept


class Medium:
    """The flushed state of a recording, carried forward from cut to cut."""

    def __init__(self, base, recording, scratch):
        self.base, self.scratch = base, scratch
        self.records = list(device.read(recording))
        self.file = None

    def rewind(self):
        if self.file is not None:
            os.close(self.file)
        copy(self.base, self.scratch)
        self.file = os.open(self.scratch, os.O_RDWR)
        self.next, self.pending = 0, []

    def image(self, cut, path):
        """Makes the image that the cut leaves."""
        # A flush behind the position is not to be taken back.
        if self.file is None or cut.position + 1 < self.next:
            self.rewind()
        while self.next <= cut.position:
            kind, offset, data = self.records[self.next]
            self.next += 1
            if kind == "W":
                self.pending.append((offset, data))
            elif kind == "F":
                write(self.file, self.pending)
                self.pending = []
        copy(self.scratch, path)
        kept = survivors(self.pending, cut.mode, cut.seed)
        file = os.open(path, os.O_RDWR)
        write(file, kept)
        os.close(file)
        return len(self.pending)

    def lines(self, cut):
        """What the guest had said by then, and its next line: that may have been on its way."""
        said = []
        for at, (kind, _, data) in enumerate(self.records):
            if kind == "L":
                line = data.decode(errors="replace")
                if at > cut.position:
                    if line.startswith("TRY "):
                        said.append(line)
                    break
                said.append(line)
        return said


def write(file, writes):
    for offset, data in writes:
        os.pwrite(file, data, offset)


def copy(source, to):
    """Copies a sparse file, with its holes."""
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, to], check=True)
