//! How far the pulls that tasks wait for are: said in the log now and then, and shown to whoever asks why a task waits.

use crate::image::{Overall, Progress};
use crate::plan::World;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// Between two looks that readers may take.
const SHOWN: Duration = Duration::from_secs(1);
/// Between two lines in the log. Most pulls are over before the first.
const SAID: Duration = Duration::from_secs(15);

/// One pull that is under way; gone from sight when this is dropped.
pub(super) struct Pulling {
    image: String,
    shown_to: Arc<RwLock<World>>,
    state: Mutex<State>,
}

struct State {
    overall: Overall,
    shown_at: Option<Duration>,
    said_at: Duration,
}

impl Pulling {
    /// A pull of the image, as it was asked for, begins. What `shown_to` says of it is not stored.
    pub(super) fn new(image: &str, shown_to: Arc<RwLock<World>>, now: Duration) -> Self {
        let state = State { overall: Overall::default(), shown_at: None, said_at: now };
        Self { image: image.to_owned(), shown_to, state: Mutex::new(state) }
    }

    /// Takes in what became of one layer.
    pub(super) fn take(&self, progress: Progress, now: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.overall.take(progress);
        let is_due = |last: Duration, pause| now.saturating_sub(last) >= pause;
        if state.shown_at.is_some_and(|last| !is_due(last, SHOWN)) {
            return;
        }
        state.shown_at = Some(now);
        let words = words(&state.overall);
        if is_due(state.said_at, SAID) {
            state.said_at = now;
            tracing::info!(image = self.image, "pulling: {words}");
        }
        let mut world = self.shown_to.write().unwrap_or_else(PoisonError::into_inner);
        world.observed.pulling.insert(self.image.clone(), words);
    }
}

impl Drop for Pulling {
    fn drop(&mut self) {
        let mut world = self.shown_to.write().unwrap_or_else(PoisonError::into_inner);
        world.observed.pulling.remove(&self.image);
    }
}

/// `34 %, 12.1 of 35.6 MB, 2 of 5 layers`.
fn words(overall: &Overall) -> String {
    let (done, total) = overall.bytes();
    let (finished, layers) = overall.layers();
    let megabytes = |bytes: u64| format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10);
    let percent = overall.percent();
    format!(
        "{percent} %, {} of {} MB, {finished} of {layers} layers",
        megabytes(done),
        megabytes(total)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Phase;

    fn progress(layer: &str, phase: Phase, done: u64, total: u64) -> Progress {
        Progress { layer: layer.to_owned(), phase, done, total, resumed: 0 }
    }

    #[test]
    fn a_pull_is_shown_once_a_second_and_until_it_ends() {
        let world = Arc::new(RwLock::new(World::default()));
        let shown = || world.read().unwrap().observed.pulling.get("app:1").cloned();
        let second = Duration::from_secs(1);
        let pulling = Pulling::new("app:1", Arc::clone(&world), second);
        assert_eq!(shown(), None);
        pulling.take(progress("a", Phase::Waiting, 0, 25_000_000), second);
        assert_eq!(shown().unwrap(), "0 %, 0.0 of 25.0 MB, 0 of 1 layers");
        pulling.take(progress("b", Phase::Here, 10_650_000, 10_650_000), second);
        assert_eq!(shown().unwrap(), "0 %, 0.0 of 25.0 MB, 0 of 1 layers");
        pulling.take(progress("a", Phase::Downloading, 1_500_000, 25_000_000), 2 * second);
        assert_eq!(shown().unwrap(), "34 %, 12.1 of 35.6 MB, 1 of 2 layers");
        drop(pulling);
        assert_eq!(shown(), None);
    }
}
