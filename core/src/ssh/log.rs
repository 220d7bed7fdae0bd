//! The log of an `ssh -v` that ended -> why it ended.
//!
//! OpenSSH does not translate its messages. The texts are those of 8.4 to 10; what is not recognised
//! is passed on as it stands.

use super::{Cause, Error, Target};

/// Says why `ssh` could not connect; `log` also has what its jump hosts' processes said.
pub(super) fn explain(target: &Target, log: &str) -> Error {
    let host = target.host.clone();
    let lines: Vec<&str> = log.lines().map(str::trim_end).collect();
    let said = || lines.iter().enumerate().filter(|(_, line)| !is_debug(line));
    let unreachable = |cause| Error::Unreachable { host: target.host.clone(), cause };

    for (index, line) in said() {
        if let Some(at) = between(line, "Host key for ", " has changed and you have requested strict") {
            let known_hosts = lines.iter().find_map(|line| {
                line.split_once(" key in ").filter(|(kind, _)| kind.starts_with("Offending"))
            });
            return Error::HostKeyChanged {
                host,
                at: at.to_owned(),
                known_hosts: known_hosts.map(|(_, place)| place.to_owned()),
                fingerprint: fingerprint(&lines[..index]),
            };
        }
        if let Some(at) = between(line, "host key is known for ", " and you have requested strict") {
            let fingerprint = fingerprint(&lines[..index]);
            return Error::HostKeyUnknown { host, at: at.to_owned(), fingerprint };
        }
        let denied =
            line.split_once(": Permission denied (").map(|(_, methods)| methods.trim_end_matches([')', '.']));
        let too_many =
            line.ends_with("Too many authentication failures").then_some("too many keys were offered");
        if let Some(methods) = denied.or(too_many) {
            return denial(target, &lines[..index], methods);
        }
        if let Some(name) = line.strip_prefix("ssh: Could not resolve hostname ") {
            let (name, reason) = name.split_once(": ").unwrap_or((name, "unknown"));
            return unreachable(Cause::NameNotFound { name: name.to_owned(), reason: reason.to_owned() });
        }
        if let Some(rest) = line.strip_prefix("ssh: connect to host ") {
            let (at, reason) = rest.split_once(": ").unwrap_or((rest, "unknown"));
            return unreachable(connect(at, reason));
        }
        // Said by a jump host of the next one.
        if let Some((_, reason)) = line.split_once(": open failed: ") {
            let at =
                lines[..index].iter().rev().find_map(|line| line.split_once("channel_connect_stdio_fwd: "));
            let at = at.map_or(target.address.as_str(), |(_, at)| at);
            return match reason.strip_prefix("connect failed") {
                Some(reason) => unreachable(connect(at, reason.trim_start_matches(": "))),
                None => Error::ForwardingForbidden { host, at: destination(&lines[..index], target) },
            };
        }
    }
    let at = || destination(&lines, target);
    for (_, line) in said() {
        if line.contains("timed out during banner exchange") {
            return unreachable(Cause::Silent { at: at() });
        }
        if line.starts_with("kex_exchange_identification: ") {
            return unreachable(Cause::Dropped { at: at() });
        }
        if line.ends_with(" timed out") {
            return unreachable(Cause::NoAnswer { at: at() });
        }
    }
    unreachable(Cause::Other(last(log).unwrap_or_else(|| "ssh ended without a word".to_owned())))
}

/// Why an ssh was still not connected when its time was over.
pub(super) fn unfinished(target: &Target, log: &str) -> Cause {
    let lines: Vec<&str> = log.lines().map(str::trim_end).collect();
    let at = destination(&lines, target);
    let connected = lines
        .iter()
        .any(|line| line.contains("Connection established") || line.contains("Local version string"));
    if connected { Cause::Silent { at } } else { Cause::NoAnswer { at } }
}

/// The last line that is not about details: what ssh said when a connection ended.
pub(super) fn last(log: &str) -> Option<String> {
    log.lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !is_debug(line) && !is_banal(line))
        .map(str::to_owned)
}

/// Whether sshd refused to open a forwarded port, as opposed to nothing listening there.
pub(super) fn forbids_forwarding(log: &str) -> bool {
    let refusal = |line: &str| {
        line.split_once(": open failed: ").is_some_and(|(_, why)| !why.starts_with("connect failed"))
    };
    log.lines().any(|line| refusal(line.trim_end()))
}

fn is_debug(line: &str) -> bool {
    line.starts_with("debug") || line.starts_with("OpenSSH_")
}

/// Written at the end of every connection, good or bad.
fn is_banal(line: &str) -> bool {
    ["Transferred: ", "Bytes per second: ", "Authenticated to ", "Warning: Permanently added "]
        .iter()
        .any(|start| line.starts_with(start))
}

fn connect(at: &str, reason: &str) -> Cause {
    let at = at.replace(" port ", ":");
    match reason {
        "Connection refused" => Cause::Refused { at },
        "Connection timed out" | "Operation timed out" => Cause::NoAnswer { at },
        reason => Cause::NoRoute { at, reason: reason.to_owned() },
    }
}

fn denial(target: &Target, before: &[&str], methods: &str) -> Error {
    let start = before.iter().rposition(|line| line.contains("Authenticating to ")).unwrap_or(0);
    let place = before
        .get(start)
        .and_then(|line| line.split_once("Authenticating to "))
        .and_then(|(_, rest)| rest.split_once(" as '"));
    let (at, user) =
        place.unwrap_or((target.address.as_str(), target.settings.user.as_deref().unwrap_or("?")));
    let keys = before[start..].iter().filter_map(|line| {
        let (_, key) =
            line.split_once("Offering public key: ").or_else(|| line.split_once("Trying private key: "))?;
        // PATH TYPE FINGERPRINT [agent|explicit]; the path alone is what people know.
        Some(key.split(" ED25519").next()?.split(" RSA").next()?.split(" ECDSA").next()?.to_owned())
    });
    let unusable = before.iter().filter_map(|line| {
        line.strip_prefix("no such identity: ").or_else(|| line.strip_prefix("Load key "))
    });
    Error::AuthenticationDenied {
        host: target.host.clone(),
        at: at.to_owned(),
        user: user.trim_end_matches('\'').to_owned(),
        methods: methods.to_owned(),
        keys: keys.chain(unusable.map(str::to_owned)).collect(),
    }
}

/// The address ssh tried last, with its port if ssh names it.
fn destination(lines: &[&str], target: &Target) -> String {
    let authenticating = |line: &str| {
        let (_, rest) = line.split_once("Authenticating to ")?;
        Some(rest.split_once(" as ")?.0.to_owned())
    };
    let connecting = |line: &str| {
        let (_, rest) = line.split_once("debug1: Connecting to ")?;
        let (name, port) = rest.trim_end_matches('.').split_once(" port ")?;
        Some(format!("{}:{port}", name.split(' ').next()?))
    };
    let found = lines.iter().rev().find_map(|line| authenticating(line).or_else(|| connecting(line)));
    found.unwrap_or_else(|| target.address.clone())
}

fn fingerprint(before: &[&str]) -> Option<String> {
    before.iter().rev().find_map(|line| line.split_once("Server host key: ")).map(|(_, key)| key.to_owned())
}

fn between<'a>(line: &'a str, before: &str, after: &str) -> Option<&'a str> {
    line.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::SshSettings;
    use crate::model::HostName;
    use indoc::indoc;

    /// The error for a log whose debug lines have lost their prefix here, for the sake of this table.
    fn explained(log: &str) -> String {
        let settings = SshSettings { user: Some("ada".into()), ..Default::default() };
        let target =
            Target { host: HostName::parse("node-1").unwrap(), address: "10.0.0.1".into(), settings };
        let log = log.replace("D ", "debug1: ").replace('\n', "\r\n");
        explain(&target, &log).to_string()
    }

    #[test]
    fn each_way_to_fail_has_its_error() {
        let table = [
            (
                "ssh: connect to host 10.0.0.1 port 22: Connection refused\n",
                "cannot be reached: 10.0.0.1:22 refuses the connection",
            ),
            (
                "ssh: connect to host 10.0.0.1 port 22: Connection timed out\n",
                "cannot be reached: 10.0.0.1:22 does not answer",
            ),
            (
                "ssh: connect to host 10.0.0.1 port 22: No route to host\n",
                "cannot be reached: no way to 10.0.0.1:22: No route to host",
            ),
            (
                "ssh: Could not resolve hostname web: Name or service not known\n",
                "cannot be reached: the name `web` does not resolve: Name or service not known",
            ),
            (
                indoc! {"
                    D Connecting to web [10.0.0.1] port 22.
                    kex_exchange_identification: read: Connection reset by peer
                    Connection reset by 10.0.0.1 port 22
                "},
                "cannot be reached: web:22 closes the connection before it says anything",
            ),
            (
                "D Connecting to 10.0.0.1 [10.0.0.1] port 22.\nConnection timed out during banner exchange\n\
                 Connection to 10.0.0.1 port 22 timed out\n",
                "cannot be reached: 10.0.0.1:22 accepts the connection and then says nothing",
            ),
            (
                "Unable to negotiate with 10.0.0.1 port 22: no matching host key type found. Their offer: ssh-rsa\n",
                "cannot be reached: Unable to negotiate with 10.0.0.1 port 22: no matching host key type found. Their offer: ssh-rsa",
            ),
            (
                "D Server host key: ssh-ed25519 SHA256:abc\nNo ED25519 host key is known for 10.0.0.1 and you have requested \
                 strict checking.\nHost key verification failed.\n",
                "the host key of 10.0.0.1 is not known (ssh-ed25519 SHA256:abc)",
            ),
            (
                "D Server host key: ssh-ed25519 SHA256:abc\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n\
                 Offending RSA key in /home/ada/.ssh/known_hosts:7\nHost key for [10.0.0.1]:2222 has changed and you have \
                 requested strict checking.\nHost key verification failed.\n",
                "the host key of [10.0.0.1]:2222 has changed, against /home/ada/.ssh/known_hosts:7",
            ),
            (
                "D Authenticating to 10.0.0.1:22 as 'ada'\nno such identity: /lab/key: No such file or directory\n\
                 D Offering public key: /home/ada/.ssh/id_rsa RSA SHA256:abc agent\nada@10.0.0.1: Permission denied (publickey).\n",
                "10.0.0.1:22 does not let `ada` in (publickey); tried /home/ada/.ssh/id_rsa, /lab/key: No such file or directory",
            ),
            (
                "D Authenticating to 10.0.0.1:22 as 'ada'\nReceived disconnect from 10.0.0.1 port 22:2: Too many authentication \
                 failures\nDisconnected from 10.0.0.1 port 22\n",
                "10.0.0.1:22 does not let `ada` in (too many keys were offered); no key was offered",
            ),
            (
                indoc! {"
                    D Authenticating to bastion:22 as 'ada'
                    D channel_connect_stdio_fwd: 10.0.0.1:22
                    channel 0: open failed: connect failed: Connection refused
                    stdio forwarding failed
                    kex_exchange_identification: Connection closed by remote host
                    Connection closed by UNKNOWN port 65535
                "},
                "cannot be reached: 10.0.0.1:22 refuses the connection",
            ),
            (
                "D Authenticating to bastion:22 as 'ada'\nD channel_connect_stdio_fwd: 10.0.0.1:22\nchannel 0: open failed: \
                 administratively prohibited: open failed\nstdio forwarding failed\n",
                "sshd at bastion:22 forbids forwarding",
            ),
            ("", "cannot be reached: ssh ended without a word"),
        ];
        for (log, expected) in table {
            assert_eq!(explained(log), expected, "{log}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let target = Target {
            host: HostName::parse("node-1").unwrap(),
            address: "x".into(),
            settings: SshSettings::default(),
        };
        let may_pass = |log: &str| explain(&target, log).may_pass();
        assert!(may_pass("ssh: connect to host x port 22: Connection refused\n"));
        assert!(may_pass("kex_exchange_identification: Connection closed by remote host\n"));
        assert!(may_pass("ssh: Could not resolve hostname x: Temporary failure in name resolution\n"));
        assert!(!may_pass("ssh: Could not resolve hostname x: Name or service not known\n"));
        assert!(!may_pass("a@x: Permission denied (publickey).\n"));
        assert!(!may_pass("No RSA host key is known for x and you have requested strict checking.\n"));
    }

    #[test]
    fn last_words_are_not_details() {
        let log = "debug1: channel 1: free\r\nConnection to 10.0.0.1 closed by remote host.\r\nTransferred: sent 1\r\ndebug1: Exit status -1\r\n";
        assert_eq!(last(log).as_deref(), Some("Connection to 10.0.0.1 closed by remote host."));
        assert_eq!(last("debug1: x\r\n"), None);
    }
}
