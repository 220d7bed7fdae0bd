//! One remote command: writes its input while reading its output, and answers sudo.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use openssh::{ChildStderr, ChildStdin, ChildStdout, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::sudo::{PROMPT, Program, READY, SHELL, Trial, command};
use super::{BecomePassword, Connection, Error};
use crate::model::quoted;
use crate::script::{Parser, Record, Script};

/// How long to wait for the end of what has already said its last word.
const GRACE: Duration = Duration::from_secs(2);

/// How long a connection of an earlier command may take to open a session: a dead one is noticed, and
/// half a second of distance is no death.
const OLD_LINK_PATIENCE: Duration = Duration::from_secs(3);

/// How long sudo may think before it is called stuck: PAM modules ask networks.
const SUDO_PATIENCE: Duration = Duration::from_secs(60);

/// How a remote command ended.
#[derive(Debug)]
pub(super) struct CommandResult {
    /// Absent when the link broke or a signal ended the command.
    pub status: Option<i32>,
    /// The last lines it wrote to stderr.
    pub stderr: String,
    /// Whether `on_line` had heard all it wanted.
    pub complete: bool,
}

/// What the readers tell the writer about sudo.
enum Sign {
    Prompt,
    Ready,
}

/// How long a script may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// Until it says the first word: a shell that hangs never does. `None`: that is work already.
    pub first: Option<Duration>,
    pub whole: Duration,
}

impl From<Duration> for Deadline {
    fn from(whole: Duration) -> Self {
        Self { first: None, whole }
    }
}

impl Connection {
    /// Runs a script with root's rights as the settings' `become` says: one session. `on_record` hears
    /// what it says as it says it. Without its end record there is no answer, only an error.
    ///
    /// A script that has run out of time is no longer heard, but nobody stops it on the host: it holds
    /// its lock and, with `MaxSessions 1`, the only session until it ends.
    pub async fn run(
        &self,
        script: &Script,
        deadline: impl Into<Deadline>,
        mut on_record: impl FnMut(&Record),
    ) -> Result<Vec<Record>, Error> {
        let Deadline { first, whole } = deadline.into();
        let _turn = self.turn().await?;
        let text = script.for_host();
        let write = async |mut stdin: openssh::ChildStdin| {
            // When the host stops reading, what it says or does not say tells why.
            let _ = stdin.write_all(text.as_bytes()).await;
            Ok(())
        };
        let mut parser = Parser::new(script.nonce());
        let mut records = Vec::new();
        let mut noise = String::new();
        let is_heard = AtomicBool::new(false);
        let read = |line: &[u8]| {
            let line = String::from_utf8_lossy(line);
            let Some(record) = parser.line(&line) else {
                noise = line.into_owned();
                return ControlFlow::Continue(());
            };
            is_heard.store(true, Ordering::Relaxed);
            on_record(&record);
            let end = record == Record::Finished;
            records.push(record);
            if end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let late = |what, after| Error::TimedOut { host: self.host.clone(), what, after };
        let silence = async {
            let Some(first) = first else { return std::future::pending().await };
            tokio::time::sleep(first).await;
            if is_heard.load(Ordering::Relaxed) { std::future::pending().await } else { first }
        };
        let ended = tokio::select! {
            ended = tokio::time::timeout(whole, converse(self, SHELL, write, read)) => {
                ended.map_err(|_| late("the script", whole))??
            }
            first = silence => return Err(Error::Silent { host: self.host.clone(), after: first }),
        };
        if ended.complete {
            return Ok(records);
        }
        if let (true, Some(error)) = (records.is_empty(), refusal(self, &ended)) {
            return Err(error);
        }
        if ended.status.is_none() && !self.is_alive().await {
            return Err(self.cut().await);
        }
        // A login shell that lets nobody in says so on stdout.
        let last = last_line(if ended.stderr.is_empty() { &noise } else { &ended.stderr }).to_owned();
        Err(Error::ScriptStopped { host: self.host.clone(), status: ended.status, last })
    }
}

impl Connection {
    /// Runs one command with root's rights as the settings' `become` says, with these variables set and nothing to read; `on_line` hears what
    /// it prints. Its exit status, where it has one, and the last that it said on stderr.
    ///
    /// # Errors
    /// The host cannot be reached any more, or nobody may run commands as root there.
    pub async fn execute(
        &self,
        variables: &[(&str, String)],
        words: &[String],
        mut on_line: impl FnMut(&[u8]),
    ) -> Result<(Option<i32>, String), Error> {
        let _turn = self.turn().await?;
        // By its input: no login shell takes it apart, and no list of processes shows a variable.
        let mut script = String::new();
        for (name, value) in variables {
            script += &format!("export {name}={}\n", quoted(value));
        }
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        script += &format!("exec {} </dev/null\n", words.join(" "));
        let write = async |mut stdin: openssh::ChildStdin| {
            // When the host stops reading, what it says or does not say tells why.
            let _ = stdin.write_all(script.as_bytes()).await;
            Ok(())
        };
        let read = |line: &[u8]| {
            on_line(line);
            ControlFlow::Continue(())
        };
        let ended = converse(self, SHELL, write, read).await?;
        match refusal(self, &ended) {
            Some(error) if ended.status.is_some_and(|status| status != 0) => Err(error),
            _ if ended.status.is_none() && !self.is_alive().await => Err(self.cut().await),
            _ => Ok((ended.status, ended.stderr)),
        }
    }
}

/// Runs `program`: `feed` writes its input once it reads it, `on_line` gets its output line by line,
/// without the line end, until it breaks.
pub(super) async fn converse(
    connection: &Connection,
    program: Program,
    feed: impl AsyncFnOnce(ChildStdin) -> Result<(), Error>,
    on_line: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<CommandResult, Error> {
    let (command, asks) = command(&connection.settings, program, connection.password.is_some());
    let mut child = spawn(connection, &command).await?;
    // All three were asked for as pipes.
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin().take(), child.stdout().take(), child.stderr().take())
    else {
        return Err(connection.lost().await);
    };
    let (signs, replies) = mpsc::unbounded_channel();
    let tail = Mutex::new(Vec::new());
    let read = read_lines(stdout, asks.then(|| signs.clone()), on_line);
    let talk = async {
        let write = async {
            let mut stdin = stdin;
            match &connection.password {
                Some(password) if asks => {
                    let gain = gain_rights(connection, password, &mut stdin, replies, &tail);
                    let gained = timeout(SUDO_PATIENCE, gain).await;
                    let what = "sudo's authentication";
                    let stuck =
                        |_| Error::TimedOut { host: connection.host.clone(), what, after: SUDO_PATIENCE };
                    if gained.map_err(stuck)?? { feed(stdin).await } else { Ok(()) }
                }
                _ => feed(stdin).await,
            }
        };
        // A failed writer must not wait for the end of stderr.
        let listen = async {
            read_tail(stderr, asks.then_some(signs), &tail).await;
            Ok(())
        };
        tokio::try_join!(write, listen)
    };
    tokio::pin!(read, talk);
    let complete = tokio::select! {
        complete = &mut read => {
            // A program that has said all may leave children behind that keep stderr open.
            if !complete && let Ok(Err(error)) = timeout(GRACE, talk).await {
                return Err(error);
            }
            complete
        }
        talked = &mut talk => {
            talked?;
            read.await
        }
    };
    let status = match timeout(GRACE, child.wait()).await {
        Ok(Ok(status)) => status.code(),
        // The crate makes an error of the status a shell has for "not found".
        Ok(Err(openssh::Error::Remote(_))) => Some(127),
        Ok(Err(_)) | Err(_) => None,
    };
    let stderr = last_lines(&tail.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(CommandResult { status, stderr, complete })
}

/// Opens a session. Where nobody knows whether the host still answers, a connection that opens none
/// soon is replaced: nothing was sent to the host yet.
async fn spawn<'a>(
    connection: &'a Connection,
    command: &str,
) -> Result<openssh::Child<&'a openssh::Session>, Error> {
    if !connection.is_proven() {
        let started = timeout(OLD_LINK_PATIENCE, start(connection, command)).await;
        if let Ok(Ok(child)) = started {
            connection.prove();
            return Ok(child);
        }
        tracing::debug!(host = %connection.host, "the kept connection is dead");
        connection.renew().await?;
    }
    start(connection, command).await
}

/// sshd may still be closing the session before: with `MaxSessions 1` it then refuses.
async fn start<'a>(
    connection: &'a Connection,
    command: &str,
) -> Result<openssh::Child<&'a openssh::Session>, Error> {
    let mut pause = Duration::from_millis(10);
    loop {
        let mut command = connection.session().raw_command(command);
        let spawned =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().await;
        match spawned {
            Ok(child) => return Ok(child),
            Err(openssh::Error::Disconnected) => return Err(connection.lost().await),
            Err(error) => {
                let reason =
                    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                if pause > GRACE || !reason.contains("refused") {
                    return Err(Error::SessionRefused { host: connection.host.clone(), reason });
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
}

/// Whether `on_line` broke before the output ended. With `signs`, nothing counts before [`READY`].
async fn read_lines(
    stdout: ChildStdout,
    mut signs: Option<mpsc::UnboundedSender<Sign>>,
    mut on_line: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> bool {
    let mut stdout = BufReader::with_capacity(64 * 1024, stdout);
    let mut line = Vec::new();
    // A read error is an end too: the caller knows what must have come by then.
    while let Ok(1..) = stdout.read_until(b'\n', &mut line).await {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if let Some(sender) = &signs {
            if text == READY.as_bytes() {
                // The writer may have given up; it says why itself.
                let _ = sender.send(Sign::Ready);
                signs = None;
            }
        } else if on_line(text).is_break() {
            return true;
        }
        line.clear();
    }
    false
}

/// Keeps the end of stderr and reports each of our prompts in it.
async fn read_tail(
    mut stderr: ChildStderr,
    signs: Option<mpsc::UnboundedSender<Sign>>,
    tail: &Mutex<Vec<u8>>,
) {
    const KEPT: usize = 8 * 1024;
    let mut buffer = vec![0; 4096];
    let mut unseen = Vec::new();
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        {
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.extend_from_slice(&buffer[..read]);
            let excess = tail.len().saturating_sub(KEPT);
            tail.drain(..excess);
        }
        let Some(sender) = &signs else { continue };
        unseen.extend_from_slice(&buffer[..read]);
        while let Some(start) = unseen.windows(PROMPT.len()).position(|part| part == PROMPT.as_bytes()) {
            unseen.drain(..start + PROMPT.len());
            let _ = sender.send(Sign::Prompt);
        }
        // A prompt may arrive in two pieces.
        let end = unseen.len().saturating_sub(PROMPT.len() - 1);
        unseen.drain(..end);
    }
}

/// Sends the password when sudo asks, once. False: sudo ended by itself and its stderr says why.
async fn gain_rights(
    connection: &Connection,
    password: &BecomePassword,
    stdin: &mut ChildStdin,
    mut replies: mpsc::UnboundedReceiver<Sign>,
    tail: &Mutex<Vec<u8>>,
) -> Result<bool, Error> {
    match replies.recv().await {
        Some(Sign::Prompt) => {}
        Some(Sign::Ready) => return Ok(true),
        None => return Ok(false),
    }
    let host = &connection.host;
    // Held over the first answer, so that all other hosts wait for it.
    let trial = password.trial.lock().await;
    if let Trial::Refused(first) = &*trial {
        return Err(Error::SudoPasswordWrong { host: host.clone(), first: Some(first.clone()) });
    }
    let mut undecided = matches!(*trial, Trial::Untried).then_some(trial);
    // Two writes, so that the password is not copied; sudo reads up to the line end.
    let sent = async {
        stdin.write_all(password.bytes()).await?;
        stdin.write_all(b"\n").await
    };
    if sent.await.is_err() {
        return Ok(false);
    }
    let answer = replies.recv().await;
    let refused = match answer {
        Some(Sign::Ready) => false,
        Some(Sign::Prompt) => true,
        // Both streams have ended, so the tail is whole. sudoers may allow a single try.
        None => said_wrong(&String::from_utf8_lossy(&tail.lock().unwrap_or_else(PoisonError::into_inner))),
    };
    if let Some(trial) = &mut undecided {
        match answer {
            _ if refused => **trial = Trial::Refused(host.clone()),
            Some(_) => **trial = Trial::Accepted,
            None => {}
        }
    }
    if refused {
        connection.refuse_password();
        return Err(Error::SudoPasswordWrong { host: host.clone(), first: None });
    }
    Ok(answer.is_some())
}

fn said_wrong(stderr: &str) -> bool {
    stderr.contains("incorrect password attempt") || stderr.contains("incorrect authentication attempt")
}

/// Why a program that printed nothing of its own ended: mostly sudo, which speaks English here.
pub(super) fn refusal(connection: &Connection, ended: &CommandResult) -> Option<Error> {
    let host = connection.host.clone();
    let said = |texts: &[&str]| texts.iter().any(|text| ended.stderr.contains(text));
    if said(&["sudo: a password is required", "sudo-rs: interactive authentication is required"]) {
        Some(Error::SudoPasswordNeeded { host })
    } else if said_wrong(&ended.stderr) {
        Some(Error::SudoPasswordWrong { host, first: None })
    } else if ended.status == Some(127) && said(&["sudo"]) {
        Some(Error::SudoMissing { host })
    } else if said(&["must have a tty"]) {
        let user = connection.settings.user.clone().unwrap_or_else(|| "USER".to_owned());
        Some(Error::SudoNeedsTerminal { host, user })
    } else {
        denial(&ended.stderr).map(|reason| Error::SudoDenied { host, reason })
    }
}

/// The line with which sudo says no. Where the host has mail another follows: "This incident has been reported to the administrator."
fn denial(stderr: &str) -> Option<String> {
    const WORDS: [&str; 5] = ["sudoers", "is not allowed to", "may not run sudo", "sudo: ", "sudo-rs: "];
    let line = stderr.lines().rfind(|line| WORDS.iter().any(|word| line.contains(word)))?;
    Some(line.trim_start_matches("sudo: ").to_owned())
}

fn last_lines(tail: &[u8]) -> String {
    let text = String::from_utf8_lossy(tail);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// The last line of what a program said, or that it said nothing.
pub(super) fn last_line(text: &str) -> &str {
    text.lines().next_back().filter(|line| !line.is_empty()).unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_says_no_in_one_line_of_some() {
        let no = "ada is not in the sudoers file.";
        for said in [
            no.to_owned(),
            format!("{no}\nThis incident has been reported to the administrator."),
            format!("sudo: {no}\n"),
        ] {
            assert_eq!(denial(&said).as_deref(), Some(no));
        }
        assert_eq!(denial("bash: no such file"), None);
    }
}
