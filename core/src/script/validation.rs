//! Steps that write files which one program reads together -> calls that have it try all of them at once.
//!
//! To start such a program may take longer than all else that a step does.

use std::collections::BTreeMap;

use crate::model::{Arg, Call};

/// The arguments of `file_write` before those of the validator.
const PATH: usize = 0;
const WANTED: usize = 5;
const BODY: usize = 6;
const VALIDATOR: usize = 7;

/// A step that writes a file and has a program try it: `PROGRAM WORD... FILE... %s`.
struct Tried<'a> {
    /// Path, digest and body.
    file: [&'a Arg; 3],
    /// The program, and what is said to it before the first file.
    program: Vec<&'a str>,
    /// What it reads beside the new file.
    beside: Vec<&'a str>,
}

impl<'a> Tried<'a> {
    /// `None`: it is no such step.
    fn new(calls: &'a [Call]) -> Option<Self> {
        let args = calls.iter().find_map(|call| call.arguments_of("file_write"))?;
        let words: Vec<&str> = args.get(VALIDATOR..)?.iter().map(Arg::as_str).collect();
        let is_file = |word: &&str| *word == "%s" || word.starts_with('/');
        let first = words.iter().skip(1).position(is_file)? + 1;
        let (program, files) = words.split_at(first);
        let is_once = files.iter().filter(|word| **word == "%s").count() == 1;
        let beside: Vec<&str> = files.iter().copied().filter(|word| *word != "%s").collect();
        (is_once && files.iter().all(is_file)).then(|| Self {
            file: [PATH, WANTED, BODY].map(|index| &args[index]),
            program: program.to_vec(),
            beside,
        })
    }

    fn path(&self) -> &'a str {
        let [path, ..] = self.file;
        path.as_str()
    }

    fn name(&self) -> &'a str {
        self.path().rsplit('/').next().unwrap_or_default()
    }
}

/// The calls, each by the number of the step before which it comes. The steps of one follow one another, and one of them names another
/// file beside its own: so its program is known to read several.
pub(super) fn together(steps: &[(String, Vec<Call>)]) -> BTreeMap<usize, Call> {
    let tried: Vec<Option<Tried<'_>>> = steps.iter().map(|(_, calls)| Tried::new(calls)).collect();
    let mut calls = BTreeMap::new();
    let mut start = 0;
    let is_of_one = |one: &Option<Tried<'_>>, other: &Option<Tried<'_>>| match (one, other) {
        (Some(one), Some(other)) => one.program == other.program,
        (None, None) => true,
        _ => false,
    };
    for group in tried.chunk_by(is_of_one) {
        let files: Vec<&Tried<'_>> = group.iter().flatten().collect();
        if files.len() > 1
            && files.iter().any(|file| !file.beside.is_empty())
            && have_names_of_their_own(&files)
        {
            calls.insert(start, call(&files));
        }
        start += group.len();
    }
    calls
}

fn have_names_of_their_own(files: &[&Tried<'_>]) -> bool {
    let mut names: Vec<&str> = files.iter().map(|file| file.name()).collect();
    names.sort_unstable();
    names.windows(2).all(|pair| pair[0] != pair[1])
}

fn call(files: &[&Tried<'_>]) -> Call {
    let is_written = |path: &&str| files.iter().any(|file| file.path() == *path);
    let mut words = files[0].program.clone();
    for path in files.iter().flat_map(|file| &file.beside).filter(|path| !is_written(path)) {
        if !words.contains(path) {
            words.push(path);
        }
    }
    let count = Arg::lossy(&words.len().to_string());
    let words = words.into_iter().map(Arg::lossy);
    let files = files.iter().flat_map(|file| file.file.map(Clone::clone));
    Call::new("validate_together", [count].into_iter().chain(words).chain(files))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &str, validator: &[&str]) -> (String, Vec<Call>) {
        let args = [path, "0640", "root", "root", "absent", "00ff", "Ym9keQ=="].into_iter();
        let call = Call::new("file_write", args.chain(validator.iter().copied()).map(Arg::lossy));
        (format!("file {path}"), vec![call.made_by("removable", [Arg::lossy("entry")])])
    }

    fn lines(steps: &[(String, Vec<Call>)]) -> Vec<(usize, String)> {
        together(steps).into_iter().map(|(before, call)| (before, call.for_host())).collect()
    }

    #[test]
    fn files_that_one_program_reads_are_tried_by_one_call() {
        let other = ("unit a".to_owned(), vec![Call::new("unit_start", [])]);
        let first = write("/etc/a/a.json", &["agent", "validate", "-json", "%s"]);
        let beside = |path| write(path, &["agent", "validate", "-json", "/etc/a/a.json", "%s"]);
        let told = lines(&[
            other.clone(),
            first.clone(),
            beside("/etc/a/b.json"),
            beside("/etc/a/c.json"),
            other.clone(),
        ]);
        let (file, body) =
            (|name| format!("'/etc/a/{name}.json' '00ff' 'Ym9keQ=='"), "'agent' 'validate' '-json'");
        let call = format!("validate_together '3' {body} {} {} {}", file("a"), file("b"), file("c"));
        assert_eq!(told, [(1, call)]);
        // The first one stays as it is on the host.
        let told = lines(&[beside("/etc/a/b.json"), beside("/etc/a/c.json")]);
        let call = format!("validate_together '4' {body} '/etc/a/a.json' {} {}", file("b"), file("c"));
        assert_eq!(told, [(0, call)]);
    }

    #[test]
    fn programs_that_may_read_one_file_alone_are_left_alone() {
        let alone = |path| write(path, &["visudo", "-cf", "%s"]);
        assert_eq!(lines(&[alone("/etc/sudoers.d/a"), alone("/etc/sudoers.d/b")]), []);
        let one = write("/etc/a/b.json", &["agent", "/etc/a/a.json", "%s"]);
        assert_eq!(lines(&[one.clone(), write("/etc/a/c", &[])]), []);
        // Each would be in the place of the other.
        assert_eq!(lines(&[one.clone(), write("/etc/c/b.json", &["agent", "/etc/a/a.json", "%s"])]), []);
        // A word after the files may be of any kind.
        assert_eq!(lines(&[one, write("/etc/a/c.json", &["agent", "/etc/a/a.json", "%s", "strict"])]), []);
    }
}
