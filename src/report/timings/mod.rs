//! Events with their moments -> one page that shows what each host did when (`--timings`).
//!
//! It only listens: what it knows is what events said, so nothing secret can be on the page.

mod page;
mod recording;

pub use recording::Timings;
