//! Watching a task.

use super::{Answer, Api, find_task, is_over, lines};
use crate::api::render;
use crate::api::server::told_to_stop;

/// The task now and after every change of it, until it is STOPPED.
pub(super) fn answer(api: &Api, id: &str) -> Answer {
    let id = api.engine.read(|world| find_task(world, id))?;
    let engine = api.engine.clone();
    let stopping = told_to_stop(api.stopping.clone());
    let (sender, response) = lines::answer();
    let watch = async move {
        let mut commits = engine.watch();
        let mut before = None;
        loop {
            commits.mark_unchanged();
            let (shown, over) = engine.read(|world| {
                let task = world.tasks.get(&id);
                (task.map(|task| render::task::task(world, task, true)), is_over(task))
            });
            if let Some(shown) = shown.filter(|shown| before.as_ref() != Some(shown)) {
                if sender.send(&shown).await.is_err() {
                    return;
                }
                before = Some(shown);
            }
            if over {
                return;
            }
            tokio::select! {
                changed = commits.changed() => if changed.is_err() { return },
                () = sender.gone() => return,
            }
        }
    };
    tokio::spawn(async move {
        tokio::select! {
            () = watch => {}
            () = stopping => {}
        }
    });
    Ok(response)
}
