//! For looking at the bars: plays a run on this terminal in its own time.
//!
//!     cargo test --test checks -- --ignored --nocapture demo_first_3

use crate::runs;
use std::time::{Duration, Instant};

use bootstrap::model::Event;
use bootstrap::report::{Output, RenderOptions, events, render};

async fn play(run: runs::Run) {
    let (events, receiver) = events();
    let output = match std::env::var("OUTPUT").as_deref() {
        Ok("plain") => Output::Plain,
        Ok("json") => Output::Json,
        _ => Output::Bars,
    };
    let color = std::env::var_os("NO_COLOR").is_none();
    let report = tokio::spawn(render(receiver, RenderOptions { color, ..RenderOptions::new(output) }));
    let interrupted = tokio::spawn({
        let events = events.clone();
        async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                let message = "stopping when this stage has ended; Ctrl-C again leaves at once".to_owned();
                events.send(Event::Warning { host: None, message });
            }
        }
    });
    let start = Instant::now();
    for (at, event) in run {
        let wait = Duration::from_millis(at).saturating_sub(start.elapsed());
        tokio::time::sleep(wait).await;
        events.send(event);
    }
    interrupted.abort();
    let _ = interrupted.await;
    drop(events);
    report.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for eyes"]
async fn demo_first_3() {
    play(runs::first(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for eyes"]
async fn demo_first_40() {
    play(runs::first(40)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for eyes"]
async fn demo_failed_3() {
    play(runs::failed_host(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for eyes"]
async fn demo_failed_40() {
    play(runs::failed_host(40)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for eyes"]
async fn demo_gate_timeout() {
    play(runs::gate_timeout()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for eyes"]
async fn demo_nothing_3() {
    play(runs::nothing_to_do(3)).await;
}
