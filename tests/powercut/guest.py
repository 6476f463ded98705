"""The guest: Debian's cloud kernel under QEMU with a root disk of its own, and the state on a recorded disk."""

import gzip
import os
import re
import shutil
import subprocess
import tempfile
import threading

import device

HERE = os.path.dirname(os.path.abspath(__file__))
QEMU = os.path.join(HERE, "..", "qemu")
# Beside what tests/qemu loads: the network of containers, and of the guest.
MODULES = "virtio_net veth bridge nf_tables nft_nat nft_masq nft_redir nft_chain_nat nft_ct nft_fib_inet nft_reject_inet nft_meta_bridge nft_reject_bridge"
# An empty state fits many times; collecting images because the disk is full is not what is tested here.
DISK = "768M"


class Trouble(Exception):
    """The campaign cannot go on."""


def output(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise Trouble(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def machine():
    """QEMU's program, the arguments of the machine, the Debian package of the kernel, its modules, its console."""
    script = '. "$0"; printf "%s\\n" "$qemu" "$kernel" "$modules" "$console" "$disk" "${machine[@]}"'
    lines = output("bash", "-c", script, f"{QEMU}/machines/x86_64").splitlines()
    return lines[0], lines[1], lines[2], lines[3], lines[4], lines[5:]


def kernel(cache):
    """Where the kernel is unpacked; fetched once, to where tests/qemu keeps it."""
    package = machine()[1]
    cache = os.path.join(cache, "qemu", "x86_64")
    os.makedirs(cache, exist_ok=True)
    depends = subprocess.run(["apt-cache", "depends", package], capture_output=True, text=True).stdout
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    names = [found[1]] if found else sorted(n for n in os.listdir(cache) if n.startswith("linux-image-"))
    if not names:
        raise Trouble(f"apt does not know {package}: apt-get update")
    boot = os.path.join(cache, names[-1])
    if os.path.isdir(boot):
        return boot
    unpacked = tempfile.mkdtemp(dir=cache, prefix="new.")
    try:
        output("apt-get", "download", "-qq", names[-1], cwd=unpacked)
        (archive,) = os.listdir(unpacked)
        output("dpkg", "-x", f"{unpacked}/{archive}", unpacked)
        os.remove(f"{unpacked}/{archive}")
        output("depmod", "-b", unpacked, *os.listdir(f"{unpacked}/lib/modules"))
        os.chmod(unpacked, 0o755)
        os.rename(unpacked, boot)
    except OSError:
        if not os.path.isdir(boot):
            raise
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    return boot


def initramfs(boot, work):
    """An initramfs with the modules in the order in which they are to be loaded, as tests/qemu has it."""
    tree = os.path.join(work, "initramfs")
    for name in ("bin", "dev", "proc", "modules", "disk"):
        os.makedirs(f"{tree}/{name}")
    shutil.copy(shutil.which("busybox"), f"{tree}/bin/busybox")
    shutil.copy(f"{QEMU}/initramfs", f"{tree}/init")
    (release,) = os.listdir(f"{boot}/lib/modules")
    seen = []
    for module in f"{machine()[2]} {MODULES}".split():
        for line in output("modprobe", "-d", boot, "-S", release, "--show-depends", module).splitlines():
            if line.startswith("insmod ") and line.split()[1] not in seen:
                seen.append(line.split()[1])
    for number, file in enumerate(seen):
        to = f"{tree}/modules/{number:03}-{os.path.basename(file).removesuffix('.xz')}"
        if file.endswith(".xz"):
            with open(to, "wb") as out:
                subprocess.run(["xz", "-dc", file], stdout=out, check=True)
        else:
            shutil.copy(file, to)
    packed = subprocess.run(
        "find . | cpio -o -H newc --quiet -R 0:0", shell=True, cwd=tree, capture_output=True, check=True
    ).stdout
    with open(f"{work}/initramfs.gz", "wb") as file:
        file.write(gzip.compress(packed, 1))


class Machine:
    """What all guests of a campaign have in common."""

    def __init__(self, boot, work, binary, images, carried):
        self.boot, self.work = boot, work
        initramfs(boot, work)
        root = f"{work}/root"
        for name in ("bin", "dev", "etc/coracle/images.d", "proc", "run", "sys", "tmp", "var/lib/coracle", "images", "work"):
            os.makedirs(f"{root}/{name}")
        shutil.copy(shutil.which("busybox"), f"{root}/bin/busybox")
        shutil.copy(f"{HERE}/guest/init", f"{root}/init")
        # Half of a debug build is symbols.
        output("strip", "-o", f"{root}/bin/coracle", binary)
        for image in images:
            image.layout(f"{root}/images/{image.name.replace('/', '_').replace(':', '_')}")
        carried.archive(f"{root}/etc/coracle/images.d/carried.tar")
        with open(f"{root}/etc/coracle/agent.toml", "w") as file:
            file.write('[registries."10.0.2.2:5000"]\ninsecure = true\n')

    def empty_disk(self, path):
        """A file system as boxes have it, on which nothing is."""
        output("mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", path, DISK)

    def run(self, name, disk, recording, operations, files, until, patience, beside=None):
        """Boots with `disk` and records, until `until` of the operations have begun and a moment; cuts the power then.

        `beside` does more once the guest has done all of its own, and the power goes when it returns. Returns the lines of
        the console."""
        root = f"{self.work}/root"
        shutil.rmtree(f"{root}/work")
        os.mkdir(f"{root}/work")
        for file, content in files.items():
            with open(f"{root}/work/{file}", "w") as out:
                out.write(content)
        with open(f"{root}/work/operations", "w") as out:
            out.writelines(" ".join(operation) + "\n" for operation in operations)
        output("mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", root, f"{self.work}/{name}.root", "512M")

        recorder = device.Recorder(recording)
        server = device.Disk(disk, f"{self.work}/{name}.sock", recorder)
        program, _, _, console, kind, machine_arguments = machine()
        qemu = subprocess.Popen(
            [
                # A second life has the tasks of the first one too.
                program, *machine_arguments, "-m", "256M", "-display", "none", "-nodefaults", "-serial", "stdio", "-no-reboot",
                "-kernel", *[f"{self.boot}/boot/{f}" for f in os.listdir(f"{self.boot}/boot") if f.startswith("vmlinuz-")],
                "-initrd", f"{self.work}/initramfs.gz",
                "-drive", f"file={self.work}/{name}.root,format=raw,if=none,id=root,cache=unsafe",
                "-device", f"{kind},drive=root",
                "-drive", f"file=nbd:unix:{self.work}/{name}.sock,format=raw,if=none,id=state,cache=writeback",
                "-device", f"{kind},drive=state",
                "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
                # A machine that is busy emulates the timer too late for a look whether there is one.
                "-append", f"console={console} panic=-1 loglevel=1 no_timer_check",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        timer = threading.Timer(patience, qemu.kill)
        timer.start()
        lines, begun, trouble = [], 0, []

        def say(line):
            lines.append(line)
            recorder.put(b"L", 0, line.encode())

        def do_beside():
            try:
                beside(say)
            except Exception as error:  # noqa: BLE001
                trouble.append(f"FAIL beside {type(error).__name__}: {error}")
            qemu.kill()

        try:
            for raw in qemu.stdout:
                line = raw.decode(errors="replace").rstrip()
                lines.append(line)
                word = line.partition(" ")[0]
                if word in ("READY", "TRY", "ACK", "FAIL", "DONE"):
                    recorder.put(b"L", 0, line.encode())
                begun += word == "TRY"
                if word == "DONE" and beside:
                    threading.Thread(target=do_beside, daemon=True).start()
                elif word in ("FAIL", "DONE"):
                    break
                if word == "TRY" and begun > until[0]:
                    # In the middle of it; nothing happens at this moment that could be waited for.
                    threading.Timer(until[1], qemu.kill).start()
        finally:
            timer.cancel()
            recorder.close()
            if lines and lines[-1].startswith("FAIL"):
                # What the guest has to say about it.
                closer = threading.Timer(5, qemu.kill)
                closer.start()
                lines += [raw.decode(errors="replace").rstrip() for raw in qemu.stdout]
                closer.cancel()
            qemu.kill()
            qemu.wait()
            server.close()
            os.remove(f"{self.work}/{name}.root")
            os.remove(f"{self.work}/{name}.sock")
        return lines + trouble
