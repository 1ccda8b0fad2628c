#!/usr/bin/env bash
# The real components that the tests marked `outside` talk to, from Debian's packages. Does nothing where all is there.
set -euo pipefail
packages=(postgresql skopeo docker-registry podman buildah crun runc mmdebstrap netavark fuse-overlayfs iptables catatonit strace curl chromium nghttp2-client prometheus prometheus-alertmanager)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]} …"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # A package that starts its own server at installation must not: the tests start private ones.
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# KServe's own client pins versions that differ from ours, so it has an environment of its own.
kserve=.cache/venvs/kserve
wanted=tests/components/kserve-client.txt
if ! cmp -s "$wanted" "$kserve/installed.txt"; then
  echo "installing KServe's client into $kserve …"
  ${PYTHON:-python3.11} -m venv "$kserve"
  "$kserve/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$wanted"
  cp "$wanted" "$kserve/installed.txt"
fi
