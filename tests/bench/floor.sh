# shellcheck shell=sh disable=SC2154 # what `run` puts in front
# The floor: what a careful person writes by hand for `ssh HOST sh -s`, one session, no plan, no lock, no diff.
# `run` puts NAME, ADDRESS, ROLE, MIRROR, VERSION and the functions `body_…` (the files) in front of it.
set -eu
umask 022
restart=no
dpkg-query -W -f '${Package} ${db:Status-Status}\n' ca-certificates curl unzip | grep -c ' installed$' | grep -qx 3 ||
  apt-get -q -y install --no-install-recommends ca-certificates curl unzip
id consul >/dev/null 2>&1 || useradd --system --user-group --home-dir /opt/consul --shell /usr/sbin/nologin consul
[ -d /etc/consul.d ] || install -d -m 750 -o root -g consul /etc/consul.d
[ -d /opt/consul ] || install -d -m 700 -o consul -g consul /opt/consul
release=/opt/bootstrap/consul/$VERSION
if [ ! -x "$release/consul" ]; then
  mkdir -p "$release.new"
  cd "$release.new"
  curl -fsS --retry 5 --retry-all-errors -O "$MIRROR/consul/$VERSION/consul_${VERSION}_SHA256SUMS" -O "$MIRROR/consul/$VERSION/consul_${VERSION}_linux_amd64.zip"
  sha256sum -c --ignore-missing --quiet "consul_${VERSION}_SHA256SUMS"
  unzip -q "consul_${VERSION}_linux_amd64.zip"
  rm -f consul_*
  cd /
  mv "$release.new" "$release"
  ln -sfn "$release/consul" /usr/local/bin/consul
  restart=yes
fi
# FILE MODE GROUP BODY: written when it differs, once `consul validate` takes it.
put() {
  "$4" >"$1.new"
  if cmp -s "$1" "$1.new"; then
    rm "$1.new"
    return
  fi
  case $1 in *.json) consul validate -config-format=json "$1.new" >/dev/null || [ "${1##*/}" != consul.json ] ;; esac
  chmod "$2" "$1.new"
  chgrp "$3" "$1.new"
  mv "$1.new" "$1"
  restart=yes
}
put /etc/consul.d/consul.json 640 consul body_consul
put /etc/consul.d/join.json 640 consul body_join
put /etc/consul.d/secrets.json 640 consul body_secrets
put /etc/consul.d/services.json 640 consul body_services
put /etc/systemd/system/consul.service 644 root body_unit
if [ "$restart" = yes ]; then
  systemctl daemon-reload
  systemctl -q enable consul
  systemctl --no-block restart consul
fi
quorum() {
  if [ "$ROLE" = server ]; then
    # 200 only when every server is healthy.
    curl -fs http://127.0.0.1:8500/v1/operator/autopilot/health | grep -q '"FailureTolerance":1'
  else
    [ "$(curl -fs http://127.0.0.1:8500/v1/status/leader)" != '""' ]
  fi
}
until quorum; do sleep 0.1; done
