"""All that an agent holds, as its API tells it: to see that nothing has changed."""


def pages(client, operation, member, **arguments):
    """Everything of a list, page by page."""
    token = {}
    while True:
        answer = getattr(client, operation)(**arguments, **token)
        yield from answer[member]
        if not answer.get("nextToken"):
            return
        token = {"nextToken": answer["nextToken"]}


def of(agent):
    """Everything by kind. Events are left out: they come by themselves."""
    client = agent.client()
    clusters = list(pages(client, "list_clusters", "clusterArns"))
    held = {
        "clusters": {arn: client.describe_clusters(clusters=[arn], include=["TAGS", "SETTINGS", "CONFIGURATIONS"])["clusters"] for arn in clusters},
        "settings": list(pages(client, "list_account_settings", "settings")),
        "families": list(pages(client, "list_task_definition_families", "families")),
        "task definitions": [
            list(pages(client, "list_task_definitions", "taskDefinitionArns", status=status))
            for status in ("ACTIVE", "INACTIVE", "DELETE_IN_PROGRESS")
        ],
    }
    for arn in clusters:
        held[arn] = {
            "tasks": [list(pages(client, "list_tasks", "taskArns", cluster=arn, desiredStatus=s)) for s in ("RUNNING", "STOPPED")],
            "services": list(pages(client, "list_services", "serviceArns", cluster=arn)),
            "instances": list(pages(client, "list_container_instances", "containerInstanceArns", cluster=arn)),
        }
        for service in held[arn]["services"]:
            (found,) = client.describe_services(cluster=arn, services=[service], include=["TAGS"])["services"]
            found.pop("events")
            held[service] = found
        for instance in held[arn]["instances"]:
            (found,) = client.describe_container_instances(cluster=arn, containerInstances=[instance], include=["TAGS"])["containerInstances"]
            held[instance] = found
    return held
