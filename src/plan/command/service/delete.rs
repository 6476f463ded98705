//! `DeleteService`.

use super::super::{Outcome, Reply};
use super::{invalid, known};
use crate::model::ServiceKey;
use crate::model::service::{SchedulingStrategy, ServiceStatus};
use crate::plan::command::CommandError;
use crate::plan::{Change, World};

/// Lets the service drain: its tasks stop, and then it is INACTIVE. Deleting one that drains changes nothing.
pub(in super::super) fn delete(
    world: &World,
    key: &ServiceKey,
    force: bool,
) -> Result<Outcome, CommandError> {
    let service = known(world, key)?;
    let reply = Reply::Service(key.clone());
    match service.status {
        ServiceStatus::Inactive => return Err(CommandError::ServiceNotFound),
        ServiceStatus::Draining => return Ok(Outcome::with(Vec::new(), reply)),
        ServiceStatus::Active => {}
    }
    let replica = service.scheduling_strategy == SchedulingStrategy::Replica;
    if replica && service.desired_count > 0 && !force {
        return invalid("The service cannot be stopped while it is scaled above 0.");
    }
    let mut service = service.clone();
    service.status = ServiceStatus::Draining;
    service.desired_count = 0;
    Ok(Outcome::with(vec![Change::PutService(Box::new(service))], reply))
}
