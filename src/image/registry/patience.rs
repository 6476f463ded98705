//! When to try again, and when no more; and the places of layers that are downloaded, which nobody holds while he waits.

use crate::sys;
use hyper::header::HeaderValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Tries of one request, and of one blob without any progress.
pub(super) const TRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Waits before the next try: any time up to a second, and up to twice as long each time, so that many boxes that lost
/// the same registry do not come back together; or as long as the server asks for.
pub(super) async fn pause(tries: u32, retry_after: Option<&HeaderValue>) {
    let asked = retry_after
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
    let mut random = [0; 4];
    sys::random(&mut random);
    tokio::time::sleep(asked.unwrap_or_else(|| backoff(tries, u32::from_le_bytes(random)))).await;
}

/// `random` of all that is allowed. No tries: the last one brought something.
fn backoff(tries: u32, random: u32) -> Duration {
    let most = match tries.checked_sub(1) {
        None => FIRST_WAIT / 8,
        Some(more) => (FIRST_WAIT * (1 << more.min(5))).min(LONGEST_WAIT),
    };
    most.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// A place among the layers that are downloaded. While its holder waits to try again it is free: a registry that is gone must
/// not keep the images of others from coming.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Waits until one is free. None: there are none any more.
    pub(super) async fn among(places: &Arc<Semaphore>) -> Option<Self> {
        let held = Some(places.clone().acquire_owned().await.ok()?);
        Some(Self { places: places.clone(), held })
    }

    /// [`pause`], without the place that is held, if one is.
    pub(super) async fn pause(
        place: Option<&mut Self>,
        tries: u32,
        retry_after: Option<&HeaderValue>,
    ) {
        let Some(place) = place else { return pause(tries, retry_after).await };
        place.held = None;
        pause(tries, retry_after).await;
        place.held = place.places.clone().acquire_owned().await.ok();
    }
}

/// The tries of one blob. Those that brought bytes do not count.
#[derive(Debug)]
pub(super) struct Patience {
    tries: u32,
    furthest: u64,
}

impl Patience {
    /// No try has failed, with so many bytes here.
    pub(super) fn new(here: u64) -> Self {
        Self { tries: 0, furthest: here }
    }

    /// A try ended with `here` bytes: waits and returns true if there shall be another one.
    pub(super) async fn again(&mut self, here: u64, place: Option<&mut Place>) -> bool {
        let more = self.counts(here);
        if more {
            Place::pause(place, self.tries, None).await;
        }
        more
    }

    fn counts(&mut self, here: u64) -> bool {
        if here > self.furthest {
            (self.tries, self.furthest) = (0, here);
        } else {
            self.tries += 1;
        }
        self.tries < TRIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_bounded() {
        assert_eq!(backoff(1, 0), Duration::ZERO);
        assert_eq!(backoff(0, u32::MAX), Duration::from_millis(125));
        assert_eq!(backoff(1, u32::MAX), Duration::from_secs(1));
        assert_eq!(backoff(3, u32::MAX), Duration::from_secs(4));
        assert_eq!(backoff(99, u32::MAX), LONGEST_WAIT);
    }

    #[tokio::test]
    async fn who_waits_holds_no_place() {
        let places = Arc::new(Semaphore::new(1));
        let mut place = Place::among(&places).await.unwrap();
        assert_eq!(places.available_permits(), 0);
        let mut patience = Patience::new(0);
        {
            let wait = patience.again(0, Some(&mut place));
            tokio::pin!(wait);
            // Somebody else gets it meanwhile, and it is had again after him.
            let other = tokio::select! {
                biased;
                _ = &mut wait => panic!("it did not wait"),
                other = Place::among(&places) => other.unwrap(),
            };
            // Longer than it waits by itself.
            let long = tokio::time::timeout(FIRST_WAIT * 2, &mut wait).await;
            assert!(long.is_err(), "it went on without a place");
            drop(other);
            assert!(wait.await);
        }
        assert_eq!(places.available_permits(), 0);
        drop(place);
        assert_eq!(places.available_permits(), 1);
    }

    #[test]
    fn only_tries_without_progress_count() {
        let mut patience = Patience::new(10);
        for here in [20, 30, 30, 30, 31, 5, 31] {
            assert!(patience.counts(here));
        }
        assert!(patience.counts(0));
        assert!(!patience.counts(31));
    }
}
