//! The private bridge, this machine's address on it, and the kernel settings the lab needs.

use std::fs;
use std::time::Duration;

use serde::Deserialize;

use super::command::{file_tail, run, succeeds};
use super::delay::Delay;
use super::layout::{BRIDGE, CONTROLLER, LINK_ALIAS, NETWORK, PREFIX, RELAY_FAR, RELAY_NEAR, state};
use super::process::{self, wait_until};
use super::record::{Changed, Record};
use super::{Error, firewall};

/// The bridge's own address, so that it does not change when a host with a lower one joins.
const BRIDGE_MAC: &str = "02:62:73:6c:61:62";

/// Whether the lab's bridge is there; an error if somebody else's is.
pub fn has_bridge() -> Result<bool, Error> {
    match fs::read_to_string(format!("/sys/class/net/{BRIDGE}/ifalias")) {
        Ok(alias) if alias.trim() == LINK_ALIAS => Ok(true),
        Ok(_) => Err(Error::BridgeTaken),
        Err(_) => Ok(false),
    }
}

/// Makes sure that nobody else on this machine uses the lab's addresses.
pub fn check_free() -> Result<(), Error> {
    let links = run("ip", &["-json", "-4", "address", "show"])?;
    let routes = run("ip", &["-json", "-4", "route", "show", "table", "all"])?;
    match conflict(&links, &routes) {
        Some(by) => Err(Error::SubnetTaken { by }),
        None => Ok(()),
    }
}

#[derive(Deserialize)]
struct Link {
    ifname: String,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    local: String,
    prefixlen: u8,
}

#[derive(Deserialize)]
struct Route {
    dst: String,
    #[serde(default)]
    dev: String,
}

/// What overlaps the lab's network, by `ip -json address` and `ip -json route`.
fn conflict(links: &str, routes: &str) -> Option<String> {
    let is_own = |name: &str| [BRIDGE, RELAY_NEAR, RELAY_FAR].contains(&name);
    let links: Vec<Link> = serde_json::from_str(links).unwrap_or_default();
    let routes: Vec<Route> = serde_json::from_str(routes).unwrap_or_default();
    let address = links.iter().filter(|link| !is_own(&link.ifname)).find_map(|link| {
        let found = link.addr_info.iter().find(|a| overlaps(&a.local, a.prefixlen))?;
        Some(format!("interface {} has {}/{}", link.ifname, found.local, found.prefixlen))
    });
    address.or_else(|| {
        let route = routes.iter().find(|route| {
            let (address, prefix) = route.dst.split_once('/').unwrap_or((&route.dst, "32"));
            !is_own(&route.dev) && prefix.parse().is_ok_and(|prefix| overlaps(address, prefix))
        })?;
        Some(format!("a route to {} by {}", route.dst, route.dev))
    })
}

/// Whether ADDRESS/PREFIX is a network of which the lab would take a good part. A default route, or
/// the 10.0.0.0/8 of a cloud or a VPN, can spare one /24 while the lab is up.
fn overlaps(address: &str, prefix: u8) -> bool {
    let Ok(address) = address.parse::<std::net::Ipv4Addr>() else { return false };
    if !(16..=32).contains(&prefix) {
        return false;
    }
    let mask = u32::MAX << (32 - u32::from(prefix.min(PREFIX)));
    u32::from(address) & mask == u32::from(NETWORK) & mask
}

/// Makes the bridge with this machine's address, delayed by `rtt_ms`; does what is missing only.
pub fn ensure(rtt_ms: u32) -> Result<Delay, Error> {
    if !has_bridge()? {
        run("ip", &["link", "add", BRIDGE, "address", BRIDGE_MAC, "type", "bridge"])?;
        run("ip", &["link", "set", BRIDGE, "alias", LINK_ALIAS])?;
    }
    run("ip", &["link", "set", BRIDGE, "up"])?;
    let delay = match rtt_ms {
        0 => Delay::None,
        // All of it on the way to the hosts: for a round trip it is the same as half each way.
        _ if netem(rtt_ms) => Delay::Netem,
        _ => start_relay(rtt_ms).map(|()| Delay::Relay)?,
    };
    let address = format!("{CONTROLLER}/{PREFIX}");
    let uplink = delay.uplink();
    run("ip", &["address", "replace", &address, "dev", uplink])?;
    run("ip", &["link", "set", uplink, "up"])?;
    Ok(delay)
}

/// The delay that is in force, as the interfaces show it.
pub fn current_delay(rtt_ms: u32) -> Delay {
    match rtt_ms {
        0 => Delay::None,
        _ if is_link(RELAY_NEAR) => Delay::Relay,
        _ => Delay::Netem,
    }
}

fn netem(rtt_ms: u32) -> bool {
    let delay = format!("{rtt_ms}ms");
    succeeds("tc", &["qdisc", "replace", "dev", BRIDGE, "root", "netem", "delay", &delay, "limit", "100000"])
}

fn is_link(name: &str) -> bool {
    fs::exists(format!("/sys/class/net/{name}")).unwrap_or(false)
}

fn start_relay(rtt_ms: u32) -> Result<(), Error> {
    if process::find(|args| process::is_service(args, "relay")).is_empty() {
        let log = state("relay.log");
        let mut child = process::start_service("relay", &["--rtt".into(), rtt_ms.to_string()], &log)?;
        let mut ended = false;
        // The devices appear and vanish with the process that holds them.
        let ready = wait_until(Duration::from_secs(10), || {
            ended = matches!(child.try_wait(), Ok(Some(_)));
            ended || (is_link(RELAY_NEAR) && is_link(RELAY_FAR))
        });
        if ended {
            return Err(Error::ServiceDied { what: "relay", tail: file_tail(&log) });
        }
        if !ready {
            return Err(Error::ServiceSilent { what: "relay", seconds: 10, log });
        }
    }
    run("ip", &["link", "set", RELAY_FAR, "master", BRIDGE, "up"])?;
    Ok(())
}

/// Sets what routing and many hosts need, and notes what was there before.
pub fn set_sysctls(record: &mut Record) -> Result<(), Error> {
    let mut wanted = vec![("net.ipv4.ip_forward", 1)];
    // From about ten booted systemds on the kernel's defaults run out.
    if record.hosts > 6 {
        wanted.extend([
            ("fs.inotify.max_user_instances", 8192),
            ("kernel.keys.maxkeys", 20_000),
            ("kernel.keys.root_maxkeys", 1_000_000),
            ("net.ipv4.neigh.default.gc_thresh1", 4096),
            ("net.ipv4.neigh.default.gc_thresh2", 8192),
            ("net.ipv4.neigh.default.gc_thresh3", 16384),
        ]);
    }
    let mut changes = Vec::new();
    for (name, least) in wanted {
        let Some(before) = read_sysctl(name) else { continue };
        if before.parse::<u64>().is_ok_and(|value| value < least) {
            let changed = record.sysctls.entry(name.to_owned());
            changed.or_insert(Changed { before, after: String::new() }).after = least.to_string();
            changes.push((name, least.to_string()));
        }
    }
    // Noted before it is done: a crash in between must not lose what was there.
    record.save()?;
    changes.iter().try_for_each(|(name, value)| write_sysctl(name, value))
}

/// Puts back what the lab changed, except where somebody else has changed it since.
pub fn restore_sysctls(record: &Record) -> Result<(), Error> {
    for (name, Changed { before, after }) in &record.sysctls {
        if read_sysctl(name).as_deref() == Some(after) {
            write_sysctl(name, before)?;
        }
    }
    Ok(())
}

fn sysctl_path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

fn read_sysctl(name: &str) -> Option<String> {
    fs::read_to_string(sysctl_path(name)).ok().map(|text| text.trim().to_owned())
}

fn write_sysctl(name: &str, value: &str) -> Result<(), Error> {
    fs::write(sysctl_path(name), value).map_err(Error::io("write", sysctl_path(name)))
}

/// Takes away the relay, the bridge and the lab's firewall rules, as far as they are there.
pub fn remove() -> Result<(), Error> {
    process::end("the relay", |args| process::is_service(args, "relay"))?;
    firewall::remove()?;
    // One that somebody else has made since is not the lab's to remove.
    if matches!(has_bridge(), Ok(true)) {
        run("ip", &["link", "del", BRIDGE])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlapping_address_is_a_conflict() {
        let links = |name: &str, local: &str, prefix: u8| {
            format!(r#"[{{"ifname":"{name}","addr_info":[{{"local":"{local}","prefixlen":{prefix}}}]}}]"#)
        };
        let free = [("eth0", "192.0.2.2", 24), (BRIDGE, "10.77.0.1", 24), ("eth0", "10.77.1.1", 24)];
        for (name, local, prefix) in free {
            assert_eq!(conflict(&links(name, local, prefix), "[]"), None, "{name} {local}/{prefix}");
        }
        for (local, prefix) in [("10.77.0.9", 32), ("10.77.0.1", 24), ("10.77.200.1", 16)] {
            let by = conflict(&links("eth1", local, prefix), "[]");
            assert_eq!(by, Some(format!("interface eth1 has {local}/{prefix}")));
        }
    }

    #[test]
    fn an_overlapping_route_is_a_conflict_but_not_the_default_route() {
        let route = |dst: &str| format!(r#"[{{"dst":"{dst}","dev":"tun0"}}]"#);
        assert_eq!(conflict("[]", &route("default")), None);
        assert_eq!(conflict("[]", &route("10.78.0.0/16")), None);
        assert_eq!(conflict("[]", &route("10.0.0.0/8")), None);
        assert_eq!(
            conflict("[]", &route("10.77.0.0/16")).as_deref(),
            Some("a route to 10.77.0.0/16 by tun0")
        );
        assert_eq!(conflict("[]", &route("10.77.0.4")).as_deref(), Some("a route to 10.77.0.4 by tun0"));
    }

    #[test]
    fn the_refusal_says_what_to_do() {
        use crate::lab::layout::SUBNET;
        let text = Error::SubnetTaken { by: "interface eth1 has 10.77.0.1/24".into() }.to_string();
        assert!(text.contains(SUBNET) && text.contains("eth1") && text.contains("another machine"), "{text}");
    }
}
