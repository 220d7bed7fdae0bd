//! Who may use an export, in the forms of exports(5).

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// One client as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Client {
    Everyone,
    Network(IpNet),
    Address(IpAddr),
    /// `@group`.
    Netgroup,
    /// A host name with `*` or `?` in it.
    Pattern,
    Name,
}

impl Client {
    /// The reason why a text is none, with what to write instead.
    pub fn parse(text: &str) -> Result<Self, (String, String)> {
        const FORMS: &str = "an address, a network such as 10.0.0.0/24, a host name, or a pattern such as \
                             *.example.org";
        let names = |text: &str, more: &str| {
            !text.is_empty()
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c) || more.contains(c))
        };
        if text == "*" {
            return Ok(Self::Everyone);
        }
        if let Some(group) = text.strip_prefix('@') {
            return match names(group, "") {
                true => Ok(Self::Netgroup),
                false => Err((format!("`{text}` is no netgroup"), FORMS.to_owned())),
            };
        }
        if let Some((base, mask)) = text.split_once('/') {
            return network(text, base, mask);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let digits = text.chars().all(|c| c.is_ascii_digit() || c == '.');
        if digits || text.contains(':') {
            return Err((format!("`{text}` is no IP address"), FORMS.to_owned()));
        }
        if text.contains(['*', '?']) && names(text, "*?[]") {
            return Ok(Self::Pattern);
        }
        match names(text, "") {
            true => Ok(Self::Name),
            false => Err((format!("`{text}` is no client"), FORMS.to_owned())),
        }
    }

    /// Whether it lets in whoever reaches the server.
    pub fn is_everyone(&self) -> bool {
        matches!(self, Self::Everyone) || matches!(self, Self::Network(network) if network.prefix_len() == 0)
    }

    /// Whether an address is among those it names; `None` if only the server can say.
    pub fn includes(&self, address: IpAddr) -> Option<bool> {
        match self {
            Self::Everyone => Some(true),
            Self::Network(network) => Some(network.contains(&address)),
            Self::Address(own) => Some(*own == address),
            Self::Netgroup | Self::Pattern | Self::Name => None,
        }
    }
}

fn network(text: &str, base: &str, mask: &str) -> Result<Client, (String, String)> {
    let fail = |help: String| Err((format!("`{text}` is no network"), help));
    let Ok(address) = base.parse::<IpAddr>() else {
        return fail(format!("`{base}` is no IP address: write it like 10.0.0.0/24"));
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let parsed = match (address, mask.parse::<IpAddr>()) {
        (IpAddr::V4(address), Ok(IpAddr::V4(mask))) => match Ipv4Net::with_netmask(address, mask) {
            Ok(network) => IpNet::V4(network),
            Err(_) => {
                return fail(format!(
                    "`{mask}` is no netmask: write the length of its prefix, as in {base}/24"
                ));
            }
        },
        _ => match mask.parse().ok().and_then(|length: u8| IpNet::new(address, length).ok()) {
            Some(network) => network,
            None => return fail(format!("the prefix of such a network has 0 to {most} bits, not `{mask}`")),
        },
    };
    if parsed.trunc() != parsed {
        let network = parsed.trunc();
        return Err((
            format!("`{text}` names a host within a network"),
            format!("write {network} for the whole network, or {address} for this host alone"),
        ));
    }
    Ok(Client::Network(parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_clients() {
        for (text, wanted) in [
            ("*", Ok(Client::Everyone)),
            ("10.0.0.0/24", Ok(Client::Network("10.0.0.0/24".parse().unwrap()))),
            ("10.0.0.0/255.255.255.0", Ok(Client::Network("10.0.0.0/24".parse().unwrap()))),
            ("fd00::/8", Ok(Client::Network("fd00::/8".parse().unwrap()))),
            ("10.0.0.7", Ok(Client::Address("10.0.0.7".parse().unwrap()))),
            ("@trusted", Ok(Client::Netgroup)),
            ("*.example.org", Ok(Client::Pattern)),
            ("web-[12]?.example.org", Ok(Client::Pattern)),
            ("web-1", Ok(Client::Name)),
            ("10.0.0.0/33", Err("the prefix of such a network has 0 to 32 bits, not `33`")),
            ("fd00::/129", Err("the prefix of such a network has 0 to 128 bits, not `129`")),
            ("10.0.0/24", Err("`10.0.0` is no IP address: write it like 10.0.0.0/24")),
            (
                "10.0.0.0/255.0.255.0",
                Err("`255.0.255.0` is no netmask: write the length of its prefix, as in 10.0.0.0/24"),
            ),
            ("10.0.0.5/24", Err("write 10.0.0.0/24 for the whole network, or 10.0.0.5 for this host alone")),
            (
                "10.0.0.256",
                Err(
                    "an address, a network such as 10.0.0.0/24, a host name, or a pattern such as *.example.org",
                ),
            ),
            (
                "a b",
                Err(
                    "an address, a network such as 10.0.0.0/24, a host name, or a pattern such as *.example.org",
                ),
            ),
            (
                "",
                Err(
                    "an address, a network such as 10.0.0.0/24, a host name, or a pattern such as *.example.org",
                ),
            ),
        ] {
            let parsed = Client::parse(text).map_err(|(_, help)| help);
            assert_eq!(parsed, wanted.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn everyone_has_several_spellings() {
        for text in ["*", "0.0.0.0/0", "::/0", "0.0.0.0/0.0.0.0"] {
            assert!(Client::parse(text).unwrap().is_everyone(), "{text}");
        }
        assert!(!Client::parse("0.0.0.0/1").unwrap().is_everyone());
    }
}
