//! Inventories in, inventories or messages out. Every mistake an operator can make is a file in
//! tests/cases/inventory with the message it gets beside it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bootstrap::inventory::{Become, HostKeys, Inventory};
use bootstrap::report::Diagnostic;
use bootstrap::roles::{self, RoleSet};
use serde_json::json;

const CASES: &str = "tests/cases/inventory";

fn small_roles() -> RoleSet {
    RoleSet::from_dir(Path::new("tests/cases/roles")).unwrap_or_else(|problems| panic!("{}", text(&problems)))
}

fn text(problems: &[Diagnostic]) -> String {
    problems.iter().map(|problem| problem.render(false)).collect::<Vec<_>>().join("\n")
}

fn load(path: &Path, roles: &RoleSet) -> Result<(Inventory, Vec<Diagnostic>), Vec<Diagnostic>> {
    roles::load_inventory(path, roles, Some(Path::new("/home/operator")))
}

fn files(folder: &str, extension: &str) -> BTreeSet<PathBuf> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

#[test]
fn every_mistake_has_its_message() {
    let roles = small_roles();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("cases/inventory");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for path in files(CASES, "yaml") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let found = match load(&path, &roles) {
                Ok((_, warnings)) => format!("accepted\n\n{}", text(&warnings)),
                Err(problems) => text(&problems),
            };
            insta::assert_snapshot!(name, found);
        }
    });
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_owned();
    let cases: BTreeSet<_> = files(CASES, "yaml").iter().map(stem).collect();
    let snapshots: BTreeSet<_> = files(CASES, "snap").iter().map(stem).collect();
    assert_eq!(cases, snapshots, "a snapshot without its case, or the other way round");
}

#[test]
fn the_inventories_that_come_with_the_program_are_correct() {
    let roles = RoleSet::embedded().unwrap_or_else(|problems| panic!("{}", text(&problems)));
    let files = files("inventories", "yaml");
    assert!(files.len() >= 3, "{files:?}");
    for path in files {
        let (inventory, warnings) =
            load(&path, &roles).unwrap_or_else(|problems| panic!("{}", text(&problems)));
        assert_eq!(text(&warnings), "", "{}", path.display());
        assert!(inventory.hosts.len() >= 3, "{}", path.display());
    }
}
