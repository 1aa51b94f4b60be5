#!/usr/bin/env python3
"""Lists the components of a release: CycloneDX 1.6 in JSON, from Cargo's own resolution, nothing built and nothing asked of a network.

    sbom.py --out FILE [--target x86_64-unknown-linux-gnu] [--features aws,kafka] [--binary FILE]

`cargo tree` says which crates are linked or run at build time for this target and these features (tests are left out), `cargo metadata`
their licences and who needs whom, Cargo.lock their digests. With --binary the shared libraries that the program asks for are listed, too.
Prints how many there are. The same lock file gives the same bytes.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tomllib
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import elf

ROOT = pathlib.Path(__file__).resolve().parents[2]
KINDS = "normal,build"


def cargo(*args):
    """Returns what a command of cargo prints."""
    done = subprocess.run([os.environ.get("CARGO", "cargo"), *args], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"cargo {args[0]}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def linked(target, features):
    """Returns (name, version) of every crate of the build."""
    text = cargo("tree", "--locked", "--package", "sluice", "--edges", KINDS, "--target", target, "--features", features, "--prefix", "none", "--format", "{p}")
    return {(words[0], words[1].removeprefix("v")) for words in (line.split() for line in text.splitlines()) if words}


def licence(package):
    """Returns the licence of a package as CycloneDX tells it."""
    if package["license"]:
        # An old way to write a choice.
        return [{"expression": package["license"].replace("/", " OR ")}]
    return [{"license": {"name": f"see {package['license_file']}"}}] if package["license_file"] else []


def component(package, digests):
    """Returns one crate."""
    name, version = package["name"], package["version"]
    out = {"type": "library", "bom-ref": f"pkg:cargo/{name}@{version}", "name": name, "version": version, "purl": f"pkg:cargo/{name}@{version}", "scope": "required"}
    if package["description"]:
        out["description"] = " ".join(package["description"].split())
    if digest := digests.get((name, version)):
        out["hashes"] = [{"alg": "SHA-256", "content": digest}]
    if told := licence(package):
        out["licenses"] = told
    if package["repository"]:
        out["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return out


def bom(target, features, binary):
    """Returns the list."""
    wanted = linked(target, features)
    about = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--filter-platform", target, "--features", features))
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    digests = {(one["name"], one["version"]): one["checksum"] for one in lock["package"] if "checksum" in one}
    packages = {one["id"]: one for one in about["packages"] if (one["name"], one["version"]) in wanted}
    refs = {key: f"pkg:cargo/{one['name']}@{one['version']}" for key, one in packages.items()}
    [root] = [one for one in packages.values() if one["name"] == "sluice"]
    needs = {refs[node["id"]]: sorted({refs[one["pkg"]] for one in node["deps"] if one["pkg"] in refs and any(kind["kind"] != "dev" for kind in one["dep_kinds"])})
             for node in about["resolve"]["nodes"] if node["id"] in refs}
    parts = sorted((component(one, digests) for one in packages.values() if one is not root), key=lambda one: one["bom-ref"])
    main = component(root, digests) | {"type": "application"}
    del main["scope"]
    for name in sorted(elf.needed(binary)) if binary else ():
        parts.append({"type": "library", "bom-ref": f"system:{name}", "name": name, "scope": "required", "description": "shared library of the system, or of the image"})
        needs[main["bom-ref"]].append(f"system:{name}")
        needs[f"system:{name}"] = []
    out = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {"component": main, "properties": [{"name": "sluice:features", "value": features}, {"name": "sluice:target", "value": target}]},
        "components": parts,
        "dependencies": [{"ref": ref, "dependsOn": found} for ref, found in sorted(needs.items())],
    }
    # A number of its own, that follows from what is listed.
    return {"serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(out, sort_keys=True))}"} | out


def main():
    """Writes the list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--target", default="x86_64-unknown-linux-gnu")
    parser.add_argument("--features", default="aws,kafka")
    parser.add_argument("--binary", type=pathlib.Path)
    args = parser.parse_args()
    found = bom(args.target, args.features, args.binary)
    args.out.write_text(json.dumps(found, indent=1, sort_keys=False) + "\n")
    unlicensed = [one["name"] for one in found["components"] if "licenses" not in one and not one["bom-ref"].startswith("system:")]
    print(f"{len(found['components'])} components, {len(unlicensed)} without a licence" + (f": {', '.join(unlicensed)}" if unlicensed else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
