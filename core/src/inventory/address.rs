//! Host names and addresses of an inventory: ranges expanded pairwise, addresses that can be one.

use std::net::IpAddr;

use super::node::{Located, Node};
use super::range;
use super::reader::Reader;
use crate::model::HostName;

/// The host names of a key; none when it is no name, which is reported once for its range.
pub fn names(reader: &mut Reader<'_>, key: &Located<String>) -> Vec<HostName> {
    let texts = match range::expand(&key.value) {
        Ok(texts) => texts,
        Err(error) => {
            let problem = reader.document.error(key.span, error.to_string()).help(error.help());
            reader.note(problem);
            return Vec::new();
        }
    };
    let mut names = Vec::new();
    for text in texts {
        let full = Located { value: text, span: key.span };
        match reader.name(&full, HostName::parse) {
            Some(name) => names.push(name.value),
            None => {
                if let Some((short, _)) = full.value.split_once('.') {
                    reader
                        .advise(format!("a host has a short name: `{short}: {{ address: {} }}`", key.value));
                }
                return Vec::new();
            }
        }
    }
    names
}

/// Expands a value of a ranged host: as many as the name has, or it is reported.
pub fn pairwise(
    reader: &mut Reader<'_>,
    key: &Located<String>,
    names: usize,
    text: &Located<String>,
) -> Option<Vec<Located<String>>> {
    // An IPv6 address in brackets is a habit from URLs, not a range.
    let address = text.value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if address.is_some_and(|address| address.parse::<IpAddr>().is_ok()) {
        let problem = reader.document.error(text.span, format!("`{}` has brackets", text.value));
        reader.note(problem.help("write an IPv6 address without them"));
        return None;
    }
    let texts = match range::expand(&text.value) {
        Ok(texts) => texts,
        Err(error) => {
            let problem = reader.document.error(text.span, error.to_string()).help(error.help());
            reader.note(problem);
            return None;
        }
    };
    // No names: the key itself was wrong, and said so.
    if texts.len() != names && names > 0 {
        let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let (hosts, values) = (count(names, "host"), texts.len());
        let addresses = match values {
            1 => "1 address".to_owned(),
            _ => format!("{values} addresses"),
        };
        let problem = reader
            .document
            .error(text.span, format!("`{}` is {hosts}, but `{}` is {addresses}", key.value, text.value))
            .label(addresses)
            .also(key.span.range(), hosts)
            .help("ranges expand pairwise: give both the same length, for example `node-[2-3]: { address: \"10.0.0.1[2-3]\" }`");
        reader.note(problem);
        return None;
    }
    Some(texts.into_iter().map(|value| Located { value, span: text.span }).collect())
}

/// Whether SSH can go there; if not, it is reported.
pub fn check_address(reader: &mut Reader<'_>, text: &Located<String>) -> bool {
    let address = text.value.as_str();
    if address.parse::<IpAddr>().is_ok() {
        return true;
    }
    let digits = address.chars().all(|c| c.is_ascii_digit() || c == '.');
    let name =
        address.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) && !address.starts_with('-');
    let help = if let Some((user, host)) = address.split_once('@') {
        format!("the user has a key of its own: `address: {host}`, `ssh: {{ user: {user} }}`")
    } else if let Some((host, port)) = address.rsplit_once(':').filter(|(host, _)| !host.contains(':')) {
        format!("the port has a key of its own: `address: {host}`, `ssh: {{ port: {port} }}`")
    } else if name && !digits {
        return true;
    } else if address.contains('/') {
        "leave out the network's prefix length".to_owned()
    } else if digits {
        "an IPv4 address has four numbers from 0 to 255, without leading zeros".to_owned()
    } else {
        "an IP address such as 192.168.56.11, a DNS name, or a `Host` of ~/.ssh/config".to_owned()
    };
    let problem = reader.document.error(text.span, format!("`{address}` is no address")).help(help);
    reader.note(problem);
    false
}

/// An address that agents can bind and advertise.
pub fn ip_address(reader: &mut Reader<'_>, text: &Located<String>) -> Option<Located<IpAddr>> {
    let address = text.value.parse::<IpAddr>().ok();
    let usable = address.filter(|address| !address.is_unspecified() && !address.is_loopback());
    if let Some(value) = usable {
        return Some(Located { value, span: text.span });
    }
    let (message, help) = match address {
        Some(address) => (
            format!("`cluster_address` is {address}, which no other host can reach"),
            "the address at which this host's agents are reached by the others",
        ),
        None => (
            format!("`{}` is no IP address", text.value),
            "agents bind and advertise an address, not a name; `cluster_interface: eth1` takes that of an interface",
        ),
    };
    let problem = reader.document.error(text.span, message).help(help);
    reader.note(problem);
    None
}

/// A name that a network interface can have.
pub fn interface(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "`cluster_interface`")?;
    // IFNAMSIZ is 16 with the closing NUL.
    let odd = text.value.len() > 15
        || text.value.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/');
    if !odd {
        return Some(text.value);
    }
    let problem =
        reader.document.error(text.span, format!("`{}` is no name of a network interface", text.value));
    reader.note(problem.help("`ip -brief address` on the host lists them: eth0, ens3, eth1.100"));
    None
}
