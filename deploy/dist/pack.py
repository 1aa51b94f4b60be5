#!/usr/bin/env python3
"""Makes the files of a release from a program that is built already.

    pack.py --bin FILE --out DIR [--sbom FILE] [--most-mb 80] [--floor 2.34] [--host-bin FILE]

Writes into DIR: sluice-VERSION-ARCH-linux.tar.gz, sluice-lambda-ARCH.zip, the list of components if there is one, and SHA256SUMS over
all that lies there. The same program gives the same bytes. `make dist` calls it; any program will do for a test.
"""

import argparse
import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import tomllib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import archive
import elf

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Parts of glibc and of the compiler, which every Linux of the floor brings; a function gets the others beside it.
SYSTEM = ("libc.so", "libm.so", "libdl.so", "libpthread.so", "librt.so", "libgcc_s.so", "ld-linux")
DOCS = ["LICENSE", "README.md", "CHANGELOG.md", "ARCHITECTURE.md"]
SHELLS = {"bash": "share/bash-completion/completions/sluice", "zsh": "share/zsh/site-functions/_sluice",
          "fish": "share/fish/vendor_completions.d/sluice.fish"}


def version():
    """Returns the version that the workspace names."""
    return tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def say(binary, *words):
    """Returns what the program prints, or nothing if it does not know the verb."""
    done = subprocess.run([binary, *words], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""


def check_program(binary, limit_mb, floor):
    """Ends the program with a message if what is to be released is too large, has symbols, or needs too new a system."""
    size = binary.stat().st_size
    if not elf.stripped(binary):
        raise SystemExit(f"{binary} has symbols: strip it, or build it with the profile ship")
    if size > limit_mb * 1_000_000:
        raise SystemExit(f"{binary} has {size / 1e6:.1f} MB, and {limit_mb} MB is the most: is it of the profile ship?")
    if not elf.hardened(binary):
        raise SystemExit(f"{binary} has a fixed address or tables of addresses that stay writable: link it as deploy/dist/build.sh does")
    elf.check_floor(binary, floor)


def manual(host_bin, folder):
    """Writes man pages and completions, where the program can make them."""
    pages = folder / "share/man/man1"
    pages.mkdir(parents=True)
    if "man" in {line.split()[0] for line in say(host_bin, "help").splitlines() if line.startswith("  ") and line.split()}:
        say(host_bin, "man", str(pages))
    for shell, place in SHELLS.items():
        text = say(host_bin, "completions", shell)
        if not text:
            raise SystemExit(f"{host_bin} prints no completions for {shell}")
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)
    if not any(pages.iterdir()):
        shutil.rmtree(folder / "share/man")


def lay_out(binary, host_bin, folder):
    """Lays out what the archive holds."""
    (folder / "bin").mkdir(parents=True)
    shutil.copyfile(binary, folder / "bin/sluice")
    (folder / "bin/sluice").chmod(0o755)
    for name in DOCS:
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(ROOT / "docs", folder / "docs")
    for name in ("config.reference.toml", "directory-policy.json", "metrics.md", "scale-out.md"):
        (folder / "deploy").mkdir(exist_ok=True)
        shutil.copyfile(ROOT / "deploy" / name, folder / "deploy" / name)
    for name in ("iam", "systemd"):
        shutil.copytree(ROOT / "deploy" / name, folder / "deploy" / name)
    manual(host_bin, folder)


def function(binary, target, floor):
    """Writes the zip of a Lambda function: the program, its configuration, and the libraries that not every runtime has."""
    files = [("sluice.toml", ROOT / "deploy/dist/lambda.toml")]
    for name, path in elf.libraries(binary).items() if runs_here(binary) else ():
        if not name.startswith(SYSTEM):
            elf.check_floor(path, floor)
            files.append((f"lib/{name}", pathlib.Path(path)))
    with tempfile.TemporaryDirectory() as work:
        bootstrap = pathlib.Path(work) / "bootstrap"
        shutil.copyfile(binary, bootstrap)
        bootstrap.chmod(0o755)
        archive.zip_to(target, [*files, ("bootstrap", bootstrap)])


def runs_here(binary):
    """Tells whether this machine can start the program."""
    try:
        return subprocess.run([binary, "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def sums(folder):
    """Writes SHA256SUMS over every file of the folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


def main():
    """Packs one program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="the program, built and stripped")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the release")
    parser.add_argument("--sbom", type=pathlib.Path, help="list of components (sbom.py)")
    parser.add_argument("--most-mb", type=int, default=80, help="largest program, in megabytes")
    parser.add_argument("--floor", default="2.34", help="newest glibc that may be needed")
    parser.add_argument("--host-bin", type=pathlib.Path, help="a program of this machine's architecture, for man pages and completions")
    args = parser.parse_args()
    floor = tuple(map(int, args.floor.split(".")))
    arch, host_bin = elf.architecture(args.bin), args.host_bin or args.bin
    check_program(args.bin, args.most_mb, floor)
    if not runs_here(host_bin):
        raise SystemExit(f"{host_bin} does not start here: give --host-bin a program of this machine, for man pages and completions")
    said = say(host_bin, "--version").strip()
    if said.split("(")[0].strip() != f"sluice {version()}":
        raise SystemExit(f"{host_bin} says {said!r}, and Cargo.toml says {version()}")
    if "(" in said and "aws kafka" not in said:
        raise SystemExit(f"{host_bin} says {said!r}: a release has the clients, --features aws,kafka")
    args.out.mkdir(parents=True, exist_ok=True)
    name = f"sluice-{version()}-{arch}-linux"
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work) / name
        lay_out(args.bin, host_bin, folder)
        (args.out / f"{name}.tar.gz").write_bytes(archive.compress(archive.tar(pathlib.Path(work))))
    # Lambda has a name of its own for that processor, and the templates ask for it.
    function(args.bin, args.out / f"sluice-lambda-{arch.replace('aarch64', 'arm64')}.zip", floor)
    if args.sbom:
        shutil.copyfile(args.sbom, args.out / f"sluice-{version()}-{arch}-linux.cdx.json")
    sums(args.out)
    for line in (args.out / "SHA256SUMS").read_text().splitlines():
        print(f"{(args.out / line.split()[1]).stat().st_size:>12,}  {line.split()[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
