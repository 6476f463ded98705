"""The waiters of botocore, as their acceptors are written: for each acceptor, the state that it is about."""

import botocore.exceptions
import pytest

from conftest import PATIENCE

QUICK = {"Delay": 0.1, "MaxAttempts": PATIENCE * 10}
AT_ONCE = {"Delay": 0.01, "MaxAttempts": 1}
NOTHING = "0" * 32


@pytest.fixture
def waits(ecs):
    """Waits, and returns None, or why the wait failed."""

    def waits(waiter, config=QUICK, **arguments):
        try:
            ecs.get_waiter(waiter).wait(WaiterConfig=config, **arguments)
        except botocore.exceptions.WaiterError as error:
            return error.kwargs["reason"]
        return None

    return waits


def failed_at(reason, expression):
    assert reason and reason.startswith("Waiter encountered a terminal failure state"), reason
    assert expression in reason, reason


@pytest.fixture
def task(ecs, sleeper, waits):
    arn = ecs.run_task(taskDefinition=sleeper["taskDefinitionArn"])["tasks"][0]["taskArn"]
    yield arn
    ecs.stop_task(task=arn)
    assert waits("tasks_stopped", tasks=[arn]) is None


def test_tasks_running(ecs, task, waits):
    assert waits("tasks_running", tasks=[task]) is None
    assert waits("tasks_running", AT_ONCE, tasks=[task]) is None
    failed_at(waits("tasks_running", tasks=[task, NOTHING]), "failures[].reason")
    assert waits("tasks_stopped", AT_ONCE, tasks=[task]) == "Max attempts exceeded"
    ecs.stop_task(task=task)
    assert waits("tasks_stopped", tasks=[task]) is None
    failed_at(waits("tasks_running", tasks=[task]), "tasks[].lastStatus")


def test_an_error_ends_every_wait(waits):
    for waiter, arguments in (
        ("tasks_running", {"tasks": [NOTHING]}),
        ("tasks_stopped", {"tasks": [NOTHING]}),
        ("services_stable", {"services": ["nothing"]}),
        ("services_inactive", {"services": ["nothing"]}),
    ):
        reason = waits(waiter, cluster="nowhere", **arguments)
        assert reason.startswith("An error occurred (ClusterNotFoundException)"), reason


def test_services_that_are_missing(waits):
    failed_at(waits("services_stable", services=["nothing"]), "failures[].reason")
    failed_at(waits("services_inactive", services=["nothing"]), "failures[].reason")


def test_services_stable_and_inactive(ecs, sleeper, name, waits):
    definition = sleeper["taskDefinitionArn"]
    ecs.create_service(serviceName=name, taskDefinition=definition, desiredCount=2)
    assert waits("services_stable", services=[name]) is None
    (service,) = ecs.describe_services(services=[name])["services"]
    assert (len(service["deployments"]), service["runningCount"], service["desiredCount"]) == (1, 2, 2)
    assert waits("services_inactive", AT_ONCE, services=[name]) == "Max attempts exceeded"

    # Not stable in the middle of a change, and stable again after it.
    ecs.update_service(service=name, forceNewDeployment=True)
    assert waits("services_stable", AT_ONCE, services=[name]) == "Max attempts exceeded"
    assert waits("services_stable", services=[name]) is None
    ecs.update_service(service=name, desiredCount=3)
    assert waits("services_stable", services=[name]) is None
    assert ecs.describe_services(services=[name])["services"][0]["runningCount"] == 3
    failed_at(waits("services_stable", services=[name, "nothing"]), "failures[].reason")

    ecs.delete_service(service=name, force=True)
    failed_at(waits("services_stable", services=[name]), "services[].status")
    assert waits("services_inactive", services=[name]) is None
    failed_at(waits("services_stable", services=[name]), "services[].status")
    # Inactive is what any of them has to be.
    failed_at(waits("services_inactive", services=["nothing"]), "failures[].reason")


@pytest.mark.parametrize("waiter", ["daemon_active", "daemon_deployment_stopped", "daemon_task_definition_active"])
def test_waiters_for_what_is_not_there_end_at_once(ecs, waits, waiter):
    arguments = {
        "daemon_active": {"daemonArn": "d"},
        "daemon_deployment_stopped": {"daemonDeploymentArns": ["d"]},
        "daemon_task_definition_active": {"daemonTaskDefinition": "d"},
    }[waiter]
    assert waits(waiter, **arguments).startswith("An error occurred (")
