// Every kind the server has, and all objects of one.
import { ask, follow, objectPath } from "/ui/cluster.js";
import { element, soon, table } from "/ui/draw.js";

/** So many objects are drawn at most. */
const MOST = 1000;
const DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/** What can be listed of an answer of discovery: of each group what it prefers, and what only another version has. */
function listed(root, { items }) {
  const rows = [];
  for (const group of items) {
    const known = new Set();
    for (const { version, resources = [] } of group.versions) {
      const name = group.metadata?.name ? `${group.metadata.name}/${version}` : version;
      for (const own of resources.filter((own) => own.verbs.includes("list") && !known.has(own.resource))) {
        known.add(own.resource);
        rows.push({ kind: own.responseKind?.kind || own.resource, version: name, path: `${root}/${name}/${own.resource}` });
      }
    }
  }
  return rows;
}

/** All kinds, each with a link to its objects. */
export async function kindsPage(page, signal) {
  const place = element("div", { id: "kinds" });
  page.replaceChildren(element("h1", {}, "Objects by kind"), place);
  const discovered = async (root) => {
    const answer = await ask(root, { signal, headers: { Accept: DISCOVERY } });
    return listed(root, await answer.json());
  };
  try {
    const kinds = (await Promise.all(["/api", "/apis"].map(discovered))).flat();
    const rows = kinds.map(({ kind, version, path }) => [
      element("td", {}, element("a", { href: `#/list${path}` }, kind)), version,
    ]);
    place.replaceChildren(table(["Kind", "Version"], rows));
  } catch (error) {
    if (!signal.aborted) place.replaceChildren(element("p", { class: "quiet" }, error.message));
  }
}

/** The root, the namespace and the plural of a collection's path. */
function apart(path) {
  const parts = path.split("/").slice(1);
  const root = `/${parts.splice(0, parts[0] === "api" ? 2 : 3).join("/")}`;
  return parts.length === 3 ? [root, decodeURIComponent(parts[1]), parts[2]] : [root, "", parts[0]];
}

/** All objects of a collection, each with a link to its page. */
export function listPage(page, path, signal) {
  const [root, namespace, plural] = apart(path);
  const failure = element("p", { class: "quiet", id: "failures" });
  const place = element("div", { id: "objects" });
  const title = namespace ? `${plural} in ${namespace}` : plural;
  page.replaceChildren(element("h1", {}, title), narrow(root, plural, namespace), failure, place);
  const known = new Map();
  const draw = soon(() => {
    failure.textContent = known.size > MOST ? `${known.size} objects, of which these are the first ${MOST}.` : "";
    place.replaceChildren(objects(root, plural, [...known.values()]));
  });
  follow(path, "", {
    all: (all) => {
      known.clear();
      all.forEach((object) => known.set(object.metadata.uid, object));
      draw();
    },
    changed: (object) => { known.set(object.metadata.uid, object); draw(); },
    gone: (object) => { known.delete(object.metadata.uid); draw(); },
    failed: (error) => { failure.textContent = error.message; },
  }, signal);
}

function objects(root, plural, all) {
  const key = ({ metadata }) => `${metadata.namespace ?? ""}/${metadata.name}`;
  all.sort((a, b) => (key(a) < key(b) ? -1 : 1));
  const rows = all.slice(0, MOST).map(({ metadata }) => {
    const path = objectPath(root, plural, metadata.namespace, metadata.name);
    const created = new Date(metadata.creationTimestamp).toLocaleString();
    return [metadata.namespace, element("td", {}, element("a", { href: `#${path}` }, metadata.name)), created];
  });
  return rows.length ? table(["Namespace", "Name", "Created"], rows) : element("p", { class: "quiet" }, "None.");
}

/** Asks for a namespace, for whoever may not list all. */
function narrow(root, plural, namespace) {
  const input = element("input", { type: "text", name: "namespace", spellcheck: "false", placeholder: "all" });
  input.value = namespace;
  const form = element("form", { id: "narrow" }, element("label", {}, "Namespace ", input));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const own = input.value.trim();
    location.hash = own ? `/list${root}/namespaces/${encodeURIComponent(own)}/${plural}` : `/list${root}/${plural}`;
  });
  return form;
}
