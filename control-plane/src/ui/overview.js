// All nodes with their pods, and the components.
import { Refused, ask, follow } from "/ui/cluster.js";
import { element, marked, nodePath, nodeState, podPath, podState, soon, table } from "/ui/draw.js";

/** So many pods of a node are told by name. */
const FEW = 12;
const LOOK = 5000;

const key = ({ metadata }) => `${metadata.namespace ?? ""}/${metadata.name}`;

/** A place that no node has: of pods without one. */
const NOWHERE = "";

export function overview(page, signal) {
  const counts = element("div", { class: "counts" });
  const components = element("div", { id: "components" });
  const grid = element("div", { class: "nodes", id: "nodes" });
  const failures = element("p", { class: "quiet", id: "failures" });
  page.replaceChildren(counts, failures, element("h2", {}, "Nodes"), grid, element("h2", {}, "Components"), components);
  const world = new World(grid, counts, failures);
  follow("/api/v1/nodes", "", world.nodesTold(), signal);
  follow("/api/v1/pods", "", world.podsTold(), signal);
  watchComponents(components, signal);
}

/** What is known, and which cards are to be drawn anew. */
class World {
  constructor(grid, counts, failures) {
    Object.assign(this, { grid, counts, failures });
    this.nodes = new Map();
    this.pods = new Map();
    this.podsOn = new Map();
    this.cards = new Map();
    this.stale = new Set();
    this.errors = new Map();
    this.draw = soon(() => this.drawNow());
  }

  nodesTold() {
    const set = (node) => { this.nodes.set(node.metadata.name, node); this.touch(node.metadata.name); };
    const remove = (name) => { this.nodes.delete(name); this.touch(name); };
    return {
      all: (nodes) => {
        const names = new Set(nodes.map((node) => node.metadata.name));
        [...this.nodes.keys()].filter((name) => !names.has(name)).forEach(remove);
        nodes.forEach(set);
        this.well("nodes");
      },
      changed: set,
      gone: (node) => remove(node.metadata.name),
      failed: (error) => this.fail("nodes", error),
    };
  }

  podsTold() {
    return {
      all: (pods) => {
        const keys = new Set(pods.map(key));
        [...this.pods.values()].filter((pod) => !keys.has(key(pod))).forEach((pod) => this.lift(pod));
        pods.forEach((pod) => this.put(pod));
        this.well("pods");
      },
      changed: (pod) => this.put(pod),
      gone: (pod) => this.lift(pod),
      failed: (error) => this.fail("pods", error),
    };
  }

  lift(pod) {
    const known = this.pods.get(key(pod));
    if (!known) return;
    const node = known.spec.nodeName || NOWHERE;
    this.pods.delete(key(pod));
    this.podsOn.get(node).delete(key(pod));
    this.touch(node);
  }

  put(pod) {
    this.lift(pod);
    const node = pod.spec.nodeName || NOWHERE;
    if (!this.podsOn.has(node)) this.podsOn.set(node, new Map());
    this.pods.set(key(pod), pod);
    this.podsOn.get(node).set(key(pod), pod);
    this.touch(node);
  }

  touch(node) {
    this.stale.add(node);
    this.draw();
  }

  well(what) {
    this.errors.delete(what);
    this.draw();
  }

  fail(what, error) {
    this.errors.set(what, error);
    this.draw();
  }

  drawNow() {
    for (const name of this.stale) this.drawCard(name);
    this.stale.clear();
    this.failures.replaceChildren(...failed(this.errors));
    const ready = [...this.nodes.values()].filter((node) => nodeState(node)[0] === "good").length;
    const by = { good: 0, busy: 0, bad: 0, over: 0 };
    for (const pod of this.pods.values()) by[podState(pod)[0]] += 1;
    const count = (number, words, state = "") =>
      element("span", {}, element("b", { class: state }, String(number)), ` ${words}`);
    this.counts.replaceChildren(
      count(`${ready}/${this.nodes.size}`, "nodes ready"), count(this.pods.size, "pods"),
      count(by.good, "running", "good"), count(by.busy, "on their way", "busy"),
      count(by.bad, "in trouble", "bad"), count(by.over, "done"),
    );
  }

  drawCard(name) {
    const node = this.nodes.get(name);
    const pods = [...(this.podsOn.get(name)?.values() ?? [])];
    if (!node && !pods.length) {
      this.cards.get(name)?.remove();
      this.cards.delete(name);
      return;
    }
    const [state, word] = node ? nodeState(node) : ["busy", name ? "no such node" : "waiting"];
    const title = node ? element("a", { href: `#${nodePath(name)}` }, name) : element("b", {}, name || "No node");
    pods.sort((a, b) => key(a) < key(b) ? -1 : 1);
    const squares = element("div", { class: pods.length <= FEW ? "pods few" : "pods" }, ...pods.map(square));
    const card = element("section", { class: `node ${state}` },
      title, element("small", {}, `${word}, ${pods.length} pods`), squares);
    card.dataset.name = name;
    const old = this.cards.get(name);
    this.cards.set(name, card);
    if (old) old.replaceWith(card);
    else this.insert(name, card);
  }

  /** Cards stand in the order of their names. */
  insert(name, card) {
    const order = (other) => name.localeCompare(other, "en", { numeric: true });
    const cards = this.grid.children;
    let low = 0, high = cards.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (order(cards[middle].dataset.name ?? "") > 0) low = middle + 1;
      else high = middle;
    }
    this.grid.insertBefore(card, cards[low] ?? null);
  }
}

/** What went wrong, and where to go for whoever may not see everything. */
function failed(errors) {
  const refused = [...errors].filter(([, error]) => error instanceof Refused && error.status === 403);
  if (refused.length) {
    const what = refused.map(([what]) => what).sort().join(" and ");
    return [
      `You may not list the ${what} of the whole cluster, so that this page cannot show them. `,
      element("a", { href: "#/kinds" }, "Objects by kind"), " shows what you may see, namespace by namespace.",
    ];
  }
  return [[...errors].map(([what, error]) => `${what}: ${error.message}`).join("; ")];
}

function square(pod) {
  const [state, word] = podState(pod);
  const name = `${pod.metadata.namespace}/${pod.metadata.name}`;
  return element("a", { class: `pod ${state}`, href: `#${podPath(pod)}`, title: `${name}: ${word}` }, pod.metadata.name);
}

/** What somebody may not ask, or nobody answers, is not shown. */
const ifThere = async (answer, otherwise) => {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof Refused && [403, 404].includes(error.status)) return otherwise;
    throw error;
  }
};

const json = async (path, signal) => (await ask(path, { signal })).json();

const row = (name, well, said) => [name, marked(well ? "good" : "bad", well ? "healthy" : "unhealthy"), said];

/** The checks of the API server, a line each; one that is not ready answers with an error that has them too. */
async function readiness(signal) {
  try {
    return await (await ask("/readyz?verbose", { signal, headers: { Accept: "text/plain" } })).text();
  } catch (error) {
    if (error instanceof Refused && error.status === 500) return error.text;
    throw error;
  }
}

/** A row for each part: those that the server asks, those that run in its process, and its own checks. */
async function componentRows(signal) {
  const rows = [];
  const known = new Set();
  const statuses = await ifThere(json("/api/v1/componentstatuses", signal), { items: [] });
  for (const part of statuses.items) {
    const healthy = part.conditions?.find((condition) => condition.type === "Healthy");
    known.add(part.metadata.name);
    rows.push(row(part.metadata.name, healthy?.status === "True", healthy?.error || healthy?.message));
  }
  // A server whose components are elsewhere, or somebody's own assembly, has no such path.
  const inside = await ifThere(json("/components/", signal), { components: [] });
  for (const { name, healthy, failed } of inside.components) {
    // The server asks the same ones without the name of what they are of, and says why.
    if (known.has(name.replace(/^kube-/, ""))) continue;
    rows.push(row(name, healthy, healthy ? "ok" : failed.join(", ")));
  }
  for (const [, sign, name, said] of (await readiness(signal)).matchAll(/^\[([+-])\](\S+) (.*)$/gm)) {
    rows.push(row(`API server: ${name}`, sign === "+", said));
  }
  return rows;
}

async function watchComponents(place, signal) {
  while (!signal.aborted) {
    try {
      place.replaceChildren(table(["Component", "Health", ""], await componentRows(signal)));
    } catch (error) {
      if (signal.aborted) return;
      place.replaceChildren(element("p", { class: "quiet" }, error.message));
    }
    await new Promise((done) => setTimeout(done, LOOK));
  }
}
