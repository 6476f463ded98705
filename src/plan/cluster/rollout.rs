//! The arithmetic of roll-outs: how many tasks may be started and stopped now. Numbers only.
//!
//! *Current* tasks are those the service is to have: of the PRIMARY deployment, on boxes that keep them. *Outgoing* ones are
//! all others: of deployments that are replaced, on boxes that drain. They are replaced within two bounds:
//!
//! ```text
//! assigned tasks, current and outgoing           ≤ maximumPercent of the desired count, rounded down
//! tasks that serve, after what we stop by choice ≥ minimumHealthyPercent of it, rounded up
//! ```
//!
//! A task that has been told to stop counts in neither: one that is slow to stop delays nobody (containers-roadmap#555).

/// What a service has and may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    /// The desired count.
    pub(super) desired: u32,
    /// `maximumPercent` and `minimumHealthyPercent` of it.
    pub(super) maximum: u32,
    pub(super) minimum: u32,
    /// Assigned, and serving.
    pub(super) current: u32,
    pub(super) current_healthy: u32,
    pub(super) outgoing: u32,
    pub(super) outgoing_healthy: u32,
}

/// `percent` of `count`, rounded down.
pub(super) fn maximum(count: u32, percent: u32) -> u32 {
    let tasks = u64::from(count) * u64::from(percent) / 100;
    u32::try_from(tasks).unwrap_or(u32::MAX)
}

/// `percent` of `count`, rounded up.
pub(super) fn minimum(count: u32, percent: u32) -> u32 {
    let tasks = (u64::from(count) * u64::from(percent)).div_ceil(100);
    u32::try_from(tasks).unwrap_or(u32::MAX)
}

impl Figures {
    /// Current tasks that are missing.
    pub(super) const fn missing(&self) -> u32 {
        self.desired.saturating_sub(self.current)
    }

    /// How many of them may be started now.
    pub(super) fn may_start(&self) -> u32 {
        let assigned = self.current.saturating_add(self.outgoing);
        // Tasks that replace nobody are not part of a roll-out.
        let bound = if self.outgoing == 0 { self.desired } else { self.maximum };
        self.missing().min(bound.saturating_sub(assigned))
    }

    /// How many outgoing tasks to stop now, when `waiting` current ones wait for their going.
    pub(super) fn to_stop(self, waiting: u32) -> u32 {
        let serving = self.current_healthy.saturating_add(self.outgoing_healthy);
        let spare = serving.saturating_sub(self.minimum);
        // Those whose place is taken by a task that serves.
        let replaced =
            self.current_healthy.saturating_add(self.outgoing).saturating_sub(self.desired);
        replaced.max(waiting).min(spare).min(self.outgoing)
    }

    /// Nothing is missing, nothing is on its way out, all serve.
    pub(super) const fn is_whole(&self) -> bool {
        self.outgoing == 0 && self.current == self.desired && self.current_healthy == self.desired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Plays a roll-out of `desired` tasks whose new tasks all come to serve; the answer is how many steps it took.
    fn play(desired: u32, minimum_percent: u32, maximum_percent: u32) -> Option<u32> {
        let mut figures = Figures {
            desired,
            maximum: maximum(desired, maximum_percent),
            minimum: minimum(desired, minimum_percent),
            current: 0,
            current_healthy: 0,
            outgoing: desired,
            outgoing_healthy: desired,
        };
        for step in 0..=4 * desired + 4 {
            if figures.is_whole() {
                return Some(step);
            }
            figures.current += figures.may_start();
            let stop = figures.to_stop(figures.missing());
            figures.outgoing -= stop;
            figures.outgoing_healthy -= stop;
            let assigned = figures.current + figures.outgoing;
            assert!(assigned <= figures.maximum.max(desired), "{figures:?}");
            let serving = figures.current_healthy + figures.outgoing_healthy;
            assert!(serving >= figures.minimum, "{figures:?}");
            figures.current_healthy = figures.current;
        }
        None
    }

    #[test]
    fn percentages_are_rounded_as_ecs_rounds_them() {
        assert_eq!((maximum(3, 150), maximum(1, 150), maximum(5, 200)), (4, 1, 10));
        assert_eq!((minimum(3, 50), minimum(1, 50), minimum(4, 0)), (2, 1, 0));
    }

    #[test]
    fn a_roll_out_at_its_ease_takes_two_steps() {
        assert_eq!(play(4, 100, 200), Some(2));
        assert_eq!(play(4, 0, 100), Some(2));
    }

    #[test]
    fn without_room_beside_the_old_tasks_each_half_takes_two() {
        assert_eq!(play(4, 50, 100), Some(4));
    }

    #[test]
    fn without_a_spare_task_nothing_moves() {
        assert_eq!(play(2, 100, 100), None);
    }

    proptest! {
        #[test]
        fn every_roll_out_that_may_move_ends(
            desired in 0..60_u32, minimum_percent in 0..=100_u32, maximum_percent in 100..=300_u32
        ) {
            let moves = maximum(desired, maximum_percent) > desired
                || minimum(desired, minimum_percent) < desired
                || desired == 0;
            prop_assert_eq!(play(desired, minimum_percent, maximum_percent).is_some(), moves);
        }
    }
}
