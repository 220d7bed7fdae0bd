//! What a host is asked about itself and how the answer is parsed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::script::Fields;

/// A host's own account of itself. Templates see it as `facts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// `ID` of os-release: `debian`, `ubuntu`, `rocky`, `alpine`.
    pub os_id: String,
    /// `VERSION_ID` of os-release; empty for rolling ones.
    pub os_version: String,
    /// `PRETTY_NAME` of os-release.
    pub os_name: String,
    /// As `uname -m` says.
    pub arch: String,
    pub hostname: String,
    /// Empty where there is none.
    pub machine_id: String,
    /// The kernel's release.
    pub kernel: String,
    /// Every address of every interface, the loopback's too, in the kernel's order.
    pub addresses: Vec<(String, IpAddr)>,
    /// The address of this host that the SSH connection reached; sudo may hide it.
    pub ssh_server_address: Option<IpAddr>,
    /// Seconds since 1970 by the host's clock.
    pub epoch: i64,
    /// The same instant in milliseconds, as exactly as `clock_step_ms`.
    #[serde(skip)]
    pub epoch_ms: i64,
    /// How far apart two readings of the clock are told: 1, or 1000 where its tools know whole seconds.
    #[serde(skip)]
    pub clock_step_ms: i64,
    pub package_manager: Option<PackageManager>,
    pub init: Init,
    /// Who the script runs as.
    pub user: String,
    /// How names were resolved before this program changed it.
    pub resolver: Resolver,
    /// Why /etc/resolv.conf cannot be replaced: `immutable`, `mounted`.
    pub resolv_conf_fixed: Option<String>,
    /// What is there that rewrites /etc/resolv.conf: `network-manager`, `dhclient`, `dhcpcd`.
    pub resolver_writers: Vec<String>,
    /// 1 (also hybrid) or 2.
    pub cgroup_version: u8,
    /// Whether memory may be swapped out.
    pub swap: bool,
    /// Its networks but the loopback's, each by its own address there: `10.0.0.11/24`.
    pub networks: Vec<IpNet>,
    /// What the machine's firmware calls it; empty in a container, which shows that of its host.
    pub product_uuid: String,
    /// Hardware addresses of its network devices, without those that only programs made.
    pub macs: Vec<String>,
}

/// How packages are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageManager {
    Apt,
    Dnf,
    Apk,
}

/// What runs as process 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    Systemd,
    Other,
}

/// How a host's names are resolved. A role that changes it keeps this on the host, in
/// `/var/lib/bootstrap/resolver`: what a later run sees there is not what the host had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resolver {
    pub kind: ResolverKind,
    /// What /etc/resolv.conf is, for people: `a link to /run/x`.
    pub seen: String,
    /// Whether /etc/resolv.conf leads to systemd-resolved's own address, 127.0.0.53.
    pub stub: bool,
    pub nameservers: Vec<String>,
    /// The other lines of /etc/resolv.conf: `search`, `options`.
    pub lines: Vec<String>,
    /// Where systemd-resolved runs.
    pub resolved: Option<Resolved>,
    /// How a role has changed it, in the role's words.
    pub set_up_as: Option<String>,
}

/// Who writes /etc/resolv.conf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResolverKind {
    SystemdResolved,
    Resolvconf,
    /// Nobody, or a program that can be told not to.
    #[default]
    Plain,
    Unknown,
}

/// What a running systemd-resolved can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resolved {
    pub version: u32,
    /// Whether it listens on 127.0.0.53.
    pub listens: bool,
    /// Whether servers of its own for one domain leave all other names alone: links have servers, and there are no
    /// global ones, which would be asked in turn with them.
    pub routes: bool,
    /// Whether programs ask it without looking at /etc/resolv.conf (`resolve` in /etc/nsswitch.conf).
    pub nss: bool,
}

/// Why a host's facts cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    #[error("the host said nothing about its `{0}`")]
    Missing(&'static str),
    #[error("the host's `{key}` is not understood: `{text}`")]
    Unknown { key: &'static str, text: String },
    #[error("the host could not say its facts: {0}")]
    Failed(String),
}

impl Facts {
    /// From what the `facts` probe said.
    pub fn parse(seen: &Fields<'_>) -> Result<Self, FactsError> {
        if let Some(text) = seen.text("error") {
            return Err(FactsError::Failed(text.trim().to_owned()));
        }
        let text = |key: &'static str| seen.text(key).map(str::trim).ok_or(FactsError::Missing(key));
        let os = os_release(seen.text("os-release").unwrap_or_default());
        let arch = text("arch")?.to_owned();
        let (epoch_ms, clock_step_ms) = clock(text("epoch")?)?;
        let os_value = |key: &str| os.get(key).cloned().unwrap_or_default();
        Ok(Self {
            os_id: os_value("ID"),
            os_version: os_value("VERSION_ID"),
            os_name: os_value("PRETTY_NAME"),
            arch,
            hostname: text("hostname")?.to_owned(),
            machine_id: seen.text("machine-id").map(str::trim).unwrap_or_default().to_owned(),
            kernel: text("kernel")?.to_owned(),
            addresses: text("addresses")?.lines().filter_map(address).collect(),
            networks: text("addresses")?.lines().filter_map(network).collect(),
            ssh_server_address: text("ssh-connection")?
                .split_whitespace()
                .nth(2)
                .and_then(|word| word.parse().ok()),
            epoch: epoch_ms.div_euclid(1000),
            epoch_ms,
            clock_step_ms,
            package_manager: package_manager(text("package-manager")?)?,
            init: if text("init")? == "systemd" { Init::Systemd } else { Init::Other },
            user: text("user")?.to_owned(),
            resolver: resolver(seen)?,
            resolv_conf_fixed: seen.text("resolver-fixed").map(str::to_owned),
            resolver_writers: text("resolver-writers")?
                .split_whitespace()
                .filter(|word| *word != OPENRESOLV)
                .map(str::to_owned)
                .collect(),
            cgroup_version: number("cgroup", text("cgroup")?)?,
            swap: seen.has("swap"),
            product_uuid: seen.text("product-uuid").map(str::trim).unwrap_or_default().to_owned(),
            macs: seen.all("mac").map(|mac| mac.trim().to_owned()).collect(),
        })
    }

    /// The architecture as release files name it (`amd64`); as the kernel does where they are not known to differ.
    pub fn release_arch(&self) -> &str {
        match self.arch.as_str() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "i386" | "i586" | "i686" => "386",
            "armv6l" | "armv7l" | "armv8l" => "arm",
            other => other,
        }
    }
}

/// What `date +%s.%N` says, in milliseconds, and its step; some builds of busybox know no `%N`.
fn clock(text: &str) -> Result<(i64, i64), FactsError> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = number("epoch", seconds)?;
    match fraction.get(..3).and_then(|digits| digits.parse::<i64>().ok()) {
        Some(ms) if fraction.bytes().all(|digit| digit.is_ascii_digit()) => Ok((seconds * 1000 + ms, 1)),
        _ => Ok((seconds * 1000, 1000)),
    }
}

/// A host's clock against the operator's: its reading fell between two of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClockOffset {
    /// How far the host is ahead.
    pub ms: i64,
    /// How wrong that may be, to either side.
    pub error_ms: i64,
}

impl ClockOffset {
    /// `sent` and `received` are milliseconds since 1970 by our own clock, around the host's reading.
    pub fn between(sent: i64, received: i64, facts: &Facts) -> Self {
        let (least, most) = (facts.epoch_ms - received, facts.epoch_ms + facts.clock_step_ms - sent);
        Self { ms: (least + most).div_euclid(2), error_ms: (most - least + 1).div_euclid(2).abs() }
    }
}

fn number<T: std::str::FromStr>(key: &'static str, text: &str) -> Result<T, FactsError> {
    text.parse().map_err(|_| FactsError::Unknown { key, text: text.to_owned() })
}

/// `KEY=value` lines, values bare or in single or double quotes.
fn os_release(text: &str) -> BTreeMap<&str, String> {
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .map(|(key, value)| {
            let quoted = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
            (key, quoted('"').or_else(|| quoted('\'')).unwrap_or(value).to_owned())
        })
        .collect()
}

/// One line of `ip -o addr show`: `2: eth0    inet 10.0.0.2/24 brd 10.0.0.255 scope global eth0\ …`.
fn address(line: &str) -> Option<(String, IpAddr)> {
    let mut words = line.split_whitespace().skip(1);
    let interface = words.next()?;
    words.next().filter(|family| family.starts_with("inet"))?;
    let address = words.next()?.split('/').next()?.parse().ok()?;
    Some((interface.to_owned(), address))
}

/// The same with the length of its prefix, but for the loopback and what reaches one other host alone.
fn network(line: &str) -> Option<IpNet> {
    let network: IpNet = line.split_whitespace().nth(3)?.parse().ok()?;
    (!network.addr().is_loopback() && network.prefix_len() < network.max_prefix_len()).then_some(network)
}

fn package_manager(text: &str) -> Result<Option<PackageManager>, FactsError> {
    match text {
        "" => Ok(None),
        "apt" => Ok(Some(PackageManager::Apt)),
        "dnf" => Ok(Some(PackageManager::Dnf)),
        "apk" => Ok(Some(PackageManager::Apk)),
        other => Err(FactsError::Unknown { key: "package-manager", text: other.to_owned() }),
    }
}

/// Another program of the name `resolvconf`, with a configuration of its own.
const OPENRESOLV: &str = "openresolv";
const STUB: &str = "127.0.0.53";

/// What a role has kept, or what there is to see.
fn resolver(seen: &Fields<'_>) -> Result<Resolver, FactsError> {
    if let Some(kept) = seen.text("resolver-before") {
        return serde_json::from_str(kept)
            .map_err(|_| FactsError::Unknown { key: "resolver", text: kept.to_owned() });
    }
    let text = seen.text("resolv-conf");
    let lines = || text.unwrap_or_default().lines().map(str::trim);
    let nameservers = servers(lines());
    let is_other = |line: &&str| !line.is_empty() && !line.starts_with(['#', ';']) && server(line).is_none();
    let resolved = resolved(seen)?;
    let (kind, seen_as, stub) = match seen.text("resolver-link") {
        Some("") => (ResolverKind::Unknown, "neither a file nor a link".to_owned(), false),
        Some(target) => {
            let (kind, stub) = kind_of_link(target);
            (kind, format!("a link to {target}"), stub)
        }
        None if resolved.is_some() && nameservers.first().is_some_and(|server| server == STUB) => {
            (ResolverKind::SystemdResolved, format!("a file that names {STUB}"), true)
        }
        None if text.is_some_and(|text| text.contains("resolvconf"))
            && seen.text("resolver-writers").is_some_and(|all| all.contains(OPENRESOLV)) =>
        {
            (ResolverKind::Unknown, "a file that openresolv writes".to_owned(), false)
        }
        None if text.is_some() => (ResolverKind::Plain, "a file".to_owned(), false),
        None => (ResolverKind::Plain, "absent".to_owned(), false),
    };
    let lines = lines().filter(is_other).map(str::to_owned).collect();
    Ok(Resolver { kind, seen: seen_as, stub, nameservers, lines, resolved, set_up_as: None })
}

/// Who writes what a link leads to, and whether that names the address of systemd-resolved.
fn kind_of_link(target: &str) -> (ResolverKind, bool) {
    match target {
        "/run/systemd/resolve/stub-resolv.conf"
        | "/usr/lib/systemd/resolv.conf"
        | "/lib/systemd/resolv.conf" => (ResolverKind::SystemdResolved, true),
        target if target.starts_with("/run/systemd/resolve/") => (ResolverKind::SystemdResolved, false),
        target if target.starts_with("/run/resolvconf/") || target.starts_with("/etc/resolvconf/") => {
            (ResolverKind::Resolvconf, false)
        }
        // It can be told to leave /etc/resolv.conf alone.
        target if target.starts_with("/run/NetworkManager/") => (ResolverKind::Plain, false),
        _ => (ResolverKind::Unknown, false),
    }
}

fn resolved(seen: &Fields<'_>) -> Result<Option<Resolved>, FactsError> {
    let Some(version) = seen.text("resolved-version") else { return Ok(None) };
    let known = servers(seen.text("resolved-servers").unwrap_or_default().lines());
    // An empty one takes back those before it.
    let has_global = seen.all("resolved-global").last().is_some_and(|servers| !servers.is_empty());
    // Consul's own DNS speaks no TLS; `opportunistic` goes on without.
    let tls = seen.all("resolved-tls").filter(|word| !word.is_empty()).last().unwrap_or_default();
    let demands_tls = ["1", "yes", "y", "true", "t", "on"].contains(&tls.to_ascii_lowercase().as_str());
    Ok(Some(Resolved {
        version: number("resolved-version", version)?,
        listens: seen.has("resolved-stub"),
        routes: !has_global && !demands_tls && !known.is_empty(),
        nss: seen.has("resolved-nss"),
    }))
}

fn servers<'t>(lines: impl Iterator<Item = &'t str>) -> Vec<String> {
    lines.filter_map(server).map(str::to_owned).collect()
}

/// The address in a `nameserver` line.
fn server(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next()? == "nameserver").then(|| words.next()).flatten()
}

impl Facts {
    /// A usual host, for the tests of those who read facts.
    pub fn example() -> Self {
        Self {
            os_id: "debian".to_owned(),
            os_version: "12".to_owned(),
            os_name: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            arch: "x86_64".to_owned(),
            hostname: String::new(),
            machine_id: String::new(),
            kernel: "6.1.0-18-amd64".to_owned(),
            addresses: vec![
                ("lo".to_owned(), IpAddr::from([127, 0, 0, 1])),
                ("eth0".to_owned(), "fe80::1".parse().expect("an address")),
                ("eth0".to_owned(), IpAddr::from([10, 0, 0, 11])),
            ],
            ssh_server_address: Some(IpAddr::from([10, 0, 0, 11])),
            epoch: 1_767_323_045,
            epoch_ms: 1_767_323_045_000,
            clock_step_ms: 1,
            package_manager: Some(PackageManager::Apt),
            init: Init::Systemd,
            user: "root".to_owned(),
            resolver: Resolver::default(),
            resolv_conf_fixed: None,
            resolver_writers: Vec::new(),
            cgroup_version: 2,
            swap: false,
            networks: vec!["10.0.0.11/24".parse().expect("a network")],
            product_uuid: String::new(),
            macs: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: &str = "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
1: lo    inet6 ::1/128 scope host \\       valid_lft forever preferred_lft forever
2: host0    inet 10.99.0.11/24 brd 10.99.0.255 scope global host0\\       valid_lft forever preferred_lft forever
2: host0    inet6 fe80::5c:ff:fe00:1/64 scope link \\       valid_lft forever preferred_lft forever
3: docker0    inet 172.17.0.1/16 brd 172.17.255.255 scope global docker0\\       valid_lft forever
4: tun0    inet 10.8.0.6 peer 10.8.0.5/32 scope global tun0\\       valid_lft forever preferred_lft forever
5: eth1    link/ether 02:00 brd ff:ff
";

    const BULLSEYE: &str = "PRETTY_NAME=\"Debian GNU/Linux 11 (bullseye)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"11\"\n\
        VERSION=\"11 (bullseye)\"\nVERSION_CODENAME=bullseye\nID=debian\nHOME_URL=\"https://www.debian.org/\"\n";
    const BOOKWORM: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n\
        VERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n";
    const TRIXIE: &str = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"13\"\n\
        VERSION=\"13 (trixie)\"\nVERSION_CODENAME=trixie\nDEBIAN_VERSION_FULL=13.1\nID=debian\n";
    const ALPINE: &str =
        "NAME='Alpine Linux'\nID=alpine\nVERSION_ID=3.20.3\nPRETTY_NAME='Alpine Linux v3.20'\n";

    fn answer(changes: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
        let usual = [
            ("os-release", BOOKWORM),
            ("arch", "x86_64"),
            ("hostname", "node-1"),
            ("machine-id", "0123456789abcdef0123456789abcdef"),
            ("kernel", "6.1.0-18-amd64"),
            ("addresses", ADDRESSES),
            ("ssh-connection", "10.99.0.1 51234 10.99.0.11 22"),
            ("epoch", "1767323045.250000000"),
            ("user", "root"),
            ("package-manager", "apt"),
            ("init", "systemd"),
            ("resolver-link", "/run/systemd/resolve/stub-resolv.conf"),
            ("resolv-conf", "nameserver 127.0.0.53\noptions edns0\n"),
            ("resolver-writers", ""),
            ("resolved-version", "252"),
            ("resolved-servers", "nameserver 10.0.0.1\n"),
            ("cgroup", "2"),
        ];
        let value = |key| changes.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        usual
            .iter()
            .map(|(key, usual)| ((*key).to_owned(), value(*key).unwrap_or(usual).as_bytes().to_vec()))
            .chain(
                changes
                    .iter()
                    .filter(|(key, _)| usual.iter().all(|(name, _)| name != key))
                    .map(|(k, v)| ((*k).into(), v.as_bytes().to_vec())),
            )
            .collect()
    }

    fn parse(changes: &[(&str, &str)]) -> Result<Facts, FactsError> {
        Facts::parse(&Fields::new(&answer(changes)))
    }

    #[test]
    fn distributions() {
        for (text, id, version, name) in [
            (BULLSEYE, "debian", "11", "Debian GNU/Linux 11 (bullseye)"),
            (BOOKWORM, "debian", "12", "Debian GNU/Linux 12 (bookworm)"),
            (TRIXIE, "debian", "13", "Debian GNU/Linux 13 (trixie)"),
            (ALPINE, "alpine", "3.20.3", "Alpine Linux v3.20"),
            ("ID=arch\n", "arch", "", ""),
        ] {
            let facts = parse(&[("os-release", text)]).unwrap();
            assert_eq!(
                (facts.os_id.as_str(), facts.os_version.as_str(), facts.os_name.as_str()),
                (id, version, name)
            );
        }
    }

    #[test]
    fn addresses_by_interface() {
        let facts = parse(&[]).unwrap();
        let seen: Vec<_> =
            facts.addresses.iter().map(|(name, address)| format!("{name} {address}")).collect();
        assert_eq!(
            seen,
            [
                "lo 127.0.0.1",
                "lo ::1",
                "host0 10.99.0.11",
                "host0 fe80::5c:ff:fe00:1",
                "docker0 172.17.0.1",
                "tun0 10.8.0.6"
            ]
        );
        assert_eq!(facts.ssh_server_address, Some("10.99.0.11".parse().unwrap()));
        assert_eq!(parse(&[("ssh-connection", "")]).unwrap().ssh_server_address, None);
    }

    #[test]
    fn clocks_with_and_without_parts_of_a_second() {
        for (text, read) in [
            ("1767323045.250999999", (1_767_323_045_250, 1)),
            ("1767323045.007", (1_767_323_045_007, 1)),
            ("1767323045.%N", (1_767_323_045_000, 1000)),
            ("1767323045.N", (1_767_323_045_000, 1000)),
            ("1767323045.", (1_767_323_045_000, 1000)),
            ("1767323045", (1_767_323_045_000, 1000)),
        ] {
            let facts = parse(&[("epoch", text)]).unwrap();
            assert_eq!((facts.epoch_ms, facts.clock_step_ms), read, "{text}");
            assert_eq!(facts.epoch, 1_767_323_045);
        }
    }

    #[test]
    fn an_offset_is_as_exact_as_the_round_trip() {
        for (reading, sent, received, offset) in [
            // The host's reading is ours: any of the 40 ms on the way may be the true instant.
            ("1767323045.020", 1_767_323_045_000, 1_767_323_045_040, (0, 21)),
            ("1767323051.020", 1_767_323_045_000, 1_767_323_045_040, (6000, 21)),
            ("1767323039.020", 1_767_323_045_000, 1_767_323_045_040, (-6000, 21)),
            // Two seconds of waiting say little.
            ("1767323045.000", 1_767_323_043_000, 1_767_323_045_000, (1000, 1001)),
            // Whole seconds say less than parts of them.
            ("1767323045", 1_767_323_045_300, 1_767_323_045_310, (195, 505)),
        ] {
            let facts = parse(&[("epoch", reading)]).unwrap();
            let ClockOffset { ms, error_ms } = ClockOffset::between(sent, received, &facts);
            assert_eq!((ms, error_ms), offset, "{reading}");
        }
    }

    #[test]
    fn architectures_of_releases() {
        for (arch, release) in [
            ("x86_64", "amd64"),
            ("aarch64", "arm64"),
            ("armv7l", "arm"),
            ("i686", "386"),
            ("s390x", "s390x"),
        ] {
            assert_eq!(parse(&[("arch", arch)]).unwrap().release_arch(), release);
        }
    }

    #[test]
    fn kinds_of_hosts() {
        let facts =
            parse(&[("package-manager", ""), ("init", "other"), ("cgroup", "1"), ("swap", "yes")]).unwrap();
        assert_eq!((facts.package_manager, facts.init, facts.cgroup_version), (None, Init::Other, 1));
        assert!(facts.swap);
        let json = serde_json::to_value(parse(&[]).unwrap()).unwrap();
        assert_eq!(json["resolver"]["kind"], "systemd-resolved");
        assert_eq!(json["package_manager"], "apt");
        assert_eq!(json["addresses"][2][1], "10.99.0.11");
    }

    #[test]
    fn who_resolves_names() {
        use ResolverKind::{Plain, Resolvconf, SystemdResolved, Unknown};
        let stub = "/run/systemd/resolve/stub-resolv.conf";
        let uplink = "/run/systemd/resolve/resolv.conf";
        let (one, two) =
            ("nameserver 10.0.0.1\n", "# dhcp\nsearch a.b\nnameserver 10.0.0.1\nnameserver ::1\n");
        for (said, kind, seen, stub, servers) in [
            (vec![("resolv-conf", two)], Plain, "a file", false, 2),
            (vec![], Plain, "absent", false, 0),
            (
                vec![("resolver-link", "/run/NetworkManager/resolv.conf")],
                Plain,
                "a link to /run/NetworkManager/resolv.conf",
                false,
                0,
            ),
            (
                vec![("resolver-link", "/run/resolvconf/resolv.conf"), ("resolv-conf", one)],
                Resolvconf,
                "a link to /run/resolvconf/resolv.conf",
                false,
                1,
            ),
            (
                vec![("resolver-link", stub), ("resolved-version", "252")],
                SystemdResolved,
                "a link to /run/systemd/resolve/stub-resolv.conf",
                true,
                0,
            ),
            (
                vec![("resolver-link", uplink), ("resolved-version", "252")],
                SystemdResolved,
                "a link to /run/systemd/resolve/resolv.conf",
                false,
                0,
            ),
            (
                vec![("resolv-conf", "nameserver 127.0.0.53\n"), ("resolved-version", "252")],
                SystemdResolved,
                "a file that names 127.0.0.53",
                true,
                1,
            ),
            (
                vec![("resolver-link", "/opt/vpn/resolv.conf"), ("resolv-conf", one)],
                Unknown,
                "a link to /opt/vpn/resolv.conf",
                false,
                1,
            ),
            (vec![("resolver-link", "")], Unknown, "neither a file nor a link", false, 0),
            (
                vec![("resolv-conf", "# Generated by resolvconf\n"), ("resolver-writers", "openresolv")],
                Unknown,
                "a file that openresolv writes",
                false,
                0,
            ),
        ] {
            let said: Vec<_> =
                said.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect();
            let resolver = resolver(&Fields::new(&said)).unwrap();
            assert_eq!((resolver.kind, resolver.seen.as_str(), resolver.stub), (kind, seen, stub));
            assert_eq!(resolver.nameservers.len(), servers, "{seen}");
        }
    }

    #[test]
    fn what_a_role_has_kept_is_what_the_host_had() {
        let had = Resolver {
            nameservers: vec!["10.0.0.1".into()],
            lines: vec!["search a.b".into()],
            set_up_as: Some("forwarder".into()),
            ..Resolver::default()
        };
        let kept = serde_json::to_string_pretty(&had).unwrap();
        let facts = parse(&[("resolv-conf", "nameserver 127.0.0.1\n"), ("resolver-before", &kept)]).unwrap();
        assert_eq!(facts.resolver, had);
        let error = parse(&[("resolver-before", "{")]).unwrap_err();
        assert_eq!(error.to_string(), "the host's `resolver` is not understood: `{`");
    }

    #[test]
    fn whether_systemd_resolved_takes_servers_for_a_domain() {
        for (said, routes) in [
            (vec![("resolved-servers", "nameserver 10.0.0.1\n")], true),
            (vec![("resolved-servers", "# none\n")], false),
            (vec![("resolved-servers", "nameserver 10.0.0.1\n"), ("resolved-global", "10.0.0.1")], false),
            (
                vec![
                    ("resolved-servers", "nameserver 10.0.0.1\n"),
                    ("resolved-global", "10.0.0.1"),
                    ("resolved-global", ""),
                ],
                true,
            ),
            (vec![("resolved-servers", "nameserver 10.0.0.1\n"), ("resolved-tls", "opportunistic")], true),
            (vec![("resolved-servers", "nameserver 10.0.0.1\n"), ("resolved-tls", "yes")], false),
        ] {
            let said: Vec<_> = said
                .iter()
                .chain(&[("resolved-version", "245"), ("resolved-nss", "yes")])
                .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
                .collect();
            let found = resolved(&Fields::new(&said)).unwrap();
            assert_eq!(found, Some(Resolved { version: 245, listens: false, routes, nss: true }));
        }
    }

    #[test]
    fn what_is_missing_or_strange_is_named() {
        assert_eq!(Facts::parse(&Fields::default()), Err(FactsError::Missing("arch")));
        assert_eq!(
            parse(&[("epoch", "noon")]).unwrap_err().to_string(),
            "the host's `epoch` is not understood: `noon`"
        );
        assert_eq!(
            parse(&[("error", "sh: uname: not found\n")]).unwrap_err().to_string(),
            "the host could not say its facts: sh: uname: not found"
        );
    }
}
