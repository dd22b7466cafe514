#!/bin/sh
# Installs what the build and the demo need on Debian, if anything is missing; with "firmware" also the emulators and the libc of
# Firmware-Sim.
set -eu
missing=""
packages="libnifti-dev zlib1g-dev mricron-data"
if [ "${1:-}" = firmware ]; then
    packages="$packages qemu-user qemu-system-arm libc6-dev-arm64-cross libgcc-12-dev-arm64-cross"
fi
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
run=""
[ "$(id -u)" = 0 ] || run="sudo"
echo "installing$missing" >&2
$run apt-get update -qq
DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq --no-install-recommends $missing >/dev/null
