"""The image: what is in it, that the program lives in it as nobody, and that its archive is one that engines load.

    image.py --bin SLUICE [--hadolint HADOLINT]

Runs rootfs.sh and oci.py on any program, changes its root into the result as user 10001 with everything but /var/lib/sluice read-only, and
looks at every byte of the archive. Needs root and unshare for the middle part; without them it says so, and fails where SLUICE_LIVE=1 or
CI=true. No container engine is needed.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
CONTAINER = ROOT / "deploy/container"
sys.path.insert(0, str(CONTAINER))
import oci

LIBRARY = re.compile(r"(usr/)?lib(64)?/([a-z0-9_-]+-linux-gnu/)?(ld-linux[a-z0-9_-]*|lib(c|m|z|ssl|crypto|gcc_s|dl|pthread|rt))\.so\.\d+")
OTHERS = {"usr/bin/sluice", "etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/ssl/certs/ca-certificates.crt"}


def missing(why):
    """Says what was not run; an error where everything has to be there."""
    if os.environ.get("SLUICE_LIVE") == "1" or os.environ.get("CI") == "true":
        raise SystemExit(f"FAILED: {why}")
    print(f"not run: {why}")


def content(rootfs):
    """Nothing but the program, its libraries, certificates and a user; nothing that anybody but root may change, nothing setuid."""
    for path in rootfs.rglob("*"):
        name, mode = path.relative_to(rootfs).as_posix(), path.lstat().st_mode
        assert not mode & (stat.S_ISUID | stat.S_ISGID), f"{name} is setuid or setgid"
        assert name in ("tmp", "var/lib/sluice") or not mode & 0o022, f"{name} may be changed by others"
        if not path.is_dir():
            assert name in OTHERS or LIBRARY.fullmatch(name), f"{name} does not belong into the image"
    assert not [name for name in ("sh", "bash", "busybox") if list(rootfs.rglob(name))], "there is a shell"
    print(f"ok  {sum(1 for path in rootfs.rglob('*') if path.is_file())} files, no shell, nothing setuid, nothing that others may write")


def live(rootfs, work):
    """The program in its root: its version, a demo, a daemon that is asked for its health and stopped."""
    if os.geteuid() != 0 or not shutil.which("unshare") or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        return missing("running the program in its root needs root and unshare (Debian: util-linux)")
    os.chown(rootfs, 0, 0)
    script = work / "live.sh"
    script.write_text(LIVE)
    done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--propagation", "private", "sh", "-eu", script, rootfs],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    said = done.stdout
    assert "sluice 0." in said and "What happened" in said and "Read-only file system" in done.stderr, said + done.stderr
    assert "stopped with 0" in said, said
    print("ok  as user 10001 with a read-only root: --version, demo, a daemon that says it is ready, drained by SIGTERM")


# Runs in namespaces of its own. Everything is read-only but the volume. A second look makes sure of that: writing elsewhere is refused.
LIVE = r"""
root=$1
state=$root/var/lib/sluice
mount --bind "$root" "$root"
mount -t tmpfs -o uid=10001,gid=10001,mode=0750 tmpfs "$state"
cat >"$state/sluice.toml" <<'END'
[lake]
path = "/var/lib/sluice/lake"
state = "/var/lib/sluice/local.redb"
[control]
socket = "/var/lib/sluice/control.sock"
[files]
paths = ["/var/lib/sluice/logs"]
END
mkdir "$state/logs"
chown -R 10001:10001 "$state"
mount -o remount,bind,ro "$root"
clean="env -i PATH=/usr/bin:/usr/sbin TMPDIR=/var/lib/sluice SLUICE_CONFIG=/var/lib/sluice/sluice.toml chroot --userspec=10001:10001 --groups= $root"
inside() { $clean "$@"; }
touch "$root/etc/x" && exit 1
inside /usr/bin/sluice --version
inside /usr/bin/sluice demo --plain --duration 4s
inside /usr/bin/sluice demo --plain --duration 1s --dir /etc/sluice/x && exit 1
$clean /usr/bin/sluice run &
daemon=$!
tries=0
until inside /usr/bin/sluice status >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 40 ] || exit 1
    sleep 0.5
done
inside /usr/bin/sluice status --live >/dev/null
inside /usr/bin/sluice source list >/dev/null
kill -TERM "$daemon"
code=0
wait "$daemon" || code=$?
echo "stopped with $code"
"""


def blob(files, about):
    """Returns a blob, once its digest and length are what the reference says."""
    data = files["blobs/" + about["digest"].replace(":", "/")]
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == about["digest"] and len(data) == about["size"], about
    return data


def archive(rootfs, work):
    """The archive: reproducible, whole by its own digests, and what it configures."""
    first, second, copy = work / "a.tar", work / "b.tar", work / "copy"
    digest = make(rootfs, first)
    # A copy made later, by somebody else, in another order.
    subprocess.run(["cp", "-r", rootfs, copy], check=True)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    for path in rootfs.rglob("*"):
        (copy / path.relative_to(rootfs)).chmod(path.stat().st_mode & 0o7777)
    assert make(copy, second) == digest and first.read_bytes() == second.read_bytes(), "the same files give another image"
    with tarfile.open(first) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    [entry] = json.loads(files["index.json"])["manifests"]
    assert entry["digest"] == digest
    manifest = json.loads(blob(files, entry))
    config = json.loads(blob(files, manifest["config"]))
    layers = [gzip.decompress(blob(files, layer)) for layer in manifest["layers"]]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    assert config["os"] == "linux" and config["architecture"] in ("amd64", "arm64") and len(config["history"]) == len(layers)
    assert config["config"]["Entrypoint"] == ["/usr/bin/sluice"] and config["config"]["Cmd"] == ["run"] and config["config"]["User"] == "10001:10001"
    unpacked(layers, rootfs)
    [docker] = json.loads(files["manifest.json"])
    assert files[docker["Config"]] == blob(files, manifest["config"]) and [files[name] for name in docker["Layers"]] == [blob(files, layer) for layer in manifest["layers"]]
    assert len(files) == 3 + 2 + len(layers), "a blob that nobody refers to"
    print(f"ok  archive of {first.stat().st_size / 1e6:.0f} MB: every digest holds, the same files give the same image")
    if shutil.which("skopeo"):
        said = subprocess.run(["skopeo", "inspect", "--config", f"oci-archive:{first}"], capture_output=True, text=True)
        assert said.returncode == 0 and json.loads(said.stdout)["config"]["User"] == "10001:10001", said.stderr
        said = subprocess.run(["skopeo", "inspect", f"docker-archive:{first}"], capture_output=True, text=True)
        assert said.returncode == 0, said.stderr
        print("ok  skopeo reads it, as an OCI archive and as one of docker save")


def make(rootfs, out):
    """Runs oci.py; returns the digest."""
    return subprocess.run([sys.executable, CONTAINER / "oci.py", "--rootfs", rootfs, "--out", out, "--tag", "0.1.0"],
                          capture_output=True, text=True, check=True).stdout.strip()


def unpacked(layers, rootfs):
    """The layers together are the root file system, with the owners that the program needs."""
    found = {}
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            found.update({member.name: (member, tar.extractfile(member).read() if member.isfile() else b"") for member in tar})
    assert set(found) == {path.relative_to(rootfs).as_posix() for path in rootfs.rglob("*")}
    for name, (member, data) in found.items():
        assert member.mtime == 0 and (member.uid, member.gid) == ((10001, 10001) if name.startswith("var/lib/sluice") else (0, 0)), name
        if member.isfile():
            assert data == (rootfs / name).read_bytes(), name
    assert found["tmp"][0].mode == 0o1777 and found["var/lib/sluice"][0].mode == 0o750 and found["usr/bin/sluice"][0].mode == 0o755


def same_settings():
    """The Dockerfile configures the image as oci.py does."""
    lines = (CONTAINER / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    said = dict(line.split(None, 1) for line in lines if line and not line.startswith("#") and line.split()[0] in ("USER", "WORKDIR", "VOLUME", "ENTRYPOINT", "CMD", "ENV", "HEALTHCHECK", "LABEL"))
    config = oci.CONFIG
    assert said["USER"] == config["User"] and said["WORKDIR"] == config["WorkingDir"] and json.loads(said["ENTRYPOINT"]) == config["Entrypoint"]
    assert json.loads(said["CMD"]) == config["Cmd"] and said["ENV"].split() == config["Env"]
    assert {place: {} for place in json.loads(said["VOLUME"])} == config["Volumes"]
    flags, _, command = said["HEALTHCHECK"].partition(" CMD ")
    health = config["Healthcheck"]
    assert ["CMD", *json.loads(command)] == health["Test"]
    seconds = {name: f"{health[key] // 1_000_000_000}s" for name, key in (("interval", "Interval"), ("timeout", "Timeout"), ("start-period", "StartPeriod"))}
    assert flags == " ".join(f"--{name}={value}" for name, value in seconds.items()) + f" --retries={health['Retries']}", flags
    assert dict(part.split("=", 1) for part in shlex.split(said["LABEL"])) == oci.LABELS
    print("ok  the Dockerfile says of the image what oci.py says")


def main():
    """Runs it all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="a program")
    parser.add_argument("--hadolint", help="path of hadolint")
    args = parser.parse_args()
    same_settings()
    if args.hadolint:
        subprocess.run([args.hadolint, CONTAINER / "Dockerfile"], check=True)
        print("ok  hadolint finds nothing")
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        work.chmod(0o755)
        rootfs = work / "root"
        subprocess.run([CONTAINER / "rootfs.sh", args.bin, rootfs], check=True)
        content(rootfs)
        archive(rootfs, work)
        live(rootfs, work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
