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
