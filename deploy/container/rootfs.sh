#!/bin/sh
# Makes the root file system of the image: rootfs.sh BINARY DIR
#
# DIR gets the program, the shared libraries that ldd names, the certificates of public authorities, a user and the folder for state;
# no shell and no package. Run it where the program was built, on a machine of the image's architecture (Debian: libc-bin,
# ca-certificates). The Dockerfile calls it, and so does `make image`, which needs no Docker.
set -eu

if [ $# -ne 2 ]; then
    echo "usage: rootfs.sh BINARY DIR" >&2
    exit 64
fi
binary=$1
root=$2
authorities=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
[ -x "$binary" ] || { echo "$binary is no program" >&2; exit 1; }
[ -s "$authorities" ] || { echo "no certificates at $authorities (Debian: apt-get install ca-certificates)" >&2; exit 1; }
[ ! -e "$root" ] || { echo "$root is there already" >&2; exit 1; }

umask 022
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/etc/sluice" "$root/var/lib/sluice" "$root/tmp"
cp "$binary" "$root/usr/bin/sluice"
chmod 0755 "$root/usr/bin/sluice"

# Each line of ldd is "name => /path (address)" or "/path (address)"; the loader is one of them.
needs=$(ldd "$binary")
case $needs in *"not found"*) echo "$needs" >&2; exit 1 ;; esac
printf '%s\n' "$needs" | sed -n 's|.*[[:space:]]\(/[^[:space:]]*\) (0x.*|\1|p' | sort -u | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
    chmod 0755 "$root$library"
done

cp -L "$authorities" "$root/etc/ssl/certs/ca-certificates.crt"
printf '%s\n' 'root:x:0:0:root:/root:/sbin/nologin' 'sluice:x:10001:10001:sluice:/var/lib/sluice:/sbin/nologin' >"$root/etc/passwd"
printf '%s\n' 'root:x:0:' 'sluice:x:10001:' >"$root/etc/group"
printf '%s\n' 'hosts: files dns' >"$root/etc/nsswitch.conf"

chmod 1777 "$root/tmp"
chmod 0750 "$root/var/lib/sluice"
if [ "$(id -u)" -eq 0 ]; then
    chown 10001:10001 "$root/var/lib/sluice"
fi
