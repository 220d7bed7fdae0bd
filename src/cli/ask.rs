//! Questions that a command asks before it does what cannot be undone.

use std::io::IsTerminal;

use crate::operations::EngineError;

/// Asks on the terminal for the cluster's name. Without one nobody can have read the question.
pub fn confirmed(question: &str, cluster: &str) -> Result<bool, EngineError> {
    if !std::io::stdin().is_terminal() {
        let text = format!("{question}\nThis asks before it goes on: run it in a terminal, or with --yes");
        return Err(EngineError::Unconfirmed(text));
    }
    eprint!("{question}\nType the cluster's name to go on: ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.map_err(|error| EngineError::Unconfirmed(format!("the answer cannot be read: {error}")))?;
    Ok(answer.trim() == cluster)
}
