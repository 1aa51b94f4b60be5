#!/usr/bin/env python3
"""What a program asks of the machine it runs on: architecture, shared libraries, the oldest glibc, symbols that were left in.

Reads ELF files of any architecture with readelf (binutils), and finds libraries of this machine's with ldd.

    elf.py FILE [--floor 2.34]        # prints what FILE needs; exit code 1 if it needs a newer glibc than --floor
"""

import argparse
import pathlib
import re
import subprocess
import sys

MACHINES = {"Advanced Micro Devices X86-64": "x86_64", "AArch64": "aarch64"}


def readelf(*args):
    """Returns what readelf says, in plain English."""
    done = subprocess.run(["readelf", "-W", *map(str, args)], capture_output=True, text=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"})
    if done.returncode:
        raise SystemExit(f"readelf {args[-1]}: {done.stderr.strip()}")
    return done.stdout


def architecture(path):
    """Returns x86_64 or aarch64."""
    found = re.search(r"Machine:\s+(.+)", readelf("-h", path))
    name = found and found.group(1).strip()
    if name not in MACHINES:
        raise SystemExit(f"{path} is for {name or 'no machine'}; releases are for {' and '.join(MACHINES.values())}")
    return MACHINES[name]


def needed(path):
    """Returns the names of the libraries that the loader must find."""
    return re.findall(r"\(NEEDED\)\s+Shared library: \[(.+?)\]", readelf("-d", path))


def glibc(path):
    """Returns the oldest glibc that the loader accepts for this file, as a tuple; (0,) if it uses none."""
    versions = re.findall(r"Name: GLIBC_(\d+(?:\.\d+)+)", readelf("-V", path))
    return max((tuple(map(int, version.split("."))) for version in versions), default=(0,))


def newer_symbols(path, floor):
    """Returns the functions that are asked for in a version of glibc above `floor`."""
    found = set()
    for name, version in re.findall(r" UND (\w+)@GLIBC_(\d+(?:\.\d+)+)", readelf("--dyn-syms", path)):
        if tuple(map(int, version.split("."))) > floor:
            found.add(f"{name} (glibc {version})")
    return sorted(found)


def stripped(path):
    """Tells whether the file has no symbol table."""
    return ".symtab" not in readelf("-S", path)


def hardened(path):
    """Tells whether the file starts at any address, and whether no table of addresses can be written to once it runs."""
    return "DYN" in re.search(r"Type:\s+(.+)", readelf("-h", path)).group(1) and "GNU_RELRO" in readelf("-l", path) and " NOW" in readelf("-d", path)


def libraries(path):
    """Returns where this machine's loader finds each library of the file, the loader itself among them: name to path."""
    done = subprocess.run(["ldd", str(path)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"ldd {path}: {(done.stderr or done.stdout).strip()}")
    found = {}
    for line in done.stdout.splitlines():
        if "not found" in line:
            raise SystemExit(f"{path} needs {line.split()[0]}, which this machine does not have")
        place = re.search(r"(/\S+) \(0x", line)
        if place:
            found[pathlib.Path(place.group(1)).name] = place.group(1)
    return found


def dotted(version):
    """Returns a version as people write it."""
    return ".".join(map(str, version))


def check_floor(path, floor):
    """Ends the program with a message if the file needs a newer glibc than `floor`."""
    have = glibc(path)
    if have > floor:
        names = ", ".join(newer_symbols(path, floor)[:5]) or "no function, a version marker only"
        raise SystemExit(
            f"{path} needs glibc {dotted(have)}, and the floor is {dotted(floor)} (Amazon Linux 2023 has 2.34): {names}. "
            "Link it with deploy/dist/glibc_floor.c, as `make dist` does, or build it on a system that is as old as the floor."
        )


def main():
    """Prints what a file needs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--floor", help="newest glibc that may be needed")
    args = parser.parse_args()
    print(f"{args.file}: {architecture(args.file)}, glibc {dotted(glibc(args.file))}, {'stripped' if stripped(args.file) else 'with symbols'}")
    print("needs " + ", ".join(needed(args.file)))
    if args.floor:
        check_floor(args.file, tuple(map(int, args.floor.split("."))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
