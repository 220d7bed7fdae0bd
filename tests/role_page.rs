//! The example of docs/writing-a-role.md, as a reader would type it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The text between the fences after the line that names a file.
fn block<'p>(page: &'p str, after: &str) -> &'p str {
    let (_, rest) = page.split_once(after).unwrap_or_else(|| panic!("`{after}` is not in the page"));
    let (_, rest) = rest.split_once("```").unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    rest.split_once("```").unwrap().0
}

/// Writes the page's files below a folder.
fn typed(folder: &Path) -> PathBuf {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/writing-a-role.md")).unwrap();
    for file in ["roles/node-figures/role.yaml", "roles/node-figures/templates/options"] {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, block(&page, &format!("`{file}`\n"))).unwrap();
    }
    let inventory = folder.join("inventory.yaml");
    fs::write(&inventory, block(&page, "like any other role:\n")).unwrap();
    inventory
}

fn bootstrap(folder: &Path, words: &[&str]) -> (i32, String) {
    let mut call = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
    let output = call.current_dir(folder).env("NO_COLOR", "1").args(words).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_role_of_the_page_is_correct() {
    let folder = tempfile::tempdir().unwrap();
    typed(folder.path());
    let (status, said) = bootstrap(folder.path(), &["check", "inventory.yaml", "--roles", "roles"]);
    assert_eq!((status, said.as_str()), (0, "1 host, 1 role: ok\n"));
    let (status, said) = bootstrap(folder.path(), &["roles", "node-figures", "--roles", "roles"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("figures.without"), "{said}");
    // What it says of types is checked against what it was given.
    let inventory = folder.path().join("inventory.yaml");
    let text = fs::read_to_string(&inventory).unwrap().replace("port: 9101", "port: 70000");
    fs::write(&inventory, text).unwrap();
    let (status, said) = bootstrap(folder.path(), &["check", "inventory.yaml", "--roles", "roles"]);
    assert_eq!(status, 2, "{said}");
    assert!(said.contains("70000"), "{said}");
}
