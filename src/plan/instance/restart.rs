//! `restartPolicy`: containers that are started again within their task.
//!
//! ```text
//! RUNNING ──ended──► due at once, when it ran for `restartAttemptPeriod`      ──► PENDING ──► RUNNING
//!                    due 1 s, 2 s, 4 s … later, when it ended earlier; at most `restartAttemptPeriod` later
//! ```
//!
//! ECS leaves a container that ends before `restartAttemptPeriod` stopped; so does this with
//! `settings.restart_early_exits` off. On a box that nobody looks at, such a container is backed off instead, and its
//! `reason` says so while it waits. A code among `ignoredExitCodes` is never followed by a restart, nor is a container that could
//! not be started the first time.

use super::Round;
use crate::model::task_definition::RestartPolicy;
use crate::model::{Container, ContainerStatus, HealthStatus, Task, TaskDefinition, Timestamp};
use crate::plan::Reason;
use crate::plan::reason::Restart;
use std::time::Duration;

/// `restartAttemptPeriod` of policies that set none.
const ATTEMPT_PERIOD: Duration = Duration::from_mins(5);
/// How long the first container that ended early waits.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Makes the ended containers of a task that should run PENDING again, as far as their policies say so.
pub(super) fn revive(round: &mut Round, task: &mut Task, definition: &TaskDefinition) {
    for container in &mut task.containers {
        let policy = definition
            .container(container.name.as_str())
            .and_then(|of| of.restart_policy.as_ref())
            .filter(|policy| policy.enabled == Some(true));
        let Some(policy) = policy else { continue };
        if container.last_status != ContainerStatus::Stopped || is_final(container, policy) {
            continue;
        }
        let finished = container.finished_at.unwrap_or(round.now);
        let ran = container.runs_since().map_or(Duration::ZERO, |started| finished.since(started));
        let early = ran < attempt_period(policy);
        if early && !round.world.settings.restart_early_exits {
            continue;
        }
        container.early_exits = if early { container.early_exits.saturating_add(1) } else { 0 };
        let wait = wait(policy, container.early_exits);
        container.restart_count = container.restart_count.saturating_add(1);
        container.restart_at = Some(round.now.plus(wait));
        container.last_status = ContainerStatus::Pending;
        container.health_status = HealthStatus::Unknown;
        container.runtime_id = None;
        container.started_at = None;
        container.start_timeout_from = None;
        container.finished_at = None;
        container.stop_requested_at = None;
        let restart = Restart {
            exit_code: container.exit_code,
            // Of what an earlier wait said nothing is to be repeated.
            why: container.reason.take(),
            ran,
            wait,
            count: container.restart_count,
        };
        container.reason = Some(restart.to_string());
        let (task, container) = (task.id.clone(), container.name.clone());
        round.plan.reasons.push(Reason::ContainerRestarts { task, container, restart });
    }
}

/// Whether a container that has ended stays so whatever its times are.
fn is_final(container: &Container, policy: &RestartPolicy) -> bool {
    let never_ran = container.started_at.is_none() && container.restart_count == 0;
    let ignored = container.exit_code.is_some_and(|code| {
        policy.ignored_exit_codes.iter().flatten().any(|ignored| *ignored == i64::from(code))
    });
    never_ran || ignored
}

fn attempt_period(policy: &RestartPolicy) -> Duration {
    policy
        .restart_attempt_period
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(ATTEMPT_PERIOD, Duration::from_secs)
}

/// How long to wait after so many early ends in a row.
fn wait(policy: &RestartPolicy, early_exits: u32) -> Duration {
    let Some(doublings) = early_exits.checked_sub(1) else { return Duration::ZERO };
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    FIRST_WAIT.saturating_mul(factor).min(attempt_period(policy))
}

/// Until when a container that is to be started again waits, if it does.
pub(super) fn waits_until(
    container: &mut Container,
    definition: &TaskDefinition,
    now: Timestamp,
) -> Option<Timestamp> {
    let at = container.restart_at?;
    let policy = definition.container(container.name.as_str())?.restart_policy.as_ref()?;
    // One further away than it was at first is of a clock that has been set back since: the wait begins anew.
    let at = at.min(now.plus(wait(policy, container.early_exits)));
    container.restart_at = Some(at);
    (at > now).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_attempt_period() {
        let policy = RestartPolicy {
            enabled: Some(true),
            restart_attempt_period: Some(60),
            ..RestartPolicy::default()
        };
        let waits: Vec<_> = (0..9).map(|exits| wait(&policy, exits).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(wait(&policy, u32::MAX), Duration::from_mins(1));
        assert_eq!(wait(&RestartPolicy::default(), 40), ATTEMPT_PERIOD);
    }
}
