# shellcheck shell=sh
# Takes away what any of the tools has put on a host; the packages stay.
systemctl kill -s KILL consul 2>/dev/null
systemctl stop consul 2>/dev/null
systemctl disable -q consul 2>/dev/null
rm -rf /etc/systemd/system/consul.service /etc/consul.d /opt/consul /opt/bootstrap /usr/local/bin/consul /var/lib/bootstrap /root/.ansible /tmp/consul*.zip
systemctl daemon-reload
systemctl reset-failed consul 2>/dev/null
! id consul >/dev/null 2>&1 || userdel consul
! getent group consul >/dev/null || groupdel consul
sync
