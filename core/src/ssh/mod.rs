//! A host's address and settings -> scripts run there, files put there, ports reached there.
//!
//! One [`Connection`] is one handshake of the system's own `ssh`, so the user's configuration, agent,
//! keys and jump hosts work as they do by hand. Everything later goes through its control socket: a
//! script or an upload is one session, a forwarded port none. This module knows what a script looks
//! like on the wire, but not what it does.

mod config;
mod connection;
mod error;
mod forward;
mod kept;
mod kex;
mod log;
mod master;
mod options;
mod session;
mod sudo;
mod upload;

pub use connection::Connection;
pub use error::{Cause, Error};
pub use forward::Forward;
pub use options::{ConnectOptions, Target};
pub use session::Deadline;
pub use sudo::{BecomePassword, PasswordError};
