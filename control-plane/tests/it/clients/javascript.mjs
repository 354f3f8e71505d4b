// What a user of the official JavaScript client does; every call must give what it gives at the original.
//
// Run by javascript.rs: KUBECONFIG names the cluster, KUBEPLANE_JAVASCRIPT_PATH the directory with the client.

import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

const directory = process.env.KUBEPLANE_JAVASCRIPT_PATH;
const k8s = await import(pathToFileURL(`${directory}/node_modules/@kubernetes/client-node/dist/index.js`));

const NAMESPACE = 'javascript';
const LIMIT = 30_000;
const config = new k8s.KubeConfig();
config.loadFromFile(process.env.KUBECONFIG);
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const namespace = NAMESPACE;

/** Awaits a call that must fail so, and gives the Status. */
async function refused(code, reason, call) {
  const error = await call.then(() => assert.fail('it succeeded'), (error) => error);
  assert.equal(error.code, code, String(error));
  const status = typeof error.body === 'string' ? JSON.parse(error.body) : error.body;
  assert.equal(status.reason, reason);
  return status;
}

/** Looks until a look gives something. */
async function eventually(what, look) {
  const end = Date.now() + LIMIT;
  while (Date.now() < end) {
    const found = await look();
    if (found) return found;
    await sleep(50);
  }
  assert.fail(`${what}: not within ${LIMIT} ms`);
}

/** A stream's text, as it comes. */
function collect() {
  const stream = new PassThrough();
  const taken = { stream, text: '' };
  stream.on('data', (chunk) => (taken.text += chunk));
  return taken;
}

async function discovery() {
  const version = await config.makeApiClient(k8s.VersionApi).getCode();
  assert.deepEqual([version.major, version.minor], ['1', '36']);
  const groups = (await config.makeApiClient(k8s.ApisApi).getAPIVersions()).groups.map((group) => group.name);
  assert.ok(groups.includes('apps') && groups.includes('rbac.authorization.k8s.io'), String(groups));
}

/** Create, read, replace, the patches, list and delete of a kind the client knows. */
async function typed() {
  await core.createNamespace({ body: { metadata: { name: NAMESPACE } } });
  const body = { metadata: { name: 'first', labels: { app: 'js' } }, data: { a: '1' } };
  const made = await core.createNamespacedConfigMap({ namespace, body });
  assert.ok(made.metadata.uid && made.metadata.creationTimestamp instanceof Date);
  await refused(409, 'AlreadyExists', core.createNamespacedConfigMap({ namespace, body }));
  const at = { name: 'first', namespace };
  const read = await core.readNamespacedConfigMap(at);
  read.data.b = '2';
  await core.replaceNamespacedConfigMap({ ...at, body: read });
  await refused(409, 'Conflict', core.replaceNamespacedConfigMap({ ...at, body: read }));

  const patch = (body, strategy) =>
    core.patchNamespacedConfigMap({ ...at, body }, k8s.setHeaderOptions('Content-Type', strategy));
  const steps = [{ op: 'replace', path: '/data/b', value: 'two' }];
  assert.equal((await patch(steps, k8s.PatchStrategy.JsonPatch)).data.b, 'two');
  const merged = await patch({ data: { a: null, c: '3' } }, k8s.PatchStrategy.MergePatch);
  assert.deepEqual(merged.data, { b: 'two', c: '3' });
  const labels = { metadata: { labels: { more: 'yes' } } };
  const strategic = await patch(labels, k8s.PatchStrategy.StrategicMergePatch);
  assert.deepEqual(strategic.metadata.labels, { app: 'js', more: 'yes' });

  for (const name of ['second', 'third']) {
    const body = { metadata: { name, labels: { app: 'other' } } };
    await core.createNamespacedConfigMap({ namespace, body });
  }
  const names = [];
  let _continue;
  do {
    const page = await core.listNamespacedConfigMap({ namespace, labelSelector: 'app', limit: 1, _continue });
    names.push(...page.items.map((item) => item.metadata.name));
    _continue = page.metadata._continue;
  } while (_continue);
  assert.deepEqual(names, ['first', 'second', 'third']);
  const deleted = await core.deleteNamespacedConfigMap(at);
  assert.equal(deleted.status, 'Success');
  await refused(404, 'NotFound', core.readNamespacedConfigMap(at));
  await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: 'app=other' });
  const invalid = await refused(
    422,
    'Invalid',
    core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'Bad_Name' } } }),
  );
  assert.equal(invalid.details.causes[0].field, 'metadata.name');
}

/** Server-side apply of objects the client only knows by their kind: ownership, conflicts, force. */
async function applying() {
  const apply = (manager, data, force) =>
    objects.patch(
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied', namespace }, data },
      undefined,
      undefined,
      manager,
      force,
      k8s.PatchStrategy.ServerSideApply,
    );
  const made = await apply('one', { a: '1', b: '1' }, false);
  assert.deepEqual(made.metadata.managedFields.map((entry) => [entry.manager, entry.operation]), [['one', 'Apply']]);
  const again = await apply('one', { a: '1', b: '1' }, false);
  assert.equal(again.metadata.resourceVersion, made.metadata.resourceVersion);
  const conflict = await refused(409, 'Conflict', apply('two', { a: '2' }, false));
  assert.equal(conflict.details.causes[0].field, '.data.a');
  assert.deepEqual((await apply('two', { a: '2' }, true)).data, { a: '2', b: '1' });
  assert.deepEqual((await apply('one', {}, false)).data, { a: '2' });
  const header = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied', namespace } };
  assert.equal((await objects.read(header)).data.a, '2');
  await objects.delete(header);
  await refused(404, 'NotFound', objects.read(header));
}

/** A plain watch, and an informer that follows changes. */
async function watching() {
  const path = `/api/v1/namespaces/${NAMESPACE}/secrets`;
  const begin = (await core.listNamespacedSecret({ namespace })).metadata.resourceVersion;
  const seen = [];
  let over;
  const ended = new Promise((resolve) => (over = resolve));
  const call = new k8s.Watch(config);
  const request = await call.watch(
    path,
    { resourceVersion: begin, allowWatchBookmarks: true },
    (type, object) => seen.push(`${type} ${object.metadata.name}`),
    over,
  );
  const informer = k8s.makeInformer(config, path, () => core.listNamespacedSecret({ namespace }));
  const told = [];
  for (const verb of ['add', 'update', 'delete']) {
    informer.on(verb, (secret) => told.push(`${verb} ${secret.metadata.name}`));
  }
  await informer.start();
  await core.createNamespacedSecret({ namespace, body: { metadata: { name: 's' }, stringData: { k: 'v' } } });
  await core.patchNamespacedSecret(
    { name: 's', namespace, body: { metadata: { labels: { a: 'b' } } } },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch),
  );
  await eventually('the informer has it', () => informer.get('s', NAMESPACE)?.metadata.labels?.a === 'b');
  await core.deleteNamespacedSecret({ name: 's', namespace });
  await eventually('the watch saw the end', () => seen.includes('DELETED s'));
  await eventually('the informer saw the end', () => told.includes('delete s'));
  assert.deepEqual(seen, ['ADDED s', 'MODIFIED s', 'DELETED s']);
  assert.deepEqual(told, ['add s', 'update s', 'delete s']);
  await informer.stop();
  request.abort();
  await ended;
}

/** A Deployment is made, scaled, and its pods are spoken to. */
async function workload() {
  const labels = { app: 'web' };
  const command = ['sh', '-c', 'echo one; echo two; sleep 3600'];
  const containers = [{ name: 'c', image: 'busybox:1.36', command }];
  const template = { metadata: { labels }, spec: { terminationGracePeriodSeconds: 1, containers } };
  const body = { metadata: { name: 'web' }, spec: { replicas: 1, selector: { matchLabels: labels }, template } };
  await apps.createNamespacedDeployment({ namespace, body });
  const scaled = await apps.patchNamespacedDeploymentScale(
    { name: 'web', namespace, body: { spec: { replicas: 2 } } },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch),
  );
  assert.equal(scaled.spec.replicas, 2);
  await eventually('two are available', async () => {
    const { status } = await apps.readNamespacedDeployment({ name: 'web', namespace });
    return status.availableReplicas === 2;
  });
  const pods = await core.listNamespacedPod({ namespace, labelSelector: 'app=web' });
  const pod = pods.items[0].metadata.name;
  await logs(pod);
  await executing(pod);
  await apps.deleteNamespacedDeployment({ name: 'web', namespace, propagationPolicy: 'Foreground' });
  await eventually('no pods are left', async () => (await core.listNamespacedPod({ namespace })).items.length === 0);
}

async function logs(pod) {
  assert.equal(await core.readNamespacedPodLog({ name: pod, namespace }), 'one\ntwo\n');
  assert.equal(await core.readNamespacedPodLog({ name: pod, namespace, tailLines: 1 }), 'two\n');
  const following = collect();
  const request = await new k8s.Log(config).log(NAMESPACE, pod, 'c', following.stream, { follow: true });
  await eventually('both lines', () => following.text === 'one\ntwo\n');
  request.abort();
}

async function executing(pod) {
  const run = async (command, input) => {
    const [out, err] = [collect(), collect()];
    let told;
    const ended = new Promise((resolve) => (told = resolve));
    await new k8s.Exec(config).exec(NAMESPACE, pod, 'c', command, out.stream, err.stream, input ?? null, false, told);
    const status = await ended;
    return [out.text, err.text, status];
  };
  const [out, err, status] = await run(['sh', '-c', 'echo out; echo err >&2; exit 3']);
  assert.deepEqual([out, err], ['out\n', 'err\n']);
  assert.equal(status.status, 'Failure');
  assert.equal(status.reason, 'NonZeroExitCode');
  assert.deepEqual(status.details.causes, [{ reason: 'ExitCode', message: '3' }]);
  const [hi, , success] = await run(['echo', 'hi']);
  assert.deepEqual([hi, success.status], ['hi\n', 'Success']);

  const back = collect();
  const input = new PassThrough();
  const socket = await new k8s.Exec(config).exec(NAMESPACE, pod, 'c', ['cat'], back.stream, null, input, false);
  input.write('there and back\n');
  await eventually('the echo', () => back.text === 'there and back\n');
  socket.close();
}

/** A kind of one's own. */
async function custom() {
  const [group, plural] = ['javascript.example.com', 'boats'];
  const definitions = config.makeApiClient(k8s.ApiextensionsV1Api);
  const openAPIV3Schema = { type: 'object', x_kubernetes_preserve_unknown_fields: true };
  const name = `${plural}.${group}`;
  const versions = [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema } }];
  const names = { plural, singular: 'boat', kind: 'Boat' };
  const body = { metadata: { name }, spec: { group, scope: 'Namespaced', names, versions } };
  await definitions.createCustomResourceDefinition({ body });
  await eventually('the kind is served', async () => {
    const { status } = await definitions.readCustomResourceDefinition({ name });
    return status?.conditions?.some((condition) => condition.type === 'Established' && condition.status === 'True');
  });
  const boats = config.makeApiClient(k8s.CustomObjectsApi);
  const all = { group, version: 'v1', namespace, plural };
  const boat = { apiVersion: `${group}/v1`, kind: 'Boat', metadata: { name: 'ketch' }, spec: { masts: 2 } };
  const made = await boats.createNamespacedCustomObject({ ...all, body: boat });
  assert.equal(made.metadata.generation, 1);
  const patched = await boats.patchNamespacedCustomObject(
    { ...all, name: 'ketch', body: { spec: { masts: 3 } } },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch),
  );
  assert.deepEqual([patched.spec.masts, patched.metadata.generation], [3, 2]);
  const listed = await objects.list(`${group}/v1`, 'Boat', NAMESPACE);
  assert.deepEqual(listed.items.map((item) => item.metadata.name), ['ketch']);
  await boats.deleteNamespacedCustomObject({ ...all, name: 'ketch' });
  await definitions.deleteCustomResourceDefinition({ name });
}

for (const part of [discovery, typed, applying, watching, workload, custom]) {
  const begin = Date.now();
  await part();
  console.log(`${part.name}: ${Date.now() - begin} ms`);
}
await core.deleteNamespace({ name: NAMESPACE });
process.exit(0);
