# The same work for pyinfra, with its own operations.
from pyinfra import host
from pyinfra.operations import apt, files, server, systemd

data = host.data
release = f"/opt/bootstrap/consul/{data.version}"
archive = f"consul_{data.version}_linux_amd64.zip"

apt.packages(name="packages", packages=["ca-certificates", "curl", "unzip"], no_recommends=True)
server.group(name="group", group="consul", system=True)
server.user(
    name="user", user="consul", group="consul", system=True, home="/opt/consul", create_home=False,
    ensure_home=False, shell="/usr/sbin/nologin",
)
files.directory(name="configuration folder", path="/etc/consul.d", user="root", group="consul", mode="750")
files.directory(name="data folder", path="/opt/consul", user="consul", group="consul", mode="700")
files.directory(name="release folder", path=release)
download = files.download(
    name="release", src=f"{data.mirror}/consul/{data.version}/{archive}", dest=f"{release}/{archive}",
    sha256sum=data.sha256,
)
server.shell(name="unpack", commands=[f"unzip -q -o {release}/{archive} -d {release}"], _if=download.did_change)
files.link(name="link", path="/usr/local/bin/consul", target=f"{release}/consul")

changes = []
for source, target in [
    (f"{data.role}.json", "consul.json"),
    (f"join-{data.role}.json", "join.json"),
    ("secrets.json", "secrets.json"),
    ("services.json", "services.json"),
]:
    changes.append(
        files.template(
            name=target, src=f"{data.files}/{source}", dest=f"/etc/consul.d/{target}", user="root", group="consul",
            mode="640", node=data.node, address=data.address, servers=data.servers,
        )
    )
changes.append(files.put(name="unit", src=f"{data.files}/consul.service", dest="/etc/systemd/system/consul.service", mode="644"))


def changed():
    return any(change.did_change() for change in changes)


server.shell(name="validate", commands=["consul validate /etc/consul.d"], _if=changed)
systemd.daemon_reload(name="units", _if=changed)
systemd.service(name="enabled", service="consul", enabled=True, running=None)
server.shell(name="restart", commands=["systemctl --no-block restart consul"], _if=changed)
if data.role == "server":
    met = "curl -fs http://127.0.0.1:8500/v1/operator/autopilot/health | grep -q '\"FailureTolerance\":1'"
else:
    met = "[ \"$(curl -fs http://127.0.0.1:8500/v1/status/leader || echo '\"\"')\" != '\"\"' ]"
server.shell(name="quorum", commands=[f"until {met}; do sleep 0.1; done"])
