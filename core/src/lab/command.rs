//! Running the machine's own programs, with errors that show what they said.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use super::Error;

/// Where programs are looked for: a root shell made by `su` may lack the system's own folders.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Lines of a failed program's output that an error keeps.
const TAIL_LINES: usize = 15;

/// A command that finds the system's programs whatever the caller's own search path is.
pub fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).env("PATH", SEARCH_PATH).stdin(Stdio::null());
    command
}

/// Runs `program` with `args`; its standard output.
pub fn run(program: &str, args: &[&str]) -> Result<String, Error> {
    finish(&mut command(program, args))
}

/// Runs `program` with `input` on its standard input.
pub fn run_with_input(program: &str, args: &[&str], input: &str) -> Result<String, Error> {
    let mut command = command(program, args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| Error::Start { program: program.to_owned(), source })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read all of it says why by its status.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output =
        child.wait_with_output().map_err(|source| Error::Start { program: program.to_owned(), source })?;
    check(&command, output)
}

/// Whether it ran and ended well; for questions whose answer may be no.
pub fn succeeds(program: &str, args: &[&str]) -> bool {
    command(program, args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a prepared command to its end; its standard output.
pub fn finish(command: &mut Command) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|source| Error::Start { program, source })?;
    check(command, output)
}

fn check(command: &Command, output: Output) -> Result<String, Error> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    Err(Error::Command { command: words.join(" "), status: output.status.to_string(), output: tail(&said) })
}

/// The last lines of `text`.
pub fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// The last lines of the file, without colours; empty if there is none.
pub fn file_tail(path: &std::path::Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).replace('\r', "");
    tail(&console::strip_ansi_codes(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_ran_and_what_it_said() {
        let error = run("sh", &["-c", "echo out; echo err >&2; exit 3"]).unwrap_err().to_string();
        assert!(error.contains("sh -c") && error.contains("exit status: 3"), "{error}");
        assert!(error.contains("\n    out\n    err"), "{error}");
        let error = run("no-such-program", &[]).unwrap_err().to_string();
        assert!(error.contains("no-such-program") && error.contains("installed"), "{error}");
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(run_with_input("cat", &[], "a\nb").unwrap(), "a\nb");
    }

    #[test]
    fn a_console_is_shown_without_colours() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines: String = (0..40).map(|n| format!("\x1b[0;1;31mline {n}\x1b[0m\r\r\n\r\n")).collect();
        std::fs::write(file.path(), lines).unwrap();
        let tail = file_tail(file.path());
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.starts_with("line 25\n") && tail.ends_with("line 39"), "{tail:?}");
    }
}
