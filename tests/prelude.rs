//! prelude.sh under every shell that a host may have, for real, in a temporary folder.

mod shells;

use std::process::Command;

use bootstrap::facts::Facts;
use bootstrap::script::{Nonce, Observation, Script};
use shells::{Host, have, shells};

#[test]
fn shellcheck_finds_nothing() {
    if !have("shellcheck") {
        return;
    }
    let prelude = concat!(env!("CARGO_MANIFEST_DIR"), "/src/script/prelude.sh");
    let output = Command::new("shellcheck").args(["-s", "sh", prelude]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn this_machine_says_its_facts() {
    for shell in shells() {
        let records = Host::new().run(shell, &Script::observe(&Nonce::random(), &[]));
        let facts = Facts::parse(&Observation::new(&records).of("facts")).unwrap();
        assert_eq!(facts.arch, std::env::consts::ARCH);
        assert!(
            facts.addresses.iter().any(|(interface, address)| interface == "lo" && address.is_loopback())
        );
        assert!(facts.epoch > 1_700_000_000, "{facts:?}");
        assert!(facts.disk_free_kib["/"] > 0, "{facts:?}");
    }
}
