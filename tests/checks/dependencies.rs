//! The audit of dependencies that needs no network: where every crate comes from, and under which
//! licence. Advisories are looked up by `cargo audit` where that is at hand.

use std::process::Command;

use serde_json::Value;

/// Licences that ask for no more than their notice.
const PERMISSIVE: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether an SPDX expression can be met by permissive licences alone. Parentheses only group here;
/// no crate in use nests `OR` below `AND` in a way that this reads wrongly to the strict side.
fn is_permissive(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let known = |term: &str| {
        let name = term.trim().split(" WITH ").next().unwrap_or_default().trim();
        PERMISSIVE.contains(&name)
    };
    let all = |part: &str| part.split(" AND ").all(|term| term.split(" OR ").any(known));
    // `A OR B AND C`: either reading is met when every part that `AND` joins has a permissive choice.
    flat.split(" OR ").any(all) || all(&flat)
}

#[test]
fn the_licence_reader_itself() {
    for good in [
        "MIT",
        "MIT OR Apache-2.0",
        "MIT/Apache-2.0",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "GPL-3.0 OR MIT",
    ] {
        assert!(is_permissive(good), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0-only", "", "MPL-2.0"] {
        assert!(!is_permissive(bad), "{bad}");
    }
}

#[test]
fn every_dependency_is_from_the_registry_and_permissive() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--offline",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut wrong = Vec::new();
    for package in
        metadata["packages"].as_array().unwrap().iter().filter(|package| package["name"] != "bootstrap")
    {
        let name = format!("{} {}", package["name"].as_str().unwrap(), package["version"].as_str().unwrap());
        let source = package["source"].as_str().unwrap_or("a folder");
        if !source.starts_with("registry+") {
            wrong.push(format!("{name} comes from {source}"));
        }
        let licence = package["license"].as_str().unwrap_or_default();
        if !is_permissive(licence) {
            wrong.push(format!("{name} has the licence `{licence}`"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
