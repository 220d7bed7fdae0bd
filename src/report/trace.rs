//! Where tracing goes: into the run's log always, to stderr with `-v`.

use std::fmt;
use std::io;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, Uptime};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Layer, fmt as layer};

use super::RunLog;
use super::log;

/// Sets the process's tracing subscriber; called once, when the inventory has told where the log is.
///
/// `verbosity` counts the `-v`: 1 shows what an operator would keep, 2 what the hosts answered, 3 also
/// what other crates say. Without it stderr belongs to the report alone. Spans are `host`, `stage`, `step`.
pub fn init_tracing(verbosity: u8, color: bool, log: Option<&RunLog>) {
    let stderr = (verbosity > 0).then(|| {
        let format =
            layer::layer().compact().with_timer(Uptime::default()).with_target(false).with_ansi(color);
        format.with_writer(io::stderr).with_filter(filter(verbosity))
    });
    let file = log.map(|log| {
        let format = layer::layer().compact().with_timer(LogTime).with_target(false).with_ansi(false);
        format.with_writer(log.file()).with_filter(filter(verbosity.max(1)))
    });
    // A second call, as tests make it, keeps the first subscriber.
    let _ = tracing_subscriber::registry().with(stderr).with(file).try_init();
}

fn filter(verbosity: u8) -> EnvFilter {
    EnvFilter::new(match verbosity {
        0 | 1 => "warn,bootstrap=info",
        2 => "info,bootstrap=debug",
        _ => "debug,bootstrap=trace",
    })
}

/// The same time as on the lines of events.
struct LogTime;

impl FormatTime for LogTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&log::now())
    }
}
