#!/usr/bin/env python3
"""Makes an image from a root file system without a container engine: an archive in OCI layout that `docker load` reads as well.

    oci.py --rootfs DIR --out FILE.tar [--tag 0.1.0] [--revision COMMIT]

Two layers, the program alone in the second, so that an upgrade pushes one. The same files give the same digest, on any day and whoever
builds. Prints the digest of the image. The settings below are those of the Dockerfile (a test compares them).
"""

import argparse
import hashlib
import io
import json
import pathlib
import stat
import sys
import tarfile
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "dist"))
import archive
import elf

UID = 10001
STATE = "var/lib/sluice"
PROGRAM = "usr/bin/sluice"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
CONFIG = {
    "User": f"{UID}:{UID}",
    "Env": ["PATH=/usr/bin", f"STATE_DIRECTORY=/{STATE}", f"TMPDIR=/{STATE}"],
    "Entrypoint": [f"/{PROGRAM}"],
    "Cmd": ["run"],
    "Volumes": {f"/{STATE}": {}},
    "WorkingDir": f"/{STATE}",
    "Healthcheck": {"Test": ["CMD", f"/{PROGRAM}", "status", "--live"], "Interval": 30_000_000_000, "Timeout": 10_000_000_000,
                    "StartPeriod": 120_000_000_000, "Retries": 3},
}
LABELS = {
    "org.opencontainers.image.title": "sluice",
    "org.opencontainers.image.description": "Which AI agent and which session spends what on Amazon Bedrock",
    "org.opencontainers.image.licenses": "Apache-2.0",
}


def owner(_path, name):
    """State belongs to the program's user, everything else to root, whoever built the files."""
    return (UID, UID) if name == STATE or name.startswith(STATE + "/") else (0, 0)


def mode(path, _name):
    """Keeps the permissions of a file."""
    return stat.S_IMODE(path.lstat().st_mode)


class Blobs:
    """The blobs of a layout, in the order they were added."""

    def __init__(self):
        self.files = {}

    def add(self, media, data):
        """Adds a blob and returns how it is referred to."""
        digest = hashlib.sha256(data).hexdigest()
        self.files[f"blobs/sha256/{digest}"] = data
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data)}


def place(about):
    """Returns where the blob of a reference lies."""
    return f"blobs/sha256/{about['digest'].removeprefix('sha256:')}"


def as_json(value):
    """Returns the one text of a document."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def layers(rootfs):
    """Returns the tars of the layers: everything else, then the program with the folders above it."""
    program = {PROGRAM, "usr", "usr/bin"}
    parts = []
    for wanted in (lambda name: name != PROGRAM, lambda name: name in program):
        with tempfile.TemporaryDirectory() as work:
            base = pathlib.Path(work)
            for path in archive.tree(rootfs):
                name = path.relative_to(rootfs).as_posix()
                if not wanted(name):
                    continue
                copy = base / name
                if path.is_symlink():
                    copy.symlink_to(path.readlink())
                elif path.is_dir():
                    copy.mkdir()
                else:
                    copy.write_bytes(path.read_bytes())
                if not path.is_symlink():
                    copy.chmod(mode(path, name))
            parts.append(archive.tar(base, modes=mode, owners=owner))
    return parts


def image(rootfs, tag, revision):
    """Returns the files of the archive and the digest of the image."""
    blobs = Blobs()
    tars = layers(rootfs)
    packed = [blobs.add("application/vnd.oci.image.layer.v1.tar+gzip", archive.compress(data)) for data in tars]
    labels = LABELS | {"org.opencontainers.image.version": tag} | ({"org.opencontainers.image.revision": revision} if revision else {})
    config = blobs.add("application/vnd.oci.image.config.v1+json", as_json({
        "architecture": ARCHITECTURES[elf.architecture(rootfs / PROGRAM)], "os": "linux",
        "config": CONFIG | {"Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in tars]},
        "history": [{"created_by": "libraries, certificates, user"}, {"created_by": "program"}],
    }))
    manifest = blobs.add("application/vnd.oci.image.manifest.v1+json", as_json({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": packed,
    }))
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        manifest | {"annotations": {"org.opencontainers.image.ref.name": tag}}]}
    by_docker = [{"Config": place(config), "RepoTags": [f"sluice:{tag}"], "Layers": [place(layer) for layer in packed]}]
    files = {"oci-layout": as_json({"imageLayoutVersion": "1.0.0"}), "index.json": as_json(index), "manifest.json": as_json(by_docker)}
    return files | blobs.files, manifest["digest"]


def write(files, out):
    """Writes the archive."""
    with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as target:
        for folder in ("blobs", "blobs/sha256"):
            info = archive.member(folder, 0o755)
            info.type = tarfile.DIRTYPE
            target.addfile(info)
        for name, data in sorted(files.items()):
            info = archive.member(name, 0o644)
            info.size = len(data)
            target.addfile(info, io.BytesIO(data))


def main():
    """Makes one image."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rootfs", type=pathlib.Path, required=True, help="what rootfs.sh made")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="archive to write")
    parser.add_argument("--tag", default="dev", help="version of the image")
    parser.add_argument("--revision", default="", help="commit it was built from")
    args = parser.parse_args()
    files, digest = image(args.rootfs, args.tag, args.revision)
    write(files, args.out)
    print(digest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
