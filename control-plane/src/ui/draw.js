// Elements, and what objects look like.
import { objectPath } from "/ui/cluster.js";

/** An element. Text becomes text, never markup. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

export function table(head, rows) {
  const cell = (name) => (value) => (value instanceof Node ? value : element(name, {}, String(value ?? "")));
  const row = (name) => (cells) => element("tr", {}, ...cells.map(cell(name)));
  return element("table", {}, element("thead", {}, row("th")(head)), element("tbody", {}, ...rows.map(row("td"))));
}

export const marked = (state, text) => element("td", { class: state }, text);

export const nodePath = (name) => objectPath("/api/v1", "nodes", "", name);

export const podPath = ({ metadata }) => objectPath("/api/v1", "pods", metadata.namespace, metadata.name);

const condition = (object, type) => object.status?.conditions?.find((condition) => condition.type === type);

/** How a node is, as a class and a word. */
export function nodeState(node) {
  if (node.metadata.deletionTimestamp) return ["busy", "Terminating"];
  const ready = condition(node, "Ready")?.status;
  const word = { True: "Ready", False: "NotReady" }[ready] ?? "Unknown";
  if (ready !== "True") return ["bad", word];
  return node.spec.unschedulable ? ["busy", "Ready, cordoned"] : ["good", word];
}

/** How a pod is, as a class and a word. */
export function podState(pod) {
  if (pod.metadata.deletionTimestamp) return ["busy", "Terminating"];
  const { phase = "Pending", containerStatuses = [] } = pod.status ?? {};
  if (phase === "Succeeded") return ["over", phase];
  if (phase === "Failed") return ["bad", pod.status.reason || phase];
  const troubled = containerStatuses.map((own) => own.state?.waiting?.reason)
    .find((reason) => reason && !["ContainerCreating", "PodInitializing"].includes(reason));
  if (troubled) return ["bad", troubled];
  if (phase === "Running" && condition(pod, "Ready")?.status === "True") return ["good", "Running"];
  return ["busy", phase === "Running" ? "Running, not ready" : phase];
}

/** Draws at most once a frame, however often it is asked to. */
export function soon(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  };
}
