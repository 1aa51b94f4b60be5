"""Archives that are the same bytes whenever their content is: sorted names, one time for all, no owner, no name of a machine.

Used by pack.py and by deploy/container/oci.py.
"""

import gzip
import io
import stat
import tarfile
import zipfile

# The first moment a zip file can name; nothing in an archive tells when it was made.
EPOCH = (1980, 1, 1, 0, 0, 0)


def executable(path):
    """Tells whether the owner may run a file."""
    return bool(path.stat().st_mode & stat.S_IXUSR)


def tree(folder):
    """Yields every path below a folder, sorted by name, parents first."""
    yield from sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix())


def member(name, mode, owner=(0, 0)):
    """Returns the head of an entry that tells nothing but name, mode and owner."""
    info = tarfile.TarInfo(name)
    info.mode, (info.uid, info.gid), info.mtime = mode, owner, 0
    info.uname = info.gname = ""
    return info


def tar(folder, prefix="", modes=None, owners=None):
    """Returns the bytes of a tar of a folder. `modes` and `owners` take a path and its name; without them 0755 or 0644, and root."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in tree(folder):
            name = prefix + path.relative_to(folder).as_posix()
            wide = path.is_dir() and not path.is_symlink() or executable(path) if not path.is_symlink() else False
            info = member(name, modes(path, name) if modes else 0o755 if wide else 0o644, owners(path, name) if owners else (0, 0))
            if path.is_symlink():
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
                archive.addfile(info)
            elif path.is_dir():
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                info.size = path.stat().st_size
                with path.open("rb") as file:
                    archive.addfile(info, file)
    return out.getvalue()


def compress(data):
    """Returns gzip without a name and a time."""
    out = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=out, mode="wb", compresslevel=6, mtime=0) as file:
        file.write(data)
    return out.getvalue()


def zip_to(target, files):
    """Writes a zip of (name, path) pairs in the order of their names."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, path in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = (stat.S_IFREG | (0o755 if executable(path) else 0o644)) << 16
            info.create_system = 3
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, path.read_bytes())
