//! Folders with a `role.yaml` -> [`RoleSet`].

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::Path;

use rust_embed::RustEmbed;

use super::folder::{Files, Folder};
use super::parse::{cross_check, parse, unknown_variables};
use super::{Role, RoleSet};
use crate::inventory::node::Document;
use crate::inventory::yaml;
use crate::model::{Diagnostic, diagnostic};

/// The roles that come with the program.
#[derive(RustEmbed)]
#[folder = "../roles/"]
struct Embedded;

impl RoleSet {
    /// The embedded roles. A mistake in one of them is one of this program, found by its tests.
    pub fn embedded() -> Result<Self, Vec<Diagnostic>> {
        Self::load(None)
    }

    /// The embedded roles, with those of `dir` added or in place of their namesakes; so with the files of `lib`.
    pub fn load(dir: Option<&Path>) -> Result<Self, Vec<Diagnostic>> {
        let mut folders = embedded();
        let mut library = folders.remove(LIBRARY).map(|folder| folder.files).unwrap_or_default();
        if let Some(dir) = dir {
            for folder in read_dir(dir).map_err(|problem| vec![*problem])? {
                match folder.name.as_str() {
                    LIBRARY => library.extend(folder.files),
                    _ => drop(folders.insert(folder.name.clone(), folder)),
                }
            }
        }
        from_folders(folders.into_values(), library)
    }

    /// The same without what it was read from, which is as large as all the rest: for when no line of it will be shown any more.
    pub fn without_documents(self) -> Self {
        Self { documents: indexmap::IndexMap::new(), ..self }
    }

    /// Only the roles of `dir`.
    pub fn from_dir(dir: &Path) -> Result<Self, Vec<Diagnostic>> {
        let mut folders = read_dir(dir).map_err(|problem| vec![*problem])?;
        let library =
            folders.extract_if(.., |folder| folder.name == LIBRARY).flat_map(|folder| folder.files).collect();
        from_folders(folders, library)
    }
}

/// The folder beside the roles whose files their templates include.
const LIBRARY: &str = "lib";

fn embedded() -> BTreeMap<String, Folder> {
    let mut folders = BTreeMap::new();
    for path in Embedded::iter() {
        let (Some((name, rest)), Some(file)) = (path.split_once('/'), Embedded::get(&path)) else { continue };
        let folder = folders.entry(name.to_owned()).or_insert_with(|| Folder {
            name: name.to_owned(),
            path: Path::new("roles").join(name),
            files: Files::new(),
        });
        folder.files.insert(rest.to_owned(), file.data);
    }
    folders
}

/// Every folder directly under `dir`; hidden ones and plain files are no roles.
fn read_dir(dir: &Path) -> Result<Vec<Folder>, Box<Diagnostic>> {
    let failed = |path: &Path, error: &std::io::Error| {
        let problem =
            Diagnostic::error(format!("the roles folder {} cannot be read: {error}", path.display()));
        Box::new(problem.help("`--roles` takes a folder with one folder for each role: NAME/role.yaml"))
    };
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| failed(dir, &error))? {
        let path = entry.map_err(|error| failed(dir, &error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !path.is_dir() || name.starts_with('.') {
            continue;
        }
        let mut files = Files::new();
        for prefix in ["", "templates"] {
            let inner = path.join(prefix);
            if !prefix.is_empty() && !inner.is_dir() {
                continue;
            }
            for file in std::fs::read_dir(&inner).map_err(|error| failed(&inner, &error))? {
                let file = file.map_err(|error| failed(&inner, &error))?.path();
                if file.is_file() {
                    let bytes = std::fs::read(&file).map_err(|error| failed(&file, &error))?;
                    let relative = file.strip_prefix(&path).unwrap_or(&file).to_string_lossy().into_owned();
                    files.insert(relative, bytes.into());
                }
            }
        }
        folders.push(Folder { name, path, files });
    }
    folders.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(folders)
}

/// Roles, and what is wrong with others.
type Parsed = (Vec<(Role, Document)>, Vec<Diagnostic>);

/// Roles in their order, by several threads at once: to read them is most of what a run does before it connects.
fn parsed(folders: &[Folder], library: &BTreeMap<String, String>) -> Vec<Parsed> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let share = |folders: &[Folder]| {
        let mut problems = Vec::new();
        let roles = folders.iter().filter_map(|folder| parse(folder, library, &mut problems)).collect();
        (roles, problems)
    };
    let mut shares = folders.chunks(folders.len().div_ceil(threads).max(1));
    let own = shares.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let others: Vec<_> = shares.map(|folders| scope.spawn(move || share(folders))).collect();
        let own = share(own);
        let others =
            others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        std::iter::once(own).chain(others).collect()
    })
}

/// More of them cost more than they save.
const MOST_THREADS: usize = 4;

fn from_folders(
    folders: impl IntoIterator<Item = Folder>,
    library: Files,
) -> Result<RoleSet, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut written = Vec::new();
    let mut texts = BTreeMap::new();
    for (name, bytes) in library {
        match yaml::text(bytes.into_owned(), &Path::new("roles").join(LIBRARY).join(&name)) {
            Ok(text) => drop(texts.insert(name, text)),
            Err(problem) => problems.push(*problem),
        }
    }
    let folders: Vec<Folder> = folders.into_iter().collect();
    for (roles, found) in parsed(&folders, &texts) {
        // What names a role that is wrong itself would only be noise.
        written.extend(roles);
        problems.extend(found);
    }
    if problems.is_empty() {
        cross_check(&written, &mut problems);
    }
    diagnostic::sort(&mut problems);
    if problems.is_empty() {
        let mut set = RoleSet::default();
        for (role, document) in written {
            set.documents.insert(role.name.clone(), document);
            set.roles.insert(role.name.clone(), role);
        }
        let problems = unknown_variables(&set);
        if problems.is_empty() { Ok(set) } else { Err(problems) }
    } else {
        Err(problems)
    }
}
