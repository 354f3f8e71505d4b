// Who looks, and at what.
import { Refused, signIn, whoAmI } from "/ui/cluster.js";
import { kindsPage, listPage } from "/ui/kinds.js";
import { objectPage } from "/ui/object.js";
import { overview } from "/ui/overview.js";

const find = (id) => document.getElementById(id);
const [page, form, told] = [find("page"), find("sign-in"), find("told")];

/** Ends what the page that is shown follows. */
let shown = new AbortController();

function show() {
  shown.abort();
  shown = new AbortController();
  const path = location.hash.slice(1);
  // Only what the API has; a link from elsewhere leads nowhere else.
  if (/^\/apis?\/[^?#]+\/[^/?#]+$/.test(path)) objectPage(page, path, shown.signal);
  else if (/^\/list\/apis?\/[^?#]+$/.test(path)) listPage(page, path.slice("/list".length), shown.signal);
  else if (path === "/kinds") kindsPage(page, shown.signal);
  else overview(page, shown.signal);
}

async function enter() {
  try {
    find("who").textContent = await whoAmI();
  } catch (error) {
    if (error instanceof Refused && [401, 403].includes(error.status)) return false;
    told.textContent = error.message;
    throw error;
  }
  [form.hidden, page.hidden, find("sign-out").hidden] = [true, false, false];
  told.textContent = "";
  addEventListener("hashchange", show);
  show();
  return true;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = find("token");
  signIn(input.value);
  input.value = "";
  if (!await enter()) find("refused").textContent = "The API server does not know this token.";
});

find("sign-out").addEventListener("click", () => location.reload());

if (!await enter()) form.hidden = false;
