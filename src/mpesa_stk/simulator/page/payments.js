// The list of payments: search, badges, and the keys that move through it.

import { by, isNarrow, make, offer, pill, put, turnTo } from "./dom.js";
import { choose, model, onPhone, page, showsEverything, subject } from "./model.js";
import { ask } from "./server.js";
import { callbackBadge, counted, idOf, local, money, outcomeBadge, toMinute } from "./text.js";

const MOST = 200; // the simulator gives no more
const STEP = 50;
const STEP_NARROW = 20;
const KINDS = {
  all: "all", open: "open prompts", paid: "paid", unpaid: "not paid", undelivered: "callback failed",
};
const rows = new Map(); // id of a payment -> its row
let most = isNarrow() ? STEP_NARROW : STEP;

export function askForList() {
  const query = new URLSearchParams({ find: by("find").value, show: by("show").value || "all", most });
  return ask(`/_sim/prompts?${query}`);
}

export function drawPayments() {
  const { prompts, counts } = model.list;
  const isSearched = by("find").value.trim() !== "" || by("show").value !== "all";
  const nothing = counts.all === 0 && !isSearched;
  by("list-loading").hidden = true;
  by("search").hidden = nothing;
  by("empty").hidden = !nothing;
  by("no-match").hidden = prompts.length > 0 || nothing;
  put(by("no-match-words"), noMatch());
  by("first-steps").hidden = model.state.last > 0;
  put(by("so-far"), model.state.last
    ? `No prompt yet: ${counted(model.state.last, "request", "requests")} came in, and none of them opened one. Their answers say why.`
    : "No payment yet. Three steps lead to the first one:");
  const found = counts[by("show").value] ?? 0;
  put(by("count"), nothing ? "" : counted(found, isSearched ? "match" : "payment", isSearched ? "matches" : "payments"));
  drawKinds(counts);
  drawRows(prompts);
  by("payments").hidden = prompts.length === 0;
  by("further").hidden = prompts.length >= Math.min(found, MOST);
  put(by("show-more"), `Show more (${prompts.length} of ${found})`);
  mark();
}

function noMatch() {
  const words = by("find").value.trim();
  const kind = by("show").value === "all" ? "" : ` under “${KINDS[by("show").value]}”`;
  return words ? `No payment${kind} mentions “${words}”.` : `There is no payment${kind}.`;
}

function drawKinds(counts) {
  for (const option of by("show").options) put(option, `${KINDS[option.value]} (${counts[option.value]})`);
}

function drawRows(prompts) {
  const ids = new Set(prompts.map(idOf));
  for (const [id, row] of rows) {
    if (ids.has(id)) continue;
    row.item.remove();
    rows.delete(id);
  }
  const box = by("payments");
  let before = null;
  for (const prompt of prompts) {
    const row = rowOf(idOf(prompt));
    fill(row, prompt);
    // Only a row that is out of place is moved: moving a button takes its focus away.
    const place = before ? before.nextSibling : box.firstChild;
    if (place !== row.item) box.insertBefore(row.item, place);
    before = row.item;
  }
}

function rowOf(id) {
  const known = rows.get(id);
  if (known) return known;
  const row = {
    what: make("span", "what"), outcome: make("span", "badges"), under: make("span", "under number"),
    callback: make("span", "badges"), result: make("span", "under"),
  };
  row.button = make("button", "row",
    make("span", "across", row.what, row.outcome), make("span", "across", row.under, row.callback), row.result);
  row.button.type = "button";
  row.button.addEventListener("click", () => {
    choose(id);
    page.redraw();
    if (!isNarrow()) return;
    turnTo("story");
    by("story-title").focus();
  });
  row.item = make("li", "", row.button);
  rows.set(id, row);
  return row;
}

function fill(row, prompt) {
  put(row.what, `${money(prompt)} · ${prompt.reference}`);
  put(row.under, `${toMinute(prompt.opened)} · ${local(prompt.phone_number)}`);
  row.result.hidden = prompt.open || prompt.paid;
  put(row.result, prompt.open || prompt.paid ? "" : `${prompt.result_code} ${prompt.result_desc}`);
  const badges = [outcomeBadge(prompt, placeOf(prompt)), callbackBadge(prompt.callback)];
  const key = JSON.stringify(badges);
  if (row.item.dataset.badges === key) return;
  row.item.dataset.badges = key;
  row.outcome.replaceChildren(pill(badges[0]));
  row.callback.replaceChildren(...badges.slice(1).filter(Boolean).map(pill));
}

export function placeOf(prompt) {
  const current = onPhone();
  if (current && idOf(current) === idOf(prompt)) return "on the phone";
  return model.aside.has(idOf(prompt)) ? "unanswered" : "waiting";
}

// Mark the payment of the story. One row alone is a stop of the Tab key.
function mark() {
  const id = showsEverything() ? null : subject();
  const stop = rows.get(id)?.button ?? by("payments").querySelector(".row");
  for (const [other, row] of rows) {
    row.button.setAttribute("aria-current", String(other === id));
    row.button.tabIndex = row.button === stop ? 0 : -1;
  }
}

const MOVES = {
  ArrowDown: (item) => item.nextElementSibling,
  ArrowUp: (item) => item.previousElementSibling,
  Home: (item) => item.parentElement.firstElementChild,
  End: (item) => item.parentElement.lastElementChild,
};

async function searchAgain() {
  most = isNarrow() ? STEP_NARROW : STEP;
  await page.refresh();
  put(by("announce"), by("count").textContent);
}

export function startPayments() {
  offer(by("show"), [{ title: "", names: Object.keys(KINDS).map((name) => ({ name })) }]);
  by("find").addEventListener("input", searchAgain);
  by("show").addEventListener("change", searchAgain);
  by("search").addEventListener("submit", (event) => event.preventDefault());
  by("show-all").addEventListener("click", () => {
    by("find").value = "";
    by("show").value = "all";
    searchAgain();
    by("find").focus();
  });
  by("show-more").addEventListener("click", () => {
    most = Math.min(MOST, most + STEP);
    page.refresh();
  });
  by("payments").addEventListener("keydown", (event) => {
    const item = event.target.closest("li");
    const next = item && MOVES[event.key]?.(item);
    if (!next) return;
    event.preventDefault();
    next.querySelector("button").focus();
  });
}
