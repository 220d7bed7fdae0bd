//! Questions that a command asks before it does what cannot be undone.

use std::io::IsTerminal;

use super::exit::UsageError;

/// Asks on the terminal for the cluster's name. Without one nobody can have read the question.
pub fn confirmed(question: &str, cluster: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        let text = format!("{question}\nThis asks before it goes on: run it in a terminal, or with --yes");
        return Err(UsageError(text).into());
    }
    eprint!("{question}\nType the cluster's name to go on: ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == cluster)
}
