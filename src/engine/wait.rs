//! Asking until something is so: why it is not yet is said each time that changes.

use std::time::{Duration, Instant};

use super::{Outcome, Stop, elapsed_ms};
use crate::model::Event;
use crate::report::Events;

/// First pause between two rounds; it grows to [`LONGEST_PAUSE`]. A leader is elected within 1.5 s.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A wait that has begun, under the name it has in the report.
pub(crate) struct Waiting<'a> {
    name: String,
    started: Instant,
    timeout: Duration,
    /// The reason that was said last.
    last: String,
    is_late: bool,
    events: &'a Events,
    stop: &'a Stop,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(name: String, timeout: Duration, events: &'a Events, stop: &'a Stop) -> Self {
        Self { name, started: Instant::now(), timeout, last: String::new(), is_late: false, events, stop }
    }

    /// Pauses before the next round; `false` when the time is over or the operator wants to stop.
    pub(crate) async fn goes_on(&mut self, reason: &str) -> bool {
        let is_news = reason != self.last;
        if is_news {
            self.events.send(Event::GateWaiting { gate: self.name.clone(), reason: reason.to_owned() });
            reason.clone_into(&mut self.last);
        }
        // In proportion to what has passed: what is soon there is soon seen, and what takes long is not
        // asked often. Autopilot looks every 2 s, and doubling would see it up to a second later.
        let pause = match is_news {
            true => FIRST_PAUSE,
            false => (self.started.elapsed() / 8).clamp(FIRST_PAUSE, LONGEST_PAUSE),
        };
        self.is_late = self.started.elapsed() + pause > self.timeout;
        if self.is_late || self.stop.requested() {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }

    pub(crate) fn met(self, detail: String) {
        let elapsed_ms = elapsed_ms(self.started);
        self.events.send(Event::GateMet { gate: self.name, detail, elapsed_ms });
    }

    /// The reason as it was said: with the time that is over. `output` is what helps to understand it.
    pub(crate) fn failed(self, reason: &str, output: String) -> String {
        let why = if self.is_late { format!(" after {}s", self.timeout.as_secs()) } else { String::new() };
        let (said, elapsed_ms) = (format!("{reason}{why}"), elapsed_ms(self.started));
        let reason = said.clone();
        self.events.send(Event::GateFailed { gate: self.name, reason, output, elapsed_ms });
        said
    }
}

/// Why a gate is not met.
#[derive(Debug)]
pub(crate) enum Unmet {
    /// The operator did not want to wait any longer.
    Stopped,
    /// The gate and the last reason.
    Late(String),
    /// It can go on after a yes to this.
    Asks(String),
}

impl Unmet {
    pub(crate) fn tell(self, outcome: &mut Outcome) {
        match self {
            Self::Stopped => outcome.stopped = true,
            Self::Late(reason) => drop(outcome.unhealthy.get_or_insert(reason)),
            Self::Asks(question) => outcome.asks = Some(question),
        }
    }
}

impl std::fmt::Display for Unmet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped before it was known",
            Self::Late(reason) | Self::Asks(reason) => reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::events;

    #[tokio::test]
    async fn a_reason_is_said_once_and_the_end_says_after_how_long() {
        let (events, mut receiver) = events();
        let stop = Stop::default();
        let mut waiting = Waiting::new("gate".to_owned(), Duration::from_secs(9), &events, &stop);
        assert!(waiting.goes_on("one").await);
        assert!(waiting.goes_on("one").await);
        waiting.timeout = Duration::ZERO;
        assert!(!waiting.goes_on("two").await);
        assert_eq!(waiting.failed("two", String::new()), "two after 0s");
        let reason = |event| match event {
            Event::GateWaiting { reason, .. } | Event::GateFailed { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        let said: Vec<String> = receiver.arrived().into_iter().map(reason).collect();
        assert_eq!(said, ["one", "two", "two after 0s"]);
    }

    #[tokio::test]
    async fn who_is_told_to_stop_waits_no_longer() {
        let (events, _receiver) = events();
        let stop = Stop::default();
        stop.request();
        let mut waiting = Waiting::new("gate".to_owned(), Duration::from_secs(9), &events, &stop);
        assert!(!waiting.goes_on("one").await);
        assert_eq!(waiting.failed("one", String::new()), "one");
    }
}
