//! Which key exchange to propose first: most of the time of a cold connection goes there.

use std::process::Stdio;

use tokio::process::Command;
use tokio::sync::OnceCell;

use super::{Error, Target};

/// Post-quantum like the default of OpenSSH 9.0 to 9.9, sntrup761, at a fraction of its cost; since
/// OpenSSH 10 the default itself.
const PREFERRED: &str = "mlkem768x25519-sha256";

/// What this machine's ssh knows; it does not change while we run.
static KNOWN: OnceCell<Vec<String>> = OnceCell::const_new();

/// The algorithms to propose before ssh's own list. ssh refuses a whole list for one name that it does
/// not know, so only known ones are in it.
pub(super) async fn first(target: &Target) -> Result<Vec<String>, Error> {
    let known = KNOWN.get_or_init(ask).await;
    choose(&target.settings.kex, known).ok_or_else(|| Error::Setting {
        host: target.host.clone(),
        what: "kex",
        value: target.settings.kex.join(","),
        reason: "this machine's ssh knows none of them; `ssh -Q kex` lists those it knows",
    })
}

/// `None`: all that is wished for is unknown.
fn choose(wished: &[String], known: &[String]) -> Option<Vec<String>> {
    let mut chosen: Vec<String> = Vec::new();
    for name in wished.iter().filter(|name| known.contains(name)) {
        if !chosen.contains(name) {
            chosen.push(name.clone());
        }
    }
    if wished.is_empty() {
        chosen.extend(known.iter().find(|name| *name == PREFERRED).cloned());
    }
    (wished.is_empty() || !chosen.is_empty()).then_some(chosen)
}

/// Nothing where ssh is missing: connecting says so.
async fn ask() -> Vec<String> {
    let mut ssh = Command::new("ssh");
    let said = ssh.args(["-Q", "kex"]).stdin(Stdio::null()).stderr(Stdio::null()).output().await;
    let said = said.map(|said| said.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said).lines().map(|line| line.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_unknown_is_ever_proposed() {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let old = list(&["curve25519-sha256", "ecdh-sha2-nistp256"]);
        let new = list(&["curve25519-sha256", PREFERRED]);
        assert_eq!(choose(&[], &old), Some(list(&[])));
        assert_eq!(choose(&[], &new), Some(list(&[PREFERRED])));
        assert_eq!(
            choose(&list(&[PREFERRED, "curve25519-sha256", "curve25519-sha256"]), &old),
            Some(list(&["curve25519-sha256"]))
        );
        assert_eq!(choose(&list(&["curve25519-sha256"]), &new), Some(list(&["curve25519-sha256"])));
        assert_eq!(choose(&list(&["curve25519"]), &new), None);
    }
}
