//! How this machine's apt reaches its mirror, so that the hosts can do the same.

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};

use super::command::run;

/// Debian's own mirror network: its documented default.
const DEFAULT_URI: &str = "http://deb.debian.org/debian";
/// Settings that decide whether and how a mirror can be reached. A mirror that is frozen in time
/// needs the two checks off, here and in the hosts.
const PASSED_ON: [&str; 5] = [
    "Acquire::http",
    "Acquire::https",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
    "Acquire::ForceIPv",
];

/// Where Debian packages come from, and with which settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    pub uri: String,
    /// The text of an `apt.conf.d` file.
    pub settings: String,
    /// For programs that know apt's settings not, as debootstrap.
    pub proxy: Option<String>,
}

impl Sources {
    /// What this machine's apt uses; the default where there is no apt or it is not Debian's.
    /// `environment` has the proxy variables that are set (`http_proxy`, `https_proxy`).
    pub fn of_this_machine(environment: &[(&str, String)]) -> Self {
        // Without its lists and status apt answers at once; with them it may first build a cache.
        let targets = run(
            "apt-get",
            &[
                "-oDir::State::Lists=/run/none",
                "-oDir::State::status=/dev/null",
                "indextargets",
                "--format",
                "$(REPO_URI) $(RELEASE) $(COMPONENT)",
            ],
        )
        .unwrap_or_default();
        let settings = run("apt-config", &["dump"]).unwrap_or_default();
        Self::parse(&targets, &settings, environment)
    }

    fn parse(targets: &str, config: &str, environment: &[(&str, String)]) -> Self {
        let uri = targets.lines().find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            [uri, release, "main"] if is_debian(uri, release) => Some(uri.trim_end_matches('/').to_owned()),
            _ => None,
        });
        let mut settings = String::from("Acquire::Languages \"none\";\nAcquire::Retries \"3\";\n");
        let mut proxy = None;
        // A dump is one `Name "value";` a line.
        for line in config.lines().filter(|line| !line.ends_with(" \"\";")) {
            if PASSED_ON.iter().any(|prefix| line.starts_with(prefix)) {
                let _ = writeln!(settings, "{line}");
                if let Some(value) = line.strip_prefix("Acquire::http::Proxy ") {
                    proxy = Some(value.trim_matches(['"', ';']).to_owned());
                }
            }
        }
        for (name, value) in environment {
            let scheme = name.trim_end_matches("_proxy");
            if !settings.contains(&format!("Acquire::{scheme}::Proxy ")) {
                let _ = writeln!(settings, "Acquire::{scheme}::Proxy \"{value}\";");
                proxy = proxy.or_else(|| (scheme == "http").then(|| value.clone()));
            }
        }
        Self { uri: uri.unwrap_or_else(|| DEFAULT_URI.to_owned()), settings, proxy }
    }

    /// The addresses that hosts must reach to install packages: the mirror, the proxies before it, and those who resolve
    /// their names. A name that does not resolve is left out; apt says so itself when it is needed.
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        let proxies =
            self.settings.lines().filter_map(|line| line.split_once("::Proxy \"").map(|(_, url)| url));
        let mut addresses: Vec<Ipv4Addr> = [self.uri.as_str()]
            .into_iter()
            .chain(proxies)
            .filter_map(authority)
            .filter_map(|(host, port)| (host, port).to_socket_addrs().ok())
            .flatten()
            .map(|address| address.ip())
            .chain(resolvers())
            .filter_map(|address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
            .collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }

    /// One suite's `sources.list`: its main archive alone, for a lab lives for minutes, and each
    /// further index is one more download at every `apt-get update`.
    pub fn list(&self, suite: &str) -> String {
        format!("deb {} {suite} main\n", self.uri)
    }
}

/// Host and port of a URL of apt's: `http://user@host:3142/debian` is `host` and 3142.
fn authority(url: &str) -> Option<(&str, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '"']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let default = if scheme == "https" { 443 } else { 80 };
    match authority.rsplit_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((authority, default)),
    }
}

/// Who resolves names for this machine, and so for the hosts.
fn resolvers() -> impl Iterator<Item = IpAddr> {
    let text = resolver();
    let servers: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok()).collect();
    servers.into_iter()
}

fn is_debian(uri: &str, release: &str) -> bool {
    let is_web = uri.starts_with("http://") || uri.starts_with("https://");
    let is_plain =
        ["bullseye", "bookworm", "trixie", "forky", "sid", "stable", "oldstable", "testing", "unstable"]
            .contains(&release);
    is_web && is_plain && uri.trim_end_matches('/').ends_with("/debian")
}

/// This machine's resolver as the hosts can use it: an address of its own loopback is of no use to
/// them, so what systemd-resolved asks itself is taken then.
pub fn resolver() -> String {
    let is_usable = |text: &String| {
        text.lines().any(|line| {
            let server = line.strip_prefix("nameserver").map(str::trim);
            server.is_some_and(|server| !server.starts_with("127.") && server != "::1")
        })
    };
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"]
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .find(is_usable)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use indoc::indoc;

    #[test]
    fn takes_the_machines_debian_mirror() {
        let targets = indoc! {"
            https://vendor.example/linux/debian/ nodistro main
            http://mirror.example/debian-security/ bookworm-security main
            http://mirror.example/debian/ bookworm-updates main
            http://mirror.example/debian/ bookworm main
        "};
        let sources = Sources::parse(targets, "", &[]);
        assert_eq!(sources.list("trixie"), "deb http://mirror.example/debian trixie main\n");
    }

    #[test]
    fn hosts_may_reach_the_mirror_and_its_proxies() {
        for (url, wanted) in [
            ("http://192.0.2.7/debian", Some(("192.0.2.7", 80))),
            ("https://mirror.example/debian", Some(("mirror.example", 443))),
            ("http://user:secret@10.0.0.5:3142/debian\";", Some(("10.0.0.5", 3142))),
            ("file:/srv/debian", None),
            ("http://mirror.example:port/", None),
        ] {
            assert_eq!(authority(url), wanted, "{url}");
        }
        let environment = [("http_proxy", "http://192.0.2.9:3128".to_owned())];
        let addresses =
            Sources::parse("http://192.0.2.7/debian bookworm main\n", "", &environment).addresses();
        for wanted in [Ipv4Addr::new(192, 0, 2, 7), Ipv4Addr::new(192, 0, 2, 9)] {
            assert!(addresses.contains(&wanted), "{wanted} is not in {addresses:?}");
        }
    }

    #[test]
    fn falls_back_to_debians_default() {
        for targets in
            ["", "http://archive.example/ubuntu/ noble main\n", "file:/srv/debian/ bookworm main\n"]
        {
            assert_eq!(Sources::parse(targets, "", &[]).uri, DEFAULT_URI);
        }
    }

    #[test]
    fn passes_on_what_is_needed_to_reach_the_mirror() {
        let config = indoc! {r#"
            Acquire "";
            Acquire::Check-Date "false";
            Acquire::http "";
            Acquire::http::Proxy "http://10.0.0.5:3128";
            Acquire::GzipIndexes "true";
        "#};
        let environment =
            [("http_proxy", "http://other:1".to_owned()), ("https_proxy", "http://other:2".to_owned())];
        let sources = Sources::parse("", config, &environment);
        assert_eq!(
            sources.settings.lines().skip(2).collect::<Vec<_>>(),
            [
                "Acquire::Check-Date \"false\";",
                "Acquire::http::Proxy \"http://10.0.0.5:3128\";",
                "Acquire::https::Proxy \"http://other:2\";"
            ]
        );
        assert_eq!(sources.proxy.as_deref(), Some("http://10.0.0.5:3128"));
    }
}
