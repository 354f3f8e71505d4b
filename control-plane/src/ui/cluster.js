// What the API server says, asked as whoever looks.

// Nowhere else than here: neither in the address nor in the browser's storage.
let token = "";

export function signIn(value) {
  token = value.trim();
}

/** An answer that is none: the status, why, and the whole text. */
export class Refused extends Error {
  constructor(status, why, text) {
    super(why);
    [this.status, this.text] = [status, text];
  }
}

async function refused(answer) {
  const text = await answer.text();
  let why;
  try {
    why = JSON.parse(text).message;
  } catch {
    why = text.slice(0, 300);
  }
  return new Refused(answer.status, why || answer.statusText, text);
}

/** Asks; `options` as of fetch. */
export async function ask(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(path, { cache: "no-store", redirect: "error", ...options, headers });
  if (!answer.ok) throw await refused(answer);
  return answer;
}

/** The name of whoever looks. */
export async function whoAmI() {
  const review = { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" };
  const answer = await ask("/apis/authentication.k8s.io/v1/selfsubjectreviews", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(review),
  });
  return (await answer.json()).status.userInfo.username;
}

/** One who was signed in and is no more, or never was, learns nothing by asking again. */
const isFinal = (error) => error instanceof Refused && [401, 403, 404].includes(error.status);

const pause = (signal) => new Promise((done) => {
  const timer = setTimeout(done, 2000);
  signal.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
});

/**
 * Lists a collection and watches it until the signal says so. `told.all(objects)` hears of all that are there,
 * `told.changed(object)` and `told.gone(object)` of what comes after, `told.failed(error)` of an error, after which it
 * is tried again unless the user may not.
 */
export async function follow(path, selector, told, signal) {
  while (!signal.aborted) {
    try {
      let version = await list(path, selector, told, signal);
      while (version) {
        const opened = Date.now();
        version = await watch(path, selector, version, told, signal);
        if (Date.now() - opened < 1000) await pause(signal);
      }
    } catch (error) {
      if (signal.aborted) return;
      told.failed(error);
      if (isFinal(error)) return;
      await pause(signal);
    }
  }
}

const query = (fields) => new URLSearchParams(Object.entries(fields).filter(([, value]) => value)).toString();

async function list(path, fieldSelector, told, signal) {
  const objects = [];
  let next = "", version = "";
  do {
    const page = query({ fieldSelector, limit: "500", continue: next });
    const answer = await (await ask(`${path}?${page}`, { signal })).json();
    objects.push(...answer.items);
    next = answer.metadata.continue || "";
    version = answer.metadata.resourceVersion;
  } while (next);
  told.all(objects);
  return version;
}

/** Watches until the server ends it: the version to go on from, or nothing when a new list is needed. */
async function watch(path, fieldSelector, version, told, signal) {
  const wish = query({ fieldSelector, watch: "true", resourceVersion: version, allowWatchBookmarks: "true" });
  const answer = await ask(`${path}?${wish}`, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return version;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines.filter((line) => line)) {
      const { type, object } = JSON.parse(line);
      if (type === "ERROR") return "";
      version = object.metadata.resourceVersion;
      if (type === "DELETED") told.gone(object);
      else if (type !== "BOOKMARK") told.changed(object);
    }
  }
}

const plurals = new Map();

/** Where an object is that another names by its apiVersion and kind, or nothing if its kind is not served. */
export async function place(apiVersion, kind, namespace, name) {
  const root = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  if (!plurals.has(root)) plurals.set(root, ask(root).then((answer) => answer.json()));
  const { resources } = await plurals.get(root);
  const resource = resources.find((resource) => resource.kind === kind && !resource.name.includes("/"));
  return resource && objectPath(root, resource.name, resource.namespaced ? namespace : "", name);
}

export function objectPath(root, plural, namespace, name) {
  const inside = namespace ? `/namespaces/${encodeURIComponent(namespace)}` : "";
  return `${root}${inside}/${plural}/${encodeURIComponent(name)}`;
}
