//! What must hold of services, their deployments and their assignments.

use super::Check;
use crate::model::service::{SchedulingStrategy, ServiceStatus};
use crate::model::{Service, ServiceKey, TaskStatus};
use std::collections::BTreeMap;

impl Check<'_> {
    pub(super) fn services(&mut self) {
        for (key, service) in &self.world.services {
            self.require(&service.key == key, || format!("service {key} is stored as another one"));
            self.deployments(key, service);
            let inactive = service.status == ServiceStatus::Inactive;
            let assigned = self.world.index.of_service.contains_key(key);
            self.require(!(inactive && assigned), || {
                format!("service {key} is INACTIVE and has assignments")
            });
            let cluster = self.world.clusters.get(&key.cluster);
            self.require(inactive || cluster.is_some_and(|cluster| cluster.active), || {
                format!("service {key} is in no active cluster")
            });
            if service.scheduling_strategy == SchedulingStrategy::Daemon {
                self.one_on_each_box(key);
            }
        }
        for assignment in self.world.assignments.values() {
            let Some(key) = assignment.service_key() else { continue };
            let id = &assignment.id;
            let service = self.world.services.get(&key);
            // The services of a box of a fleet are the hub's.
            let elsewhere = self.world.membership.is_some();
            // A box that left its fleet stops what it had of them.
            self.require(elsewhere || service.is_some() || assignment.count() == 0, || {
                format!("assignment {id} is of no service")
            });
            let (Some(service), Some(wanted)) = (service, assignment.service()) else { continue };
            let deployed = service.deployment(&wanted.deployment).is_some();
            self.require(deployed || wanted.count == 0, || {
                format!("assignment {id} wants tasks of a deployment that is over")
            });
        }
        for task in self.world.tasks.values() {
            let Some(service) = &task.service else { continue };
            let assigned = self.world.assignments.contains_key(&service.assignment);
            self.require(assigned || task.last_status == TaskStatus::Stopped, || {
                format!("task {} of service {} has no assignment", task.id, service.name)
            });
        }
    }

    fn deployments(&mut self, key: &ServiceKey, service: &Service) {
        let none = service.deployments.is_empty();
        self.require(none == (service.status == ServiceStatus::Inactive), || {
            format!(
                "service {key} is {} with {} deployments",
                service.status.as_str(),
                service.deployments.len()
            )
        });
        for deployment in &service.deployments {
            let revision = self.world.service_revisions.get(&deployment.service_revision);
            let known = revision.is_some_and(|revision| {
                &revision.service == key
                    && self.world.task_definitions.contains_key(&revision.task_definition)
            });
            let record = self.world.service_deployments.get(&deployment.service_deployment);
            self.require(known && record.is_some_and(|record| &record.service == key), || {
                format!(
                    "deployment {} of service {key} lacks its revision or its record",
                    deployment.id
                )
            });
        }
    }

    fn one_on_each_box(&mut self, key: &ServiceKey) {
        let mut boxes = BTreeMap::new();
        for assignment in self.world.assignments_of(key) {
            *boxes.entry(&assignment.container_instance).or_insert(0) += assignment.count();
        }
        for (instance, count) in boxes {
            self.require(count <= 1, || {
                format!("service {key} has {count} tasks for box {instance}")
            });
        }
    }
}
