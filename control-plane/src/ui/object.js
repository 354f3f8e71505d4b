// One object: how it is, what happened to it, and, of a pod, why it is where it is.
import { ask, follow, place } from "/ui/cluster.js";
import { element, marked, nodePath, nodeState, podPath, podState, soon, table } from "/ui/draw.js";

const time = (text) => (text ? new Date(text).toLocaleString() : "");

/** The page of the object at this path of the API. */
export function objectPage(page, path, signal) {
  const at = path.lastIndexOf("/");
  const [collection, name] = [path.slice(0, at), decodeURIComponent(path.slice(at + 1))];
  const parts = {
    title: element("h1", {}, name), facts: element("div"), conditions: element("div"), pods: element("div"),
    trace: element("div", { id: "trace" }), events: element("div", { id: "events" }), whole: element("pre"),
  };
  const details = element("details", {}, element("summary", {}, "All of it"), parts.whole);
  page.replaceChildren(parts.title, parts.facts, parts.conditions, parts.pods, parts.trace, parts.events, details);
  let uid = "";
  const shown = (object) => {
    draw(parts, object);
    if (object.metadata.uid === uid) return;
    uid = object.metadata.uid;
    follow(eventsOf(object), `involvedObject.uid=${uid}`, events(parts.events), signal);
    if (isPod(object)) explain(parts.trace, object, signal);
    if (isNode(object)) follow("/api/v1/pods", `spec.nodeName=${name}`, pods(parts.pods), signal);
  };
  const missing = (text) => parts.facts.replaceChildren(element("p", { class: "quiet" }, text));
  follow(collection, `metadata.name=${name}`, {
    all: (objects) => (objects.length ? shown(objects[0]) : missing("There is no such object.")),
    changed: shown,
    gone: () => missing("It is gone."),
    failed: (error) => missing(error.message),
  }, signal);
}

/** Who may look at a namespace may look at its events, and not at those of others. */
const eventsOf = ({ metadata: { namespace } }) =>
  namespace ? `/api/v1/namespaces/${encodeURIComponent(namespace)}/events` : "/api/v1/events";

const isPod = (object) => Boolean(object.spec?.containers && object.metadata.namespace);

const isNode = (object) => Boolean(object.status?.nodeInfo);

async function draw(parts, object) {
  const { metadata, spec = {}, status = {} } = object;
  const owners = element("p");
  parts.title.textContent = [metadata.namespace, metadata.name].filter((part) => part).join("/");
  parts.whole.textContent = JSON.stringify(object, null, 2);
  const rows = [["Created", time(metadata.creationTimestamp)], ["Uid", metadata.uid]];
  if (isPod(object)) {
    const node = spec.nodeName && element("a", { href: `#${nodePath(spec.nodeName)}` }, spec.nodeName);
    rows.unshift(["State", marked(...podState(object))], ["Node", element("td", {}, node || "none yet")]);
    rows.push(["Addresses", (status.podIPs ?? []).map((own) => own.ip).join(", ")]);
    for (const own of status.containerStatuses ?? []) {
      const [word, more] = Object.entries(own.state ?? {})[0] ?? ["waiting", {}];
      const said = [word, more.reason, own.restartCount ? `${own.restartCount} restarts` : ""];
      rows.push([`Container ${own.name}`, `${said.filter((part) => part).join(", ")} (${own.image})`]);
    }
  } else if (isNode(object)) {
    rows.unshift(["State", marked(...nodeState(object))]);
    rows.push(["Can take", quantities(status.allocatable)], ["Kubelet", status.nodeInfo.kubeletVersion]);
    rows.push(["Taints", (spec.taints ?? []).map((taint) => `${taint.key}:${taint.effect}`).join(", ")]);
  } else if (spec.replicas !== undefined) {
    rows.unshift(["Replicas", `${status.readyReplicas ?? 0} of ${spec.replicas} ready`]);
  }
  rows.push(["Labels", quantities(metadata.labels)]);
  parts.facts.replaceChildren(table(["", ""], rows), owners);
  parts.conditions.replaceChildren(...conditions(status.conditions));
  const all = await Promise.all((metadata.ownerReferences ?? []).map((own) => owner(metadata.namespace, own)));
  if (all.length) owners.append("Owned by ", ...all);
}

const quantities = (map) => Object.entries(map ?? {}).map(([key, value]) => `${key}=${value}`).join(", ");

async function owner(namespace, { apiVersion, kind, name }) {
  const text = `${kind} ${name} `;
  try {
    const path = await place(apiVersion, kind, namespace, name);
    return path ? element("a", { href: `#${path}` }, text) : text;
  } catch {
    return text;
  }
}

function conditions(all) {
  if (!Array.isArray(all) || !all.length) return [];
  const rows = all.map((own) => [own.type, own.status, own.reason, own.message, time(own.lastTransitionTime)]);
  return [element("h2", {}, "Conditions"), table(["Type", "Status", "Reason", "Message", "Since"], rows)];
}

/** What hears of a collection and draws all of it, as `rows` say. */
function drawn(place, rows) {
  const known = new Map();
  const draw = soon(() => place.replaceChildren(...rows([...known.values()])));
  return {
    all: (objects) => {
      known.clear();
      objects.forEach((object) => known.set(object.metadata.uid, object));
      draw();
    },
    changed: (object) => { known.set(object.metadata.uid, object); draw(); },
    gone: (object) => { known.delete(object.metadata.uid); draw(); },
    failed: (error) => place.replaceChildren(element("p", { class: "quiet" }, error.message)),
  };
}

function events(place) {
  const last = (event) => event.series?.lastObservedTime || event.lastTimestamp || event.eventTime
    || event.metadata.creationTimestamp;
  return drawn(place, (all) => {
    all.sort((a, b) => (last(a) < last(b) ? 1 : -1));
    const rows = all.map((event) => [
      time(last(event)), marked(event.type === "Warning" ? "bad" : "", event.type), event.reason, event.message,
      event.series?.count || event.count || 1, event.reportingComponent || event.source?.component,
    ]);
    const list = table(["Last", "Type", "Reason", "Message", "Times", "From"], rows);
    return [element("h2", {}, "Events"), rows.length ? list : element("p", { class: "quiet" }, "None.")];
  });
}

function pods(place) {
  return drawn(place, (all) => {
    const link = (pod) => element("td", {},
      element("a", { href: `#${podPath(pod)}` }, `${pod.metadata.namespace}/${pod.metadata.name}`));
    const rows = all.map((pod) => [link(pod), marked(...podState(pod))]);
    return [element("h2", {}, "Pods"), table(["Pod", "State"], rows)];
  });
}

/** What every plugin of the scheduler says of every node. */
async function explain(place, pod, signal) {
  const title = element("h2", {}, "Scheduling");
  const path = [pod.metadata.namespace, pod.metadata.name].map(encodeURIComponent).join("/");
  try {
    const trace = await (await ask(`/ui/trace/${path}`, { signal })).json();
    place.replaceChildren(title, ...traced(trace));
  } catch (error) {
    if (!signal.aborted) place.replaceChildren(title, element("p", { class: "quiet" }, error.message));
  }
}

function traced(trace) {
  const plugins = [...new Set(trace.nodes.flatMap((node) => Object.keys(node.scores ?? {})))].sort();
  const number = (value) => element("td", { class: "number" }, value === undefined ? "" : String(value));
  const score = (own) => (own ? number(own.weight === 1 ? own.score : `${own.score} x ${own.weight}`) : number());
  const rows = [...trace.nodes].sort((a, b) => (b.total ?? -1) - (a.total ?? -1)).map((node) => [
    element("td", {}, element("a", { href: `#${nodePath(node.node)}` }, node.node),
      trace.best.includes(node.node) ? " (best)" : ""),
    marked(node.fits ? "good" : "bad", node.fits ? "fits" : "does not fit"), number(node.total),
    ...plugins.map((plugin) => score(node.scores?.[plugin])),
    (node.refusals ?? []).map((own) => `${own.plugin}: ${own.says}`).join("; "),
  ]);
  const said = trace.preFilter.map((own) => element("p", {}, `${own.plugin}: ${own.says}`));
  const intro = `What profile ${trace.schedulerName} makes of the nodes as they are now, the pod taken away from its own.`;
  return [
    element("p", { class: "quiet" }, intro), ...said,
    table(["Node", "", "Total", ...plugins, "Why not"], rows),
    ...(trace.message ? [element("p", {}, trace.message)] : []),
  ];
}
