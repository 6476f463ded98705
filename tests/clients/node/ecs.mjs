// The AWS SDK for JavaScript against an agent: commands, waiters, paginators, typed exceptions.
// The endpoint and the key come from the environment; FAMILY names a task definition whose task runs until it is stopped.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ClusterNotFoundException, ClientException, InvalidParameterException, ServiceNotFoundException, ECSServiceException,
  CreateClusterCommand, CreateServiceCommand, DeleteClusterCommand, DeleteServiceCommand, DescribeClustersCommand,
  DescribeServicesCommand, DescribeTaskDefinitionCommand, DescribeTasksCommand, ECSClient, ListClustersCommand,
  RegisterTaskDefinitionCommand, RunTaskCommand, StopTaskCommand, UpdateServiceCommand,
  paginateListClusters, paginateListServices, paginateListTaskDefinitions, paginateListTasks,
  waitUntilServicesInactive, waitUntilServicesStable, waitUntilTasksRunning, waitUntilTasksStopped,
} from '@aws-sdk/client-ecs';

const family = process.env.FAMILY;
const name = process.env.NAME;
const ecs = new ECSClient({ maxAttempts: 1 });
const patience = { client: ecs, minDelay: 0.2, maxDelay: 0.5, maxWaitTime: 60 };

async function all(pages, member) {
  const items = [];
  for await (const page of pages) items.push(...page[member]);
  return items;
}

test('a cluster is made, described and deleted', async () => {
  const { cluster } = await ecs.send(new CreateClusterCommand({ clusterName: name, tags: [{ key: 'k', value: 'v' }] }));
  assert.equal(cluster.status, 'ACTIVE');
  assert.deepEqual(cluster.tags, [{ key: 'k', value: 'v' }]);
  const described = await ecs.send(new DescribeClustersCommand({ clusters: [name, 'nothing'] }));
  assert.deepEqual(described.clusters.map((c) => c.clusterArn), [cluster.clusterArn]);
  assert.equal(described.failures[0].reason, 'MISSING');
  const deleted = await ecs.send(new DeleteClusterCommand({ cluster: name }));
  assert.equal(deleted.cluster.status, 'INACTIVE');
});

test('times are dates', async () => {
  const { taskDefinition } = await ecs.send(new DescribeTaskDefinitionCommand({ taskDefinition: family }));
  assert.ok(taskDefinition.registeredAt instanceof Date);
  assert.ok(Math.abs(Date.now() - taskDefinition.registeredAt) < 3_600_000);
});

test('exceptions have their types', async () => {
  const refused = async (command, type, code) => {
    await assert.rejects(ecs.send(command), (error) => {
      assert.ok(error instanceof type, `${error.name}: ${error.message}`);
      assert.ok(error instanceof ECSServiceException);
      assert.equal(error.name, code);
      assert.equal(error.$metadata.httpStatusCode, 400);
      assert.ok(error.$metadata.requestId);
      assert.ok(error.message);
      return true;
    });
  };
  const nothing = '0'.repeat(32);
  await refused(new DescribeTasksCommand({ cluster: 'nowhere', tasks: [nothing] }), ClusterNotFoundException, 'ClusterNotFoundException');
  await refused(new RunTaskCommand({ taskDefinition: 'nothing' }), ClientException, 'ClientException');
  await refused(new StopTaskCommand({ task: nothing }), InvalidParameterException, 'InvalidParameterException');
  await refused(new ListClustersCommand({ nextToken: 'none' }), InvalidParameterException, 'InvalidParameterException');
  await refused(new UpdateServiceCommand({ service: 'nothing', desiredCount: 1 }), ServiceNotFoundException, 'ServiceNotFoundException');
});

test('pages come one after the other', async () => {
  const containerDefinitions = [{ name: 'main', image: 'coracle/hello', memory: 16 }];
  for (let i = 0; i < 5; i += 1) {
    await ecs.send(new RegisterTaskDefinitionCommand({ family: `${name}-pages`, containerDefinitions }));
  }
  const config = { client: ecs, pageSize: 2 };
  const definitions = await all(paginateListTaskDefinitions(config, { familyPrefix: `${name}-pages` }), 'taskDefinitionArns');
  assert.deepEqual(definitions.map((arn) => arn.split(':').at(-1)), ['1', '2', '3', '4', '5']);
  const clusters = await all(paginateListClusters(config, {}), 'clusterArns');
  assert.equal(new Set(clusters).size, clusters.length);
  assert.ok(clusters.some((arn) => arn.endsWith('cluster/default')));
});

test('tasks run and stop', async () => {
  const { tasks: started, failures } = await ecs.send(new RunTaskCommand({ taskDefinition: family, count: 2, startedBy: name }));
  assert.deepEqual(failures, []);
  const tasks = started.map((task) => task.taskArn);
  const ran = await waitUntilTasksRunning(patience, { tasks });
  assert.equal(ran.state, 'SUCCESS');
  const listed = await all(paginateListTasks({ client: ecs, pageSize: 1 }, { startedBy: name }), 'taskArns');
  assert.deepEqual([...listed].sort(), [...tasks].sort());
  for (const task of tasks) await ecs.send(new StopTaskCommand({ task, reason: 'done' }));
  await waitUntilTasksStopped(patience, { tasks });
  const { tasks: stopped } = await ecs.send(new DescribeTasksCommand({ tasks }));
  assert.deepEqual(stopped.map((task) => task.stoppedReason), ['done', 'done']);
  await assert.rejects(waitUntilTasksRunning(patience, { tasks }), /FAILURE/);
});

test('a service is made, scaled, deployed and deleted', async () => {
  const described = async () => (await ecs.send(new DescribeServicesCommand({ services: [name] }))).services[0];
  const { service } = await ecs.send(new CreateServiceCommand({
    serviceName: name, taskDefinition: family, desiredCount: 1, clientToken: name,
    deploymentConfiguration: { minimumHealthyPercent: 0, deploymentCircuitBreaker: { enable: true, rollback: true } },
  }));
  assert.equal(service.status, 'ACTIVE');
  assert.equal(service.schedulingStrategy, 'REPLICA');
  assert.ok(service.createdAt instanceof Date);
  assert.equal((await waitUntilServicesStable(patience, { services: [name] })).state, 'SUCCESS');

  await ecs.send(new UpdateServiceCommand({ service: name, desiredCount: 2 }));
  await waitUntilServicesStable(patience, { services: [name] });
  assert.equal((await described()).runningCount, 2);
  const of = await all(paginateListTasks({ client: ecs, pageSize: 1 }, { serviceName: name }), 'taskArns');
  assert.equal(of.length, 2);

  await ecs.send(new UpdateServiceCommand({ service: name, forceNewDeployment: true }));
  await waitUntilServicesStable(patience, { services: [name] });
  const deployed = await described();
  assert.equal(deployed.deployments.length, 1);
  assert.equal(deployed.deployments[0].rolloutState, 'COMPLETED');
  assert.notEqual(deployed.deployments[0].id, service.deployments[0].id);
  assert.ok(deployed.events.every((event) => event.createdAt instanceof Date && event.message.includes(name)));

  const services = await all(paginateListServices({ client: ecs, pageSize: 1 }, {}), 'serviceArns');
  assert.ok(services.includes(service.serviceArn));
  await ecs.send(new DeleteServiceCommand({ service: name, force: true }));
  assert.equal((await waitUntilServicesInactive(patience, { services: [name] })).state, 'SUCCESS');
  assert.equal((await described()).status, 'INACTIVE');
});
