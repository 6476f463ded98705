//! Lines as they come.

use super::super::is_over;
use super::super::lines::Sender;
use super::{Source, Tasks, Wanted, failed, kept, shown};
use crate::engine::Handle;
use crate::model::{ContainerName, TaskId, Timestamp};
use crate::runtime::logs::{Beginning, LogError, LogFollower, LogLine};
use crate::sys;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinSet;

/// Sends what is kept of `sources`, then what comes.
pub(super) async fn follow(
    engine: &Handle,
    wanted: &Wanted,
    sources: Vec<Source>,
    sender: &Sender,
) {
    let mut known: BTreeSet<(TaskId, ContainerName)> =
        sources.iter().map(|s| (s.task.clone(), s.container.clone())).collect();
    let mut following = JoinSet::new();
    let begin = |sources, beginning| begin(engine, wanted, sources, beginning, sender);
    let Some(live) = begin(sources, wanted.beginning).await else { return };
    let go_on = |following: &mut JoinSet<()>, live: Vec<(Source, LogFollower)>| {
        for (source, follower) in live {
            let (engine, sender, wanted) = (engine.clone(), sender.clone(), wanted.clone());
            following.spawn(async move {
                if let Err(error) = to_the_end(&engine, &source, follower, &wanted, &sender).await {
                    let _ = sender.send(&failed(&error)).await;
                }
            });
        }
    };
    go_on(&mut following, live);
    let mut enough = std::pin::pin!(reached(wanted.until));
    let Tasks::Family(..) = wanted.tasks else {
        tokio::select! {
            () = async { while following.join_next().await.is_some() {} } => {}
            () = enough => {}
        }
        return;
    };
    // Tasks of the family may come until somebody has seen enough.
    let mut commits = engine.watch();
    loop {
        commits.mark_unchanged();
        let mut new = engine.read(|world| wanted.sources(world));
        new.retain(|source| known.insert((source.task.clone(), source.container.clone())));
        if !new.is_empty() {
            let Some(live) = begin(new, Beginning::Start).await else { return };
            go_on(&mut following, live);
        }
        tokio::select! {
            changed = commits.changed() => if changed.is_err() { return },
            Some(_) = following.join_next() => {}
            () = &mut enough => return,
        }
    }
}

/// Sends what there is now; the followers of what is not over. None when the client went away.
async fn begin(
    engine: &Handle,
    wanted: &Wanted,
    sources: Vec<Source>,
    beginning: Beginning,
    sender: &Sender,
) -> Option<Vec<(Source, LogFollower)>> {
    let logs = engine.logs().ok()?;
    let (over, live): (Vec<Source>, Vec<Source>) = sources.into_iter().partition(|s| s.over);
    let mut followers = Vec::new();
    for source in live {
        match logs.follow(&source.task, &source.container, beginning) {
            Ok(follower) => followers.push((source, follower)),
            Err(error) => sender.send(&failed(&error)).await.ok()?,
        }
    }
    let wanted = Wanted { beginning, ..wanted.clone() };
    let sender = sender.clone();
    let sent = tokio::task::spawn_blocking(move || {
        kept::send_before(&move |_| logs.clone(), &wanted, over, followers, &sender)
    });
    sent.await.ok()?.ok()
}

/// Resolves when that time has come.
async fn reached(until: Option<Timestamp>) {
    let Some(until) = until else { return std::future::pending().await };
    loop {
        let left = until.since(sys::now());
        if left.is_zero() {
            return;
        }
        // Not in one go: the clock may be set meanwhile.
        tokio::time::sleep(left.min(Duration::from_mins(1))).await;
    }
}

/// Sends the lines of one container until its task is over.
async fn to_the_end(
    engine: &Handle,
    source: &Source,
    mut follower: LogFollower,
    wanted: &Wanted,
    sender: &Sender,
) -> Result<(), LogError> {
    let over = engine.wait_until(|world| is_over(world.tasks.get(&source.task)));
    let mut over = std::pin::pin!(over);
    loop {
        tokio::select! {
            biased;
            line = follower.line() => {
                if !send(&line?, source, wanted, sender).await {
                    return Ok(());
                }
            }
            // Over, or the engine is: in both cases nothing more is written that could be waited for.
            _ = &mut over => break,
        }
    }
    while let Some(line) = follower.ready()? {
        if !send(&line, source, wanted, sender).await {
            break;
        }
    }
    Ok(())
}

/// False when no more lines are wanted.
async fn send(line: &LogLine, source: &Source, wanted: &Wanted, sender: &Sender) -> bool {
    let at = line.at().unwrap_or_default();
    if wanted.until.is_some_and(|until| at > until) {
        return false;
    }
    !wanted.wants(at) || sender.send(&shown(source, line)).await.is_ok()
}
