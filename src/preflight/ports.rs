//! Ports that somebody else has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Subject;
use crate::model::{Arg, Call, Check, Finding, StepId};
use crate::resource::Resource;
use crate::roles::{From, Protocol, WantedHost, WantedPort};
use crate::script::Observation;

const PROBE: &str = "preflight ports";

/// A socket that listens on a port some role needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub protocol: Protocol,
    pub address: IpAddr,
    pub port: u16,
    pub owner: Owner,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// A unit that one of the host's roles wants.
    Own,
    Process {
        pid: String,
        name: String,
        /// The systemd unit it is in.
        unit: Option<String>,
    },
    Unknown,
}

pub(super) fn probe(wanted: &WantedHost) -> Option<(StepId, Call)> {
    let own = wanted.roles.iter().flat_map(|role| &role.ports).map(|port| port.number);
    let asked = wanted.roles.iter().flat_map(|role| &role.asks).map(|ask| ask.number);
    let numbers: BTreeSet<u16> = own.chain(asked).collect();
    if numbers.is_empty() {
        return None;
    }
    let pattern = numbers.iter().map(|number| format!("{number:04X}")).collect::<Vec<_>>().join("|");
    let units = units(wanted).filter_map(|unit| Arg::new(unit).ok());
    let pattern = Arg::new(pattern).expect("hex digits and bars");
    Some((StepId(PROBE.to_owned()), Call::new("ports_probe", [pattern].into_iter().chain(units))))
}

/// The units that the host's roles want: what these listen on is theirs.
fn units(wanted: &WantedHost) -> impl Iterator<Item = &str> {
    wanted.roles.iter().flat_map(|role| &role.resources).filter_map(|resource| match resource {
        Resource::Unit(unit) => Some(unit.name.as_str()),
        _ => None,
    })
}

/// What the probe said.
pub(super) fn sockets(observation: &Observation) -> Vec<Socket> {
    observation.of(PROBE).all("socket").filter_map(socket).collect()
}

/// `tcp 0100007F:1F90 own`, `udp6 … unknown` or `tcp … PID UNIT NAME`.
fn socket(line: &str) -> Option<Socket> {
    let mut words = line.splitn(3, ' ');
    let protocol = if words.next()?.starts_with("tcp") { Protocol::Tcp } else { Protocol::Udp };
    let (address, port) = words.next()?.split_once(':')?;
    let owner = match words.next()? {
        "own" => Owner::Own,
        "unknown" => Owner::Unknown,
        process => {
            let mut words = process.splitn(3, ' ');
            let pid = words.next()?.to_owned();
            let unit = words.next().filter(|unit| *unit != "-").map(str::to_owned);
            Owner::Process { pid, unit, name: words.next().unwrap_or("a process").to_owned() }
        }
    };
    Some(Socket {
        protocol,
        address: kernel_address(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        owner,
    })
}

/// Words of 32 bits in the order of a little-endian machine, as /proc/net has them.
fn kernel_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_le_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

pub(super) fn judge(subject: &Subject<'_>, address: Option<IpAddr>, sockets: &[Socket]) -> Vec<Finding> {
    let wanted = subject.wanted;
    let ports = listening(wanted);
    let mut taken: BTreeMap<&Owner, BTreeSet<(u16, Protocol)>> = BTreeMap::new();
    for socket in sockets
        .iter()
        .filter(|socket| !is_own(&socket.owner, wanted) && !is_given_back(&socket.owner, subject))
    {
        if ports.iter().any(|port| collides(port, address, socket)) {
            taken.entry(&socket.owner).or_default().insert((socket.port, socket.protocol));
        }
    }
    let mut findings = of_inventory(wanted, address);
    findings.extend(taken.into_iter().map(|(owner, ports)| finding(wanted, owner, &ports)));
    findings
}

/// Roles of a host that want the same port, which needs no look at it.
pub(super) fn of_inventory(wanted: &WantedHost, address: Option<IpAddr>) -> Vec<Finding> {
    let rivals = rivals(&listening(wanted), address).into_iter().map(|reason| {
        let remedy = "give one of them another port or address".to_owned();
        Finding::error(Check::Ports, vec![wanted.host.name.clone()], reason, remedy)
    });
    rivals.collect()
}

/// The host's ports, but for those of which only facts decide whether anybody listens there.
fn listening(wanted: &WantedHost) -> Vec<&WantedPort> {
    wanted.roles.iter().flat_map(|role| &role.ports).filter(|port| port.when.is_none()).collect()
}

fn is_own(owner: &Owner, wanted: &WantedHost) -> bool {
    match owner {
        Owner::Own => true,
        // A drop-in may have moved the unit to a slice where the host did not look for it.
        Owner::Process { unit: Some(unit), .. } if units(wanted).any(|own| own == unit) => true,
        // A service of that name is somebody's, not the role's.
        Owner::Process { unit: Some(unit), name, .. } if !unit.ends_with(".service") => {
            let ports = wanted.roles.iter().flat_map(|role| &role.ports);
            ports.filter_map(|port| port.program.as_ref()).any(|program| program == name)
        }
        Owner::Process { .. } | Owner::Unknown => false,
    }
}

/// A unit of a removed role: it is put back before anything else starts.
fn is_given_back(owner: &Owner, subject: &Subject<'_>) -> bool {
    let Owner::Process { unit: Some(unit), .. } = owner else { return false };
    let step = StepId(format!("restore unit {unit}"));
    subject.changes.as_ref().is_some_and(|changes| changes.contains(&step))
}

/// Where a port listens; the cluster address may not be known.
fn addresses(port: &WantedPort, address: Option<IpAddr>) -> Vec<IpAddr> {
    let known = |at: &Option<IpAddr>| at.or(address);
    if !port.at.is_empty() {
        return port.at.iter().filter_map(known).collect();
    }
    let usual = match port.from {
        From::Host => Some(IpAddr::from(Ipv4Addr::LOCALHOST)),
        From::Role | From::Cluster => address,
    };
    usual.into_iter().chain(port.on.iter().filter_map(known)).collect()
}

pub(super) fn collides(port: &WantedPort, address: Option<IpAddr>, socket: &Socket) -> bool {
    port.number == socket.port
        && port.protocols.contains(&socket.protocol)
        && (socket.address.is_unspecified()
            || addresses(port, address).iter().any(|own| own.is_unspecified() || *own == socket.address))
}

/// Roles of one host that want the same port.
fn rivals(ports: &[&WantedPort], address: Option<IpAddr>) -> Vec<String> {
    let mut found = Vec::new();
    for (at, first) in ports.iter().enumerate() {
        for second in &ports[at + 1..] {
            let both = first.protocols.iter().filter(|protocol| second.protocols.contains(protocol));
            let both: Vec<_> = both.map(|protocol| format!("{}/{protocol}", first.number)).collect();
            let is_late = first.when.is_some() || second.when.is_some();
            if is_late
                || first.number != second.number
                || first.declared == second.declared
                || both.is_empty()
            {
                continue;
            }
            let theirs = addresses(second, address);
            let meets = |one: &IpAddr| {
                theirs.iter().any(|two| one == two || one.is_unspecified() || two.is_unspecified())
            };
            let Some(same) = addresses(first, address).into_iter().find(meets) else { continue };
            let doc = |port: &WantedPort| port.doc.trim_end_matches('.').to_owned();
            found.push(format!(
                "roles `{}` ({}) and `{}` ({}) both want port {} on {same}",
                first.declared,
                doc(first),
                second.declared,
                doc(second),
                both.join(" and ")
            ));
        }
    }
    found
}

fn finding(wanted: &WantedHost, owner: &Owner, ports: &BTreeSet<(u16, Protocol)>) -> Finding {
    let names: Vec<_> = ports.iter().map(|(port, protocol)| format!("{port}/{protocol}")).collect();
    let (who, how) = match owner {
        Owner::Process { pid, name, unit: Some(unit) } if unit.ends_with(".service") => {
            (format!("`{name}` (pid {pid}, {unit})"), format!("`systemctl disable --now {unit}`"))
        }
        Owner::Process { pid, name, .. } => (format!("`{name}` (pid {pid})"), format!("`kill {pid}`")),
        Owner::Own | Owner::Unknown => {
            ("somebody whose process cannot be seen".to_owned(), "`ss -ltnup` there".to_owned())
        }
    };
    let noun = if ports.len() == 1 { "port" } else { "ports" };
    let verb = if ports.len() == 1 { "is" } else { "are" };
    Finding::error(
        Check::Ports,
        vec![wanted.host.name.clone()],
        format!("{noun} {} {verb} taken by {who}", names.join(", ")),
        format!("stop what listens there ({how}), or give the role other ports"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RoleName;

    fn port(number: u16, protocols: &[Protocol], from: From, on: &[&str]) -> WantedPort {
        WantedPort {
            program: None,
            number,
            protocols: protocols.to_vec(),
            from,
            on: on.iter().map(|address| address.parse().ok()).collect(),
            declared: RoleName::parse("agent").unwrap(),
            at: Vec::new(),
            doc: String::new(),
            when: None,
        }
    }

    #[test]
    fn lines_of_the_probe() {
        let process = |pid: &str, name: &str, unit: Option<&str>| Owner::Process {
            pid: pid.into(),
            name: name.into(),
            unit: unit.map(str::to_owned),
        };
        for (line, protocol, address, port, owner) in [
            ("tcp 0100007F:1F90 own", Protocol::Tcp, "127.0.0.1", 8080, Owner::Own),
            ("udp 0B4D630A:206D unknown", Protocol::Udp, "10.99.77.11", 8301, Owner::Unknown),
            (
                "tcp6 00000000000000000000000000000000:0050 812 nginx.service nginx: master",
                Protocol::Tcp,
                "::",
                80,
                process("812", "nginx: master", Some("nginx.service")),
            ),
            (
                "tcp6 0000000000000000FFFF00000100007F:0016 1 - systemd",
                Protocol::Tcp,
                "127.0.0.1",
                22,
                process("1", "systemd", None),
            ),
            (
                "udp6 000080FE00000000FF005C0201000000:2399 7 - a b",
                Protocol::Udp,
                "fe80::25c:ff:0:1",
                9113,
                process("7", "a b", None),
            ),
        ] {
            let seen = socket(line).unwrap();
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(
                (seen.protocol, seen.address, seen.port, seen.owner),
                (protocol, address, port, owner)
            );
        }
        for line in ["", "tcp", "tcp 0100007F:1F90", "tcp 01:1F90 own", "tcp 0100007F:FFFFF own"] {
            assert_eq!(socket(line), None, "{line}");
        }
    }

    #[test]
    fn only_an_address_that_is_needed_is_taken() {
        let both = [Protocol::Tcp, Protocol::Udp];
        let gossip = port(8301, &both, From::Role, &[]);
        let http = port(8500, &[Protocol::Tcp], From::Host, &[]);
        let open = port(8500, &[Protocol::Tcp], From::Host, &["10.0.0.1"]);
        let wide = port(8500, &[Protocol::Tcp], From::Host, &["0.0.0.0"]);
        for (port, protocol, address, number, taken) in [
            (&gossip, Protocol::Tcp, "10.0.0.1", 8301, true),
            (&gossip, Protocol::Udp, "0.0.0.0", 8301, true),
            (&gossip, Protocol::Udp, "::", 8301, true),
            (&gossip, Protocol::Tcp, "127.0.0.1", 8301, false),
            (&gossip, Protocol::Tcp, "10.0.0.1", 8302, false),
            (&http, Protocol::Tcp, "127.0.0.1", 8500, true),
            (&http, Protocol::Udp, "127.0.0.1", 8500, false),
            (&http, Protocol::Tcp, "127.0.0.53", 8500, false),
            (&http, Protocol::Tcp, "10.0.0.1", 8500, false),
            (&open, Protocol::Tcp, "10.0.0.1", 8500, true),
            (&wide, Protocol::Tcp, "10.0.0.1", 8500, true),
        ] {
            let socket =
                Socket { protocol, address: address.parse().unwrap(), port: number, owner: Owner::Unknown };
            assert_eq!(
                collides(port, Some("10.0.0.1".parse().unwrap()), &socket),
                taken,
                "{socket:?} {port:?}"
            );
        }
    }

    #[test]
    fn roles_of_one_host_do_not_share_a_port() {
        let both = [Protocol::Tcp, Protocol::Udp];
        let role = |name: &str, port: WantedPort| WantedPort {
            declared: RoleName::parse(name).unwrap(),
            doc: format!("The {name}."),
            ..port
        };
        let names = |from, on: &[&str]| role("agent", port(53, &both, from, on));
        let forwarder = |at: &str| WantedPort {
            at: vec![at.parse().ok()],
            ..role("forwarder", port(53, &[Protocol::Udp], From::Host, &[]))
        };
        let waits = WantedPort { when: Some(crate::roles::Condition::default()), ..forwarder("127.0.0.1") };
        for (ports, on) in [
            ([names(From::Host, &[]), forwarder("127.0.0.1")], Some("127.0.0.1")),
            ([names(From::Host, &[]), forwarder("127.0.0.2")], None),
            ([names(From::Host, &["0.0.0.0"]), forwarder("127.0.0.2")], Some("0.0.0.0")),
            ([names(From::Role, &[]), forwarder("10.0.0.1")], Some("10.0.0.1")),
            ([names(From::Role, &[]), forwarder("127.0.0.1")], None),
            ([names(From::Host, &[]), names(From::Host, &[])], None),
            ([names(From::Host, &[]), waits], None),
            ([role("web", port(54, &both, From::Host, &[])), forwarder("127.0.0.1")], None),
        ] {
            let ports: Vec<&WantedPort> = ports.iter().collect();
            let found = rivals(&ports, Some("10.0.0.1".parse().unwrap()));
            let wanted = on.map(|on| {
                format!(
                    "roles `agent` (The agent) and `forwarder` (The forwarder) both want port 53/udp on {on}"
                )
            });
            assert_eq!(found, wanted.into_iter().collect::<Vec<_>>(), "{ports:?}");
        }
    }
}
