//! What docs/installing.md has people install: completions that the shells take, and manual pages.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::shells::have;
use bootstrap::cli::Cli;
use clap::CommandFactory;

fn bootstrap(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bootstrap")).args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a program prints; anything on stderr fails the test.
fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{program} {words:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// The completion script of a shell, in a file.
fn script(folder: &Path, shell: &str) -> String {
    let file = folder.join(shell);
    fs::write(&file, bootstrap(&["completions", shell])).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn bash_completes_commands_and_templates() {
    if !have("bash") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = script(folder.path(), "bash");
    let complete = |words: &str, current: &str| {
        let code = format!(
            ". '{file}'; COMP_WORDS=({words} '{current}'); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _bootstrap bootstrap '{current}' \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        said("bash", &["-c", &code]).trim().to_owned()
    };
    assert_eq!(complete("bootstrap", "u"), "up ui");
    assert_eq!(complete("bootstrap lab", "pa"), "partition");
    assert_eq!(
        complete("bootstrap init --template", "consul-n"),
        "consul-names-on-port-53 consul-nomad-docker consul-nomad-fabio"
    );
}

#[test]
fn fish_and_zsh_take_theirs() {
    let folder = tempfile::tempdir().unwrap();
    if have("fish") {
        let file = script(folder.path(), "fish");
        let asked = format!("source '{file}'; complete -C 'bootstrap rep'");
        let answer = said("fish", &["--no-config", "-c", &asked]);
        assert!(answer.starts_with("replace-node\t"), "{answer}");
    }
    if have("zsh") {
        let file = script(folder.path(), "zsh");
        said("zsh", &["-n", &file]);
        assert!(fs::read_to_string(file).unwrap().starts_with("#compdef bootstrap\n"));
    }
}

#[test]
fn man_finds_a_page_for_every_command() {
    if !have("man") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let man1 = folder.path().join("man1");
    bootstrap(&["man", man1.to_str().unwrap()]);
    let root = folder.path().to_str().unwrap();
    for command in Cli::command().get_subcommands() {
        let name = format!("bootstrap-{}", command.get_name());
        let found = said("man", &["-M", root, "-w", &name]);
        assert_eq!(found.trim(), man1.join(format!("{name}.1")).to_str().unwrap());
    }
    let page = man1.join("bootstrap-lab-up.1");
    let text = said("man", &["--warnings", "-l", "-P", "cat", page.to_str().unwrap()]);
    assert!(text.contains("--hosts") && text.contains("bootstrap lab up --hosts 5"), "{text}");
    assert!(!man1.join("bootstrap-lab-relay.1").exists(), "what is hidden has no page");
}
