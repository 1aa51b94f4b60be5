"""The files of a release: what is refused, what is in them, that they are the same each time, and that the program alone is enough.

    dist.py --bin SLUICE --cyclonedx PYTHON

SLUICE is any stripped program of this workspace, of whatever profile; PYTHON has cyclonedx-python-lib. Needs a C compiler and binutils.
"""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
DIST = ROOT / "deploy/dist"
sys.path.insert(0, str(DIST))
import pack

# A program that is quickly packed: it says what pack.py asks.
SMALL = r"""
#include <math.h>
#include <stdio.h>
#include <string.h>
int main(int count, char **words) {
    if (count > 1 && !strcmp(words[1], "--version")) puts("sluice @VERSION@ (abc, aws kafka)");
    else if (count > 1 && !strcmp(words[1], "help")) puts("Commands:\n  run  Follow\n  man  Pages");
    else if (count > 1 && !strcmp(words[1], "completions")) printf("# of %s\n", words[2]);
    else if (count > 2 && !strcmp(words[1], "man")) {
        char name[4096];
        snprintf(name, sizeof name, "%s/sluice.1", words[2]);
        FILE *page = fopen(name, "w");
        fputs(".TH sluice 1\n", page);
        fclose(page);
    }
    else printf("%g %g\n", hypot(3 * count, 4 * count), (double)hypotf(5 * count, 12 * count));
    return 0;
}
"""
NOW = "-Wl,-z,now"
# The same by the linker's way that build.sh takes.
IN_RUST = "fn main() { let x = std::env::args().count() as f64; println!(\"{} {}\", (3.0 * x).hypot(4.0 * x), (5.0 * x as f32).hypot(12.0 * x as f32)); }"
VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(f"not CycloneDX 1.6: {fault}" if fault else 0)
"""


def run(*args, fails=None, **more):
    """Runs a command; returns what it printed. With `fails`, it must end with an error that says so."""
    done = subprocess.run([str(arg) for arg in args], capture_output=True, text=True, timeout=200, **more)
    if fails is None:
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    else:
        assert done.returncode != 0 and fails in done.stderr, f"no {fails!r} in: {done.stderr[-2000:]}"
    return done.stdout


def packed(binary, out, *options, **more):
    """Runs pack.py."""
    return run(sys.executable, DIST / "pack.py", "--bin", binary, "--out", out, *options, **more)


def compile_small(work):
    """Returns the small program: with symbols, stripped, and linked with the shim."""
    source = work / "small.c"
    source.write_text(SMALL.replace("@VERSION@", pack.version()))
    run("cc", "-O2", "-fno-builtin", source, "-o", work / "raw", "-lm", NOW)
    run("cc", "-O2", "-fPIC", "-c", DIST / "glibc_floor.c", "-o", work / "floor.o")
    run("cc", "-O2", "-fno-builtin", "-s", source, work / "floor.o", "-o", work / "small", "-lm", NOW)
    run("cc", "-O2", "-fno-builtin", "-s", source, work / "floor.o", "-o", work / "lazy", "-lm", "-Wl,-z,lazy")
    run("cc", "-O2", "-fno-builtin", "-s", "-no-pie", source, work / "floor.o", "-o", work / "fixed", "-lm", NOW)
    return work / "raw", work / "small"


def refusals(work, raw, small, binary):
    """What must not be released is refused, with the reason."""
    assert run(small).split() == ["5", "13"], "the functions of glibc_floor.c do not count"
    packed(raw, work / "no", fails="has symbols")
    packed(work / "lazy", work / "no", fails="stay writable")
    packed(work / "fixed", work / "no", fails="a fixed address")
    packed(small, work / "no", "--most-mb", "0", fails="0 MB is the most")
    packed(small, work / "no", "--floor", "2.2", fails="needs glibc 2.")
    if binary.stat().st_size > 80_000_000:
        packed(binary, work / "no", fails="80 MB is the most")
    newest = run(sys.executable, DIST / "elf.py", raw).split("glibc ")[1].split(",")[0]
    if tuple(map(int, newest.split("."))) > (2, 34):
        run(sys.executable, DIST / "elf.py", raw, "--floor", "2.34", fails="hypot (glibc")
        run(sys.executable, DIST / "elf.py", small, "--floor", "2.34")
        if shutil.which("rustc"):
            (work / "main.rs").write_text(IN_RUST)
            run("rustc", "-O", "-C", f"link-arg={work / 'floor.o'}", "-o", work / "rust", work / "main.rs")
            assert run(work / "rust").split() == ["5", "13"]
            run(sys.executable, DIST / "elf.py", work / "rust", "--floor", "2.34")
    assert not (work / "no").exists(), "something was written"
    print(f"ok  refused: symbols, size, a fixed address, writable tables, a newer glibc; the shim takes {newest} to 2.34 or less")


def same_again(work, small):
    """The same program gives the same bytes, from another copy and with other times."""
    first, second, copy = work / "one", work / "two", work / "copy"
    packed(small, first)
    copy.write_bytes(small.read_bytes())
    copy.chmod(0o700)
    packed(copy, second, env=os.environ | {"TZ": "Asia/Tokyo"})
    assert sorted(path.name for path in first.iterdir()) == sorted(path.name for path in second.iterdir())
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), f"{path.name} differs"
    with tarfile.open(next(first.glob("*.tar.gz"))) as tar:
        names = tar.getnames()
    assert any(name.endswith("share/man/man1/sluice.1") for name in names) and any(name.endswith("fish/vendor_completions.d/sluice.fish") for name in names), names
    print("ok  the same program gives the same files; man pages and completions are among them")


def whole(work, binary, python):
    """A release of a real program: its sums, its archive, its function, its list of components."""
    out, listed = work / "release", work / "listed.json"
    said = run(sys.executable, DIST / "sbom.py", "--out", listed, "--binary", binary, env=os.environ | {"CARGO_NET_OFFLINE": os.environ.get("CARGO_NET_OFFLINE", "false")})
    packed(binary, out, "--most-mb", "400", "--floor", "2.36", "--sbom", listed)
    for line in (out / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest, name
    assert len((out / "SHA256SUMS").read_text().splitlines()) == 3 == len(list(out.iterdir())) - 1
    run(python, "-c", VALIDATE, next(out.glob("*.cdx.json")))
    bom = json.loads(listed.read_text())
    names = {one["name"] for one in bom["components"]}
    assert {"datafusion", "deltalake-core", "aws-sdk-kinesis", "rdkafka-sys", "libssl.so.3"} - names <= {"deltalake-core"} and "proptest" not in names, "wrong components"
    assert all(one.get("licenses") or one["bom-ref"].startswith("system:") for one in bom["components"]), "a component without a licence"
    print(f"ok  sums hold; {said.strip()}, by the schema of CycloneDX 1.6")
    archive(work, next(out.glob("*.tar.gz")))
    function(work, next(out.glob("sluice-lambda-*.zip")))


def archive(work, path):
    """The archive unpacks to a tree that is ready to install, and its program alone runs the demo from an empty folder."""
    with tarfile.open(path) as tar:
        tar.extractall(work / "unpacked", filter="data")
    [top] = (work / "unpacked").iterdir()
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "docs/enforcement.md", "deploy/config.reference.toml", "deploy/systemd/sluice.service",
                 "deploy/iam/deny-bedrock.json", "share/bash-completion/completions/sluice"):
        assert (top / name).is_file(), f"no {name} in the archive"
    alone, empty = work / "alone", work / "empty"
    alone.mkdir()
    empty.mkdir()
    (top / "bin/sluice").rename(alone / "sluice")
    clean = {"PATH": "/nowhere", "HOME": str(empty), "TMPDIR": str(empty)}
    said = run(alone / "sluice", "demo", "--plain", "--duration", "4s", cwd=empty, env=clean)
    assert "What happened" in said and "calls by" in said, said
    print(f"ok  archive of {path.stat().st_size / 1e6:.0f} MB; its program alone runs the demo from an empty folder")


def function(work, path):
    """The zip holds what a function needs, its program starts with its own libraries, and its configuration is valid."""
    folder = work / "function"
    with zipfile.ZipFile(path) as archive_of_it:
        archive_of_it.extractall(folder)
        modes = {one.filename: one.external_attr >> 16 for one in archive_of_it.infolist()}
    assert modes["bootstrap"] & stat.S_IXUSR and set(name.split("/")[0] for name in modes) <= {"bootstrap", "sluice.toml", "lib"}, modes
    (folder / "bootstrap").chmod(0o755)
    clean = {"LD_LIBRARY_PATH": str(folder / "lib"), "SLUICE__RELAY__STREAM": "relay", "PATH": "/nowhere", "HOME": str(work)}
    assert "valid" in run(folder / "bootstrap", "config", "check", "--config", folder / "sluice.toml", env=clean)
    print(f"ok  function of {path.stat().st_size / 1e6:.0f} MB with {', '.join(sorted(name[4:] for name in modes if name.startswith('lib/')))}")


def main():
    """Runs it all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--cyclonedx", type=pathlib.Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        raw, small = compile_small(work)
        refusals(work, raw, small, args.bin)
        same_again(work, small)
        whole(work, args.bin, args.cyclonedx)
    return 0


if __name__ == "__main__":
    sys.exit(main())
