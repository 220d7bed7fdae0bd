//! Data on stdout.

use std::io::{self, ErrorKind, Write};

/// Data on stdout. A reader that has seen enough (`| head`) is no error.
pub fn print(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
