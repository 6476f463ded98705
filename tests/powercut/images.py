"""The images of the workload: busybox with files whose contents it can check itself, and what each unpacks to."""

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import stat
import tarfile

CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

# The registry, as the guest knows it.
REGISTRY = "10.0.2.2:5000"

# Sums of the files of all layers, checked from inside of a container.
SUMS = "sums"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Layer:
    """A layer as a tar archive. `files` are those that a container of the image is to find."""

    def __init__(self, members):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, content, mode, kind in members:
                info = tarfile.TarInfo(name)
                info.mode, info.type, info.mtime = mode, kind, 1_700_000_000
                if kind == tarfile.REGTYPE:
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
                else:
                    info.linkname = content.decode()
                    tar.addfile(info)
        self.tar = out.getvalue()
        self.packed = gzip.compress(self.tar, 1, mtime=0)


def base(busybox):
    applets = ("sh", "sleep", "usleep", "sha256sum", "true", "cat")
    members = [(f"{d}", b"", 0o755, tarfile.DIRTYPE) for d in ("bin", "tmp", "etc", "work")]
    members.append(("bin/busybox", busybox, 0o755, tarfile.REGTYPE))
    members += [(f"bin/{applet}", b"busybox", 0o777, tarfile.SYMTYPE) for applet in applets]
    return Layer(members)


def contents(rng, depth, small, large):
    """A layer of `small` small files in folders, and one of `large` bytes that do not compress; with hard links."""
    members, sums, folder = [], [], f"work/{depth}"
    members.append((folder, b"", 0o755, tarfile.DIRTYPE))
    for number in range(small):
        if number % 16 == 0:
            folder = f"work/{depth}/{number}"
            members.append((folder, b"", 0o750, tarfile.DIRTYPE))
        content = rng.randbytes(rng.choice((0, 1, 100, 700, 5000)))
        name = f"{folder}/file{number}"
        members.append((name, content, 0o644, tarfile.REGTYPE))
        sums.append(f"{sha256(content)}  {name}\n")
        if number % 10 == 0:
            members.append((f"{name}.link", name.encode(), 0o644, tarfile.LNKTYPE))
            sums.append(f"{sha256(content)}  {name}.link\n")
    content = rng.randbytes(large)
    members.append((f"work/{depth}/large", content, 0o600, tarfile.REGTYPE))
    sums.append(f"{sha256(content)}  work/{depth}/large\n")
    return members, sums


class Image:
    """An image with a name. Layers of equal seeds are equal."""

    def __init__(self, name, busybox, seeds, small=40, large=600_000):
        self.name = name
        self.layers = [base(busybox)]
        sums = []
        for depth, seed in enumerate(seeds):
            members, more = contents(random.Random(seed), depth, small, large)
            sums += more
            if depth + 1 == len(seeds):
                members.append((SUMS, "".join(sums).encode(), 0o444, tarfile.REGTYPE))
            self.layers.append(Layer(members))
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(l.tar)}" for l in self.layers]},
        }
        self.config = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, self.config),
            "layers": [descriptor(LAYER, layer.packed) for layer in self.layers],
        }
        self.manifest = json.dumps(manifest).encode()

    def blobs(self):
        return [self.manifest, self.config, *(layer.packed for layer in self.layers)]

    def chains(self):
        """The layers by chain id."""
        found, chain = {}, ""
        for layer in self.layers:
            own = f"sha256:{sha256(layer.tar)}"
            chain = own if not chain else f"sha256:{sha256(f'{chain} {own}'.encode())}"
            found[chain.removeprefix("sha256:")] = layer
        return found

    def layout(self, directory):
        """Writes it as an OCI layout."""
        os.makedirs(f"{directory}/blobs/sha256")
        for blob in self.blobs():
            put(f"{directory}/blobs/sha256/{sha256(blob)}", blob)
        entry = descriptor(MANIFEST, self.manifest)
        entry["annotations"] = {"org.opencontainers.image.ref.name": self.name}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        put(f"{directory}/index.json", json.dumps(index).encode())
        put(f"{directory}/oci-layout", b'{"imageLayoutVersion":"1.0.0"}')

    def archive(self, path):
        """Writes it as an OCI archive."""
        with tarfile.open(path, "w") as tar:
            def add(name, content):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))

            entry = descriptor(MANIFEST, self.manifest)
            entry["annotations"] = {"org.opencontainers.image.ref.name": self.name}
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
            add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            add("index.json", json.dumps(index).encode())
            for blob in self.blobs():
                add(f"blobs/sha256/{sha256(blob)}", blob)


def descriptor(kind, data):
    return {"mediaType": kind, "digest": f"sha256:{sha256(data)}", "size": len(data)}


def put(path, content):
    with open(path, "wb") as file:
        file.write(content)


def expected_tree(layer):
    """What the layer unpacks to: path → (kind, mode, content's digest or target)."""
    tree, sums = {}, {}
    with tarfile.open(fileobj=io.BytesIO(layer.tar)) as tar:
        for member in tar:
            if member.isdir():
                tree[member.name] = ("directory", member.mode, "")
            elif member.issym():
                tree[member.name] = ("link", 0o777, member.linkname)
            elif member.islnk():
                tree[member.name] = tree[member.linkname]
            else:
                sums[member.name] = sha256(tar.extractfile(member).read())
                tree[member.name] = ("file", member.mode, sums[member.name])
    return tree


def found_tree(root):
    """The same of a directory. Folders that only lead to a layer's files are as the layers below have them."""
    tree = {}
    for directory, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(directory, name)
            found = os.lstat(path)
            mode, key = stat.S_IMODE(found.st_mode), os.path.relpath(path, root)
            if stat.S_ISDIR(found.st_mode):
                tree[key] = ("directory", mode, "")
            elif stat.S_ISLNK(found.st_mode):
                tree[key] = ("link", 0o777, os.readlink(path))
            elif stat.S_ISREG(found.st_mode):
                with open(path, "rb") as file:
                    tree[key] = ("file", mode, sha256(file.read()))
            else:
                tree[key] = ("other", mode, "")
    return tree


def differences(layer, root):
    """What is wrong with an unpacked layer; nothing if it is whole."""
    expected, found = expected_tree(layer), found_tree(root)
    wrong = [f"{path}: {found.get(path, 'missing')}, not {want}" for path, want in expected.items() if found.get(path) != want]
    implied = {"/".join(path.split("/")[:n]) for path in expected for n in range(1, path.count("/") + 1)}
    wrong += [f"{path}: too much" for path in found if path not in expected and path not in implied]
    return wrong


class Workload:
    """The images of the workload; always the same."""

    def __init__(self):
        with open(shutil.which("busybox"), "rb") as file:
            busybox = file.read()
        self.registry = [
            Image(f"{REGISTRY}/powercut/one:1", busybox, ["a", "b"]),
            Image(f"{REGISTRY}/powercut/one:2", busybox, ["a", "c", "d"]),
            Image(f"{REGISTRY}/powercut/two:1", busybox, ["e"], small=120, large=1_500_000),
        ]
        self.first = Image("powercut/first:1", busybox, ["f"], small=4, large=1_000)
        self.loaded = Image("powercut/loaded:1", busybox, ["a", "g"])
        self.carried = Image("powercut/carried:1", busybox, ["h"])


def known():
    """The same, by name."""
    ours = Workload()
    return {image.name: image for image in [*ours.registry, ours.first, ours.loaded, ours.carried]}
