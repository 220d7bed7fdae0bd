//! The one way from the engine to the terminal.

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::model::Event;

/// Where events are sent. Clones go to every task of a run; the report ends when the last is dropped.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::UnboundedSender<(Instant, Event)>,
    closed: watch::Receiver<bool>,
}

/// Where events arrive: handed to the task that prints.
#[derive(Debug)]
pub struct Receiver {
    /// Each with the moment it was sent: a slow terminal takes it later.
    pub(super) events: mpsc::UnboundedReceiver<(Instant, Event)>,
    pub(super) closed: watch::Sender<bool>,
}

#[cfg(test)]
impl Receiver {
    /// What has arrived, without its times.
    pub(crate) fn arrived(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.try_recv().ok()).map(|(_, event)| event).collect()
    }
}

/// A channel of events. Unbounded, so that no host waits for a slow terminal: a run has a few events
/// for each step, and steps are counted in thousands at most.
pub fn events() -> (Events, Receiver) {
    let (sender, events) = mpsc::unbounded_channel();
    let (close, closed) = watch::channel(false);
    (Events { sender, closed }, Receiver { events, closed: close })
}

impl Events {
    /// Never blocks. Without a receiver the event is lost, which only tests that render nothing want.
    pub fn send(&self, event: Event) {
        let _ = self.sender.send((Instant::now(), event));
    }

    /// Whether the reader of the output has gone (`| head`): the run should end with its stage.
    pub fn output_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Returns when [`output_closed`](Self::output_closed) becomes true; pends for ever otherwise.
    pub async fn wait_output_closed(&self) {
        let mut closed = self.closed.clone();
        if closed.wait_for(|closed| *closed).await.is_err() {
            // The report has ended in good order, so nothing can be closed any more.
            std::future::pending().await
        }
    }
}
