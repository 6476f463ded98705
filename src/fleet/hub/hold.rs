//! Holds back what boxes tell while documents go to many of them: a change reaches the last box sooner when the first is
//! listened to after it. Not for long, so that a fleet that never rests is heard all the same.

use std::time::Duration;
use tokio::sync::watch;

/// See the module.
#[derive(Debug)]
pub(super) struct Hold {
    held: watch::Sender<bool>,
    at_most: Duration,
}

/// What boxes tell is held back while this lives.
#[derive(Debug)]
pub(super) struct Held(watch::Sender<bool>);

impl Hold {
    /// Nobody waits longer than `at_most`.
    pub(super) fn new(at_most: Duration) -> Self {
        Self { held: watch::Sender::new(false), at_most }
    }

    /// Begins. There is one who does, the publisher.
    pub(super) fn begin(&self) -> Held {
        self.held.send_replace(true);
        Held(self.held.clone())
    }

    /// Waits until it ends, or for as long as anybody is held back.
    pub(super) async fn over(&self) {
        let mut held = self.held.subscribe();
        // The sender is in `self`; whoever has waited enough goes on.
        let _ = tokio::time::timeout(self.at_most, held.wait_for(|held| !held)).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    /// Whether nobody waits now.
    async fn is_over(hold: &Hold) -> bool {
        tokio::select! {
            biased;
            () = hold.over() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn who_tells_something_waits_while_documents_are_sent() {
        let hold = Hold::new(LONG);
        assert!(is_over(&hold).await);
        let sending = hold.begin();
        assert!(!is_over(&hold).await);
        tokio::join!(hold.over(), async { drop(sending) });
        assert!(is_over(&hold).await);
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let hold = Hold::new(Duration::from_millis(1));
        let _sending = hold.begin();
        hold.over().await;
    }
}
